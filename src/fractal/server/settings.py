"""How a studio is set up: where its data stand, on which address it answers, and what it refuses as too much."""

from __future__ import annotations

import dataclasses
from pathlib import Path

__all__ = ["LOOPBACK", "Limits", "Settings"]

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one request, one upload and the queue may hold; what is more is refused, and says so."""

    body_bytes: int = 4_000_000  # of any request but an upload
    upload_bytes: int = 200_000_000
    upload_rows: int = 200_000
    expanded_bytes: int = 1_000_000_000  # of a compressed file, once it is opened up
    expansion: int = 200  # times its size that a compressed file may open up to
    responses: int = 256  # of one request
    sentences: int = 2_000  # of one request
    characters: int = 1_000_000  # of one request's texts
    queue_tokens: int = 400_000  # waiting to be scored, over all requests
    queue_seconds: float = 4.0  # that a request may have to wait for its turn, as batches go lately
    batch_tokens: int = 16_384  # scored at once
    wait_seconds: float = 0.004  # that a batch waits for company while others are being scored
    request_seconds: float = 60.0  # after which a request that was not scored gives up


@dataclasses.dataclass(frozen=True)
class Settings:
    """One studio."""

    data: Path
    database: str = ""  # a SQLAlchemy URL; empty: SQLite in the data folder
    host: str = "127.0.0.1"
    port: int = 8765
    behind_proxy: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    lease_seconds: float = 20.0  # after which a silent worker's job goes to the next one
    max_attempts: int = 5  # of one job, workers that died under it
    session_seconds: float = 14 * 86_400.0
    limits: Limits = dataclasses.field(default_factory=Limits)

    @property
    def url(self) -> str:
        """The database's URL."""
        return self.database or f"sqlite:///{self.data.resolve() / 'studio.db'}"

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the studio."""
        return self.host in LOOPBACK and not self.behind_proxy

    @property
    def secure(self) -> bool:
        """Whether browsers reach the studio by TLS, so that cookies may be bound to it."""
        return bool(self.tls_certificate) or self.behind_proxy
