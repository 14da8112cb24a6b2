"""Keys and people: who may do what, and what was done."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import delete, select

from fractal.server.access import Actor, needs, project_of
from fractal.server.api_scoring import ERRORS
from fractal.server.audit import record
from fractal.server.rendering import AdminForm, page_actor, render
from fractal.server.schemas import Name, Plain, Strict
from fractal.server.security import ROLES, hash_password, new_key
from fractal.server.studio import Studio
from fractal.server.tables import ApiKey, AuditEntry, LoginSession, Project, User

__all__ = ["pages_router", "router"]

router = APIRouter(prefix="/v1", responses=ERRORS, tags=["people"])
pages_router = APIRouter()
SHOWN = 200


def _admin(request: Request) -> Actor:
    actor = page_actor(request)
    if not actor.may("admin"):
        raise HTTPException(403, f"this needs the role admin; yours is {actor.role}")
    return actor


@router.get("/audit", summary="What was done")
def audit(request: Request, actor: Annotated[Actor, Depends(needs("admin"))]) -> list[dict[str, Any]]:
    """Return the newest entries of the audit log; a key sees them too where its role is admin."""
    studio: Studio = request.app.state.studio
    names = ("id", "created_at", "actor", "action", "target", "detail", "request_id")
    with studio.database.read() as session:
        rows = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(SHOWN))
        return [{name: getattr(row, name) for name in names} for row in rows]


@pages_router.get("/people")
def people_page(request: Request, actor: Annotated[Actor, Depends(_admin)]) -> Response:
    """Show keys, people and the audit log."""
    return _page(request, actor)


def _page(request: Request, actor: Actor, key: str = "") -> Response:
    studio: Studio = request.app.state.studio
    with studio.database.read() as session:
        query = select(ApiKey, Project.slug).join(Project, Project.id == ApiKey.project_id)
        keys = session.execute(query.order_by(ApiKey.id.desc())).all()
        users = list(session.scalars(select(User).order_by(User.name)))
        projects = list(session.scalars(select(Project).order_by(Project.name)))
        entries = list(session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(SHOWN)))
    values: dict[str, Any] = {
        "keys": keys,
        "users": users,
        "projects": projects,
        "audit": entries,
        "roles": ROLES,
        "new_key": key,
    }
    project = projects[0] if len(projects) == 1 else None
    return render(
        request, "people.html", title="Keys and people", actor=actor, project=project, here="people", **values
    )


@pages_router.post("/people/keys")
def make_key(
    request: Request,
    actor: AdminForm,
    name: Annotated[Plain, Form(min_length=1, max_length=200)],
    project: Annotated[str, Form(max_length=60)],
    role: Annotated[str, Form(max_length=20)],
) -> Response:
    """Make a key and show it, this once."""
    key = create_key(request.app.state.studio, project_of(request, actor, project), name, role, actor.name)
    return _page(request, actor, key)


def create_key(studio: Studio, project: Project, name: str, role: str, by: str) -> str:
    """Make a key to a project and return it; its hash alone is kept."""
    if role not in ROLES:
        raise HTTPException(422, f"a role is one of {', '.join(ROLES)}")
    key, prefix, hashed = new_key()
    with studio.database.write() as session:
        row = ApiKey(
            project_id=project.id,
            name=name,
            prefix=prefix,
            hash=hashed,
            role=role,
            created_at=time.time(),
            created_by=by,
        )
        session.add(row)
        record(session, by, "make key", prefix, {"role": role, "project": project.slug, "name": name})
    return key


class KeyIn(Strict):
    """What a new key is for."""

    name: Name
    role: str = "reader"


@router.post("/keys", status_code=201, summary="Make a key")
def add_key(
    request: Request, body: KeyIn, actor: Annotated[Actor, Depends(needs("admin"))], project: str | None = None
) -> dict[str, str]:
    """Make a key to a project; it is shown this once."""
    scope = project_of(request, actor, project)
    return {"key": create_key(request.app.state.studio, scope, body.name, body.role, actor.name)}


@pages_router.post("/people/keys/{number}/revoke")
def revoke_key(request: Request, number: int, actor: AdminForm) -> Response:
    """Revoke a key: it lets nobody in from now on."""
    studio: Studio = request.app.state.studio
    with studio.database.write() as session:
        row = session.get(ApiKey, number)
        if row is None:
            raise HTTPException(404, f"there is no key {number}")
        row.revoked_at = row.revoked_at or time.time()
        record(session, actor.name, "revoke key", row.prefix)
    studio.actors.clear()
    return RedirectResponse("/people", 303)


@pages_router.post("/people/users")
def add_user(
    request: Request,
    actor: AdminForm,
    name: Annotated[str, Form(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")],
    password: Annotated[str, Form(max_length=500)],
    role: Annotated[str, Form(max_length=20)],
) -> Response:
    """Add a person, or change their password and role."""
    studio: Studio = request.app.state.studio
    if role not in ROLES:
        raise HTTPException(422, f"a role is one of {', '.join(ROLES)}")
    if name == actor.name and role != "admin":
        raise HTTPException(422, "you cannot take the role of admin from yourself")
    hashed = hash_password(password)
    with studio.database.write() as session:
        user = session.scalars(select(User).where(User.name == name)).first()
        if user is None:
            session.add(User(name=name, role=role, password_hash=hashed, active=True, created_at=time.time()))
        else:
            user.password_hash, user.role, user.active = hashed, role, True
            session.execute(delete(LoginSession).where(LoginSession.user_id == user.id))
        record(session, actor.name, "set person", name, {"role": role})
    return RedirectResponse("/people", 303)


@pages_router.post("/people/users/{number}/lock")
def lock_user(request: Request, number: int, actor: AdminForm) -> Response:
    """Lock a person out, now."""
    studio: Studio = request.app.state.studio
    with studio.database.write() as session:
        user = session.get(User, number)
        if user is None or user.name == actor.name:
            raise HTTPException(422, "there is no such person, or it is you")
        user.active = False
        session.execute(delete(LoginSession).where(LoginSession.user_id == number))
        record(session, actor.name, "lock out", user.name)
    return RedirectResponse("/people", 303)
