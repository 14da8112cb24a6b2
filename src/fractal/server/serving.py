"""The server process: uvicorn, the workers beside it, logs as lines of JSON."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from types import FrameType

import uvicorn

from fractal.errors import BadSpec
from fractal.server.app import make_app
from fractal.server.audit import request_id
from fractal.server.settings import Settings
from fractal.server.studio import Studio

__all__ = ["Workers", "configure_logs", "serve"]

logger = logging.getLogger("fractal.server")


class JsonLines(logging.Formatter):
    """A line of JSON a record, with the request that it belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": round(record.created, 3), "level": record.levelname, "logger": record.name}
        line |= getattr(record, "line", None) or {"message": record.getMessage(), "request": request_id.get()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def configure_logs() -> None:
    """Write what the studio says to stderr; what others say only from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("fractal.server").setLevel(os.environ.get("FRACTAL_LOG", "INFO").upper())


class Workers:
    """Worker processes beside the server: one that dies is started again."""

    CALM = 2.0  # seconds before a dead one is started again

    def __init__(self, settings: Settings, count: int) -> None:
        self._command = [sys.executable, "-m", "fractal", "worker", "--data", str(settings.data)]
        self._command += ["--parent", str(os.getpid())]
        self._database = settings.database
        self._running: list[subprocess.Popen[bytes]] = []
        self._count, self._stopping = count, threading.Event()

    def start(self) -> None:
        """Start them, and watch over them."""
        self._running = [self._one() for _ in range(self._count)]
        if self._count:
            threading.Thread(target=self._watch, name="workers", daemon=True).start()

    def _one(self) -> subprocess.Popen[bytes]:
        more = ["--database", self._database] if self._database else []
        return subprocess.Popen([*self._command, *more], stdin=subprocess.DEVNULL)

    def _watch(self) -> None:
        while not self._stopping.wait(0.5):
            for place, worker in enumerate(self._running):
                if worker.poll() is not None and not self._stopping.wait(self.CALM):
                    logger.warning("a worker ended with %s: starting another", worker.returncode)
                    self._running[place] = self._one()

    def stop(self) -> None:
        """Stop them after their jobs at hand; those that take long are ended, and their jobs go on later."""
        self._stopping.set()
        for worker in self._running:
            worker.terminate()
        until = time.monotonic() + 3.0
        for worker in self._running:
            try:
                worker.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


def serve(settings: Settings, workers: int = 1) -> None:
    """Serve until interrupted."""
    import dataclasses

    configure_logs()
    listener = _listen(settings)
    settings = dataclasses.replace(settings, port=listener.getsockname()[1])
    studio = Studio.open(settings)
    studio.refuse_unsafe()
    beside = Workers(settings, workers)
    server = uvicorn.Server(_config(settings, studio))
    beside.start()
    if settings.local:
        print("The studio is open. This link lets one browser in, once:", file=sys.stderr)  # noqa: T201
        studio.print_link()
    else:
        print(f"The studio answers on {settings.host}:{settings.port}.", file=sys.stderr, flush=True)  # noqa: T201
    signal.signal(signal.SIGTERM, _leave)  # uvicorn raises it anew when it has shut down: the workers must end, too
    try:
        server.run(sockets=[listener])
    finally:
        beside.stop()


def _leave(_: int, __: FrameType | None) -> None:
    raise SystemExit(0)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        raise BadSpec(
            f"{settings.host}:{settings.port} cannot be listened on ({error.strerror}): give another --port"
        ) from error
    listener.set_inheritable(False)
    return listener


def _config(settings: Settings, studio: Studio) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(studio),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=settings.behind_proxy,
        forwarded_allow_ips="*" if settings.behind_proxy else None,
        ssl_certfile=settings.tls_certificate or None,
        ssl_keyfile=settings.tls_key or None,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=65_536,
    )
