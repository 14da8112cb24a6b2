"""Who asks: a browser with a session, or a program with a key; and what they may do."""

from __future__ import annotations

import dataclasses
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import delete, select

from fractal.server.security import allows, hash_token
from fractal.server.tables import ApiKey, LoginSession, Project, User

if TYPE_CHECKING:
    from fractal.server.studio import Studio

__all__ = ["COOKIE", "Actor", "actor_of", "begin_session", "end_session", "needs"]

COOKIE = "fractal_session"
SAFE = ("GET", "HEAD", "OPTIONS")


@dataclasses.dataclass(frozen=True)
class Actor:
    """Who asks."""

    name: str
    role: str
    project: int | None = None  # that a key is bound to; people see all
    csrf: str = ""  # of a browser's session

    def may(self, needed: str) -> bool:
        """Whether they may do what needs a role."""
        return allows(self.role, needed)


def actor_of(request: Request) -> Actor | None:
    """Return who asks, None where nobody is known."""
    key = _key_of(request)
    if key is not None:
        return _by_key(request.app.state.studio, hash_token(key))
    cookie = request.cookies.get(COOKIE)
    return _by_session(request, cookie) if cookie else None


def _key_of(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _by_key(studio: Studio, hashed: str) -> Actor | None:
    if (actor := studio.actors.get(hashed)) is not None:
        return actor
    with studio.database.read() as session:
        row = session.scalars(select(ApiKey).where(ApiKey.hash == hashed, ApiKey.revoked_at.is_(None))).first()
    if row is None:
        return None
    return studio.actors.put(hashed, Actor(f"key {row.prefix} ({row.name})", row.role, row.project_id))


def _by_session(request: Request, cookie: str) -> Actor | None:
    with request.app.state.studio.database.read() as session:
        query = select(LoginSession, User).join(User, User.id == LoginSession.user_id)
        row = session.execute(query.where(LoginSession.hash == hash_token(cookie))).first()
    if row is None or row[0].expires_at < time.time() or not row[1].active:
        return None
    return Actor(row[1].name, row[1].role, None, row[0].csrf)


def begin_session(studio: Any, user: User) -> str:
    """Log a user in and return the cookie."""
    cookie = secrets.token_urlsafe(32)
    with studio.database.write() as session:
        session.execute(delete(LoginSession).where(LoginSession.expires_at < time.time()))
        session.add(
            LoginSession(
                hash=hash_token(cookie),
                user_id=user.id,
                csrf=secrets.token_urlsafe(24),
                expires_at=time.time() + studio.settings.session_seconds,
            )
        )
    return cookie


def end_session(studio: Any, cookie: str) -> None:
    """Log out."""
    with studio.database.write() as session:
        session.execute(delete(LoginSession).where(LoginSession.hash == hash_token(cookie)))


def same_origin(request: Request) -> bool:
    """Whether a browser's request comes from a page of this studio."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def check_csrf(request: Request, actor: Actor, token: str | None) -> None:
    """Refuse what a page of another site makes a browser send."""
    if not actor.csrf or request.method in SAFE:
        return  # a key is never sent by a browser on its own
    if not same_origin(request) or not secrets.compare_digest((token or "").encode(), actor.csrf.encode()):
        raise HTTPException(403, "this request does not come from a page of the studio: reload the page and try again")


def needs(role: str) -> Callable[[Request], Awaitable[Actor]]:
    """Return what lets in those with a role, for a route of the API."""

    async def dependency(request: Request) -> Actor:
        key, studio = _key_of(request), request.app.state.studio
        actor: Actor | None = studio.actors.get(hash_token(key)) if key is not None else None
        actor = actor or await run_in_threadpool(actor_of, request)
        if actor is None:
            raise HTTPException(401, "give an API key: Authorization: Bearer fr_…", {"WWW-Authenticate": "Bearer"})
        if not actor.may(role):
            raise HTTPException(403, f"this needs the role {role}; {actor.name} has the role {actor.role}")
        check_csrf(request, actor, request.headers.get("x-csrf-token"))
        return actor

    return dependency


def project_of(request: Request, actor: Actor, slug: str | None = None) -> Project:
    """Return the project that a request is about: the key's own, the one it names, or the only one."""
    if slug is not None and not re.fullmatch(r"[a-z0-9-]{1,60}", slug):
        raise HTTPException(404, "there is no such project")
    with request.app.state.studio.database.read() as session:
        query = select(Project).order_by(Project.id)
        if slug is not None:
            query = query.where(Project.slug == slug)
        if actor.project is not None:
            query = query.where(Project.id == actor.project)
        rows: list[Project] = list(session.scalars(query.limit(2)))
    if not rows:
        raise HTTPException(
            404, f"there is no project {slug!r} that you may see" if slug else "there is no project yet"
        )
    if len(rows) > 1:
        raise HTTPException(422, "there are several projects: name one with ?project=")
    return rows[0]
