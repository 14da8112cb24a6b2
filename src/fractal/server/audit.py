"""The audit log: who did what, when; entries are only ever added."""

from __future__ import annotations

import contextvars
import time
from typing import Any

from sqlalchemy.orm import Session

from fractal.server.tables import AuditEntry

__all__ = ["record", "request_id"]

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


def record(session: Session, actor: str, action: str, target: str, detail: dict[str, Any] | None = None) -> None:
    """Add an entry, in the session that does what it tells of."""
    session.add(
        AuditEntry(
            created_at=time.time(),
            actor=actor,
            action=action,
            target=target[:200],
            detail=detail or {},
            request_id=request_id.get(),
        )
    )
