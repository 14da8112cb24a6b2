"""The database: SQLite by default, PostgreSQL by its URL; sessions that read, sessions that write, migrations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, sessionmaker

from fractal.errors import BadSpec, MissingExtra
from fractal.server.settings import Settings

__all__ = ["Database", "migrate", "open_database"]

BUSY_SECONDS = 60  # that a writer waits for another one (SQLite has one writer at a time)
THREADS = 40  # that the web server asks from, each with its connection: opening one anew costs more than a query


class Database:
    """Where everything stands but files; a session that writes is alone with its writes (SQLite)."""

    def __init__(self, url: str) -> None:
        self.url = _checked(url)
        options: dict[str, Any] = {"pool_size": 10, "pool_pre_ping": True}
        if self.sqlite:
            options = {"pool_size": THREADS, "connect_args": {"timeout": BUSY_SECONDS}}
        try:
            self.engine: Engine = create_engine(url, **options)
        except ModuleNotFoundError as error:
            raise MissingExtra("This database", "serve", error.name or "") from error
        if self.sqlite:
            _prepare_sqlite(self.engine)
        self._read = sessionmaker(self.engine, expire_on_commit=False)
        self._write = sessionmaker(self.engine.execution_options(writes=True), expire_on_commit=False)

    @property
    def sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.url.startswith("sqlite")

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A session that changes nothing."""
        with self._read() as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are there when the block ends, all or none."""
        with self._write.begin() as session:
            yield session

    def alive(self) -> bool:
        """Whether the database answers."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except Exception:  # whatever it is, the answer is no
            return False
        return True

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def _checked(url: str) -> str:
    try:
        backend = make_url(url).get_backend_name()
    except ArgumentError as error:
        raise BadSpec(
            "The database is no URL: write sqlite:///studio.db or postgresql+psycopg://user@host/name."
        ) from error
    if backend not in ("sqlite", "postgresql"):
        raise BadSpec(f"A database of the kind {backend!r} is not supported: use sqlite or postgresql+psycopg.")
    return url


def _prepare_sqlite(engine: Engine) -> None:
    """Write-ahead logging, foreign keys, and transactions that begin where SQLAlchemy says so."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={BUSY_SECONDS * 1000}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def migrate(database: Database, revision: str = "head") -> None:
    """Bring the tables to a revision; an older database is upgraded with all that it holds."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("fractal.server") / "migrations"))
    with database.engine.execution_options(writes=True).begin() as connection:
        if not database.sqlite:  # two that start at once must not both create the tables
            connection.execute(text("SELECT pg_advisory_xact_lock(7218112)"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def open_database(settings: Settings) -> Database:
    """Open the studio's database, upgraded."""
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.url)
    migrate(database)
    return database
