"""Real servers for tests: the studio as a process of its own, and a PostgreSQL cluster in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
LINK = re.compile(r"http://\S+/login\?token=\S+")
PATIENCE = 90.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """`fractal serve` in a process of its own."""

    def __init__(self, data: Path, *options: str, port: int = 0, lease: float = 3.0) -> None:
        self.data, self.options, self.port = data, options, port or free_port()
        self.lease = lease
        self.log = data.parent / f"{data.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "FRACTAL_LEASE_SECONDS": str(self.lease)}
        command = [sys.executable, "-m", "fractal", "serve", "--data", str(self.data), "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*command, *self.options], stderr=log, stdout=log, env=environment)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def link(self) -> str:
        """The newest one-time link."""
        return LINK.findall(self.log.read_text())[-1]

    def kill(self) -> None:
        """End it as a power failure would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_worker(data: Path, database: str = "", lease: float = 3.0) -> subprocess.Popen[bytes]:
    """`fractal worker` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "FRACTAL_LEASE_SECONDS": str(lease)}
    command = [sys.executable, "-m", "fractal", "worker", "--data", str(data)]
    more = ["--database", database] if database else []
    with (data.parent / "worker.log").open("ab") as log:
        return subprocess.Popen([*command, *more], stderr=log, stdout=log, env=environment)


def _postgres_tools() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Start a PostgreSQL in a temporary folder, on a socket there alone; give a URL; stop it and remove it."""
    tools = _postgres_tools()
    if tools is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="fractal-pg-", dir="/tmp"))
    if os.geteuid() == 0:  # it refuses to run as root
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("there is no user postgres to run PostgreSQL as")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["runuser", "-u", "postgres", "--"]
    folder.chmod(0o755)
    cluster = str(folder / "cluster")

    def run(tool: str, *options: str) -> None:
        subprocess.run(
            [*as_user, str(tools / tool), *options], check=True, capture_output=True, cwd=folder, timeout=120
        )

    try:
        run("initdb", "-D", cluster, "-U", "fractal", "--auth=trust", "-E", "UTF8", "--no-sync")
        settings = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c unix_socket_permissions=0777"
        run("pg_ctl", "-D", cluster, "-l", str(folder / "log"), "-w", "-o", settings, "start")
        try:
            run("createdb", "-h", str(folder), "-U", "fractal", "studio")
            yield f"postgresql+psycopg://fractal@/studio?host={folder}"
        finally:
            run("pg_ctl", "-D", cluster, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
