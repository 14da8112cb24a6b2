"""Requests that may be sent again: the same key and body give the same answer, and are done once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

from fastapi import HTTPException, Response
from sqlalchemy import delete
from sqlalchemy.orm import Session

from fractal.server.database import Database
from fractal.server.tables import IdempotencyKey

__all__ = ["once"]

KEPT_SECONDS = 7 * 86_400.0


def once(
    database: Database, actor: str, key: str | None, body: Any, response: Response, do: Callable[[Session], Any]
) -> Any:
    """Do something in one session, and remember the answer in the same one; a key that comes again gets it again."""
    if not key:
        with database.write() as session:
            return do(session)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
    with database.write() as session:
        if not database.sqlite:  # two at once with one key: the second waits for the first
            _lock(session, actor, key)
        row = session.get(IdempotencyKey, (actor, key))
        if row is not None:
            if row.request_hash != digest:
                raise HTTPException(409, "this Idempotency-Key was used with another body: take a new key")
            response.headers["idempotent-replay"] = "true"
            response.status_code = row.status
            return row.answer
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < time.time() - KEPT_SECONDS))
        answer = do(session)
        answer_fields = {"request_hash": digest, "status": response.status_code or 200, "answer": answer}
        session.add(IdempotencyKey(actor=actor, key=key, created_at=time.time(), **answer_fields))
        return answer


def _lock(session: Session, actor: str, key: str) -> None:
    from sqlalchemy import text

    number = int.from_bytes(hashlib.sha256(f"{actor}\0{key}".encode()).digest()[:8], "big", signed=True)
    session.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})
