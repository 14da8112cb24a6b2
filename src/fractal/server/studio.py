"""One studio while it runs: its database, its store, its scorers and its queue."""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from fractal.errors import BadSpec
from fractal.server.batching import Batcher
from fractal.server.database import Database, open_database
from fractal.server.metrics import Metrics
from fractal.server.recent import Recent
from fractal.server.scoring import Scorers
from fractal.server.security import Attempts, OneTimeLinks, hash_password
from fractal.server.settings import Settings
from fractal.server.store import Store
from fractal.server.tables import Project, ScorerVersion, User

if TYPE_CHECKING:
    from fractal.server.access import Actor

__all__ = ["OWNER", "Studio"]

logger = logging.getLogger("fractal.server")
NEWEST_SECONDS = 1.0  # that the newest scorer, and a key's project, are taken to be the same still
KEY_SECONDS = 2.0  # that a key that was good is taken to be good still
OWNER = "owner"  # who comes in by the one-time link


@dataclasses.dataclass(eq=False)
class Studio:
    """What every request needs."""

    settings: Settings
    database: Database
    store: Store
    scorers: Scorers
    metrics: Metrics
    links: OneTimeLinks = dataclasses.field(default_factory=OneTimeLinks)
    attempts: Attempts = dataclasses.field(default_factory=Attempts)
    batcher: Batcher | None = None
    actors: Recent[str, Actor] = dataclasses.field(default_factory=lambda: Recent(KEY_SECONDS))
    projects: Recent[tuple[str | None, int | None], int] = dataclasses.field(
        default_factory=lambda: Recent(NEWEST_SECONDS)
    )
    versions: Recent[tuple[int, int | None], ScorerVersion] = dataclasses.field(
        default_factory=lambda: Recent(NEWEST_SECONDS)
    )

    @classmethod
    def open(cls, settings: Settings) -> Studio:
        """Open the data folder and the database, and make what a first start needs."""
        database, store = open_database(settings), Store(settings.data)
        studio = cls(settings, database, store, Scorers(database, store), Metrics())
        with database.write() as session:
            if not session.scalar(select(func.count()).select_from(Project)):
                session.add(Project(slug="ratings", name="Ratings", settings={}, created_at=time.time()))
            if settings.local and session.scalars(select(User).where(User.name == OWNER)).first() is None:
                session.add(User(name=OWNER, role="admin", password_hash="", active=True, created_at=time.time()))
        return studio

    def start_batcher(self) -> Batcher:
        """Begin to take requests; to be called inside the event loop."""
        limits = self.settings.limits
        self.batcher = Batcher(
            self.scorers.score,
            batch_tokens=limits.batch_tokens,
            queue_tokens=limits.queue_tokens,
            queue_seconds=limits.queue_seconds,
            wait_seconds=limits.wait_seconds,
        )
        self.batcher.observe = self.metrics.batch
        self.batcher.start()
        return self.batcher

    def newest(self, project: int, number: int | None = None) -> ScorerVersion:
        """Return a project's scorer, the newest if none is named; what is newest is looked up once a second."""
        key = (project, number)
        return self.versions.get(key) or self.versions.put(key, self.scorers.version(project, number))

    def link(self) -> str:
        """Return a new one-time link."""
        scheme = "https" if self.settings.tls_certificate else "http"
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"{scheme}://{host}:{self.settings.port}/login?token={self.links.make()}"

    def print_link(self) -> None:
        """Print a new one-time link, on the terminal alone: it is a secret, and logs are none."""
        print(f"  {self.link()}", file=sys.stderr, flush=True)  # noqa: T201

    def has_people(self) -> bool:
        """Whether somebody has a password."""
        with self.database.read() as session:
            query = select(func.count()).select_from(User).where(User.password_hash != "", User.active.is_(True))
            return bool(session.scalar(query))

    def refuse_unsafe(self) -> None:
        """Refuse an address that others can reach without users and without TLS."""
        settings = self.settings
        if settings.local:
            return
        if not (settings.secure and self.has_people()):
            raise BadSpec(
                f"{settings.host} can be reached by others: make a user (fractal serve --add-user NAME), "
                "then give --tls-certificate and --tls-key, or --behind-proxy where a proxy speaks TLS."
            )

    def add_user(self, name: str, password: str, role: str = "admin") -> None:
        """Make a user, or give one another password and role."""
        with self.database.write() as session:
            user = session.scalars(select(User).where(User.name == name)).first()
            if user is None:
                user = User(name=name, active=True, created_at=time.time())
                session.add(user)
            user.password_hash, user.role, user.active = hash_password(password), role, True

    def close(self) -> None:
        """Let go of everything."""
        self.database.close()


def data_folder() -> Path:
    """Return the project's data folder where none is named."""
    return Path(".fractal") / "studio"
