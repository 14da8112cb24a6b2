"""The ways in: a one-time link, or a name and a password; and the way out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select

from fractal.server.access import COOKIE, Actor, begin_session, end_session, same_origin
from fractal.server.audit import record
from fractal.server.rendering import page_form, render, studio_of
from fractal.server.schemas import Plain
from fractal.server.security import verify_password
from fractal.server.studio import OWNER, Studio
from fractal.server.tables import User

__all__ = ["router"]

router = APIRouter()


@router.get("/login")
def login_page(request: Request, token: str = "") -> Response:
    """Let a browser in by its one-time link, or ask for a name and a password."""
    studio = studio_of(request)
    if token and studio.settings.local and studio.links.use(token):
        with studio.database.write() as session:
            user = session.scalars(select(User).where(User.name == OWNER)).one()
            record(session, user.name, "log in", "by a one-time link")
        studio.print_link()
        return _let_in(studio, user)
    problem = "This link has been used, or is too old: take the newest one from the terminal." if token else ""
    return render(request, "login.html", title="Log in", local=studio.settings.local, problem=problem)


def _let_in(studio: Studio, user: User) -> Response:
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE,
        begin_session(studio, user),
        max_age=int(studio.settings.session_seconds),
        httponly=True,
        samesite="lax",
        secure=studio.settings.secure,
        path="/",
    )
    return answer


@router.post("/login")
def login(
    request: Request,
    name: Annotated[Plain, Form(max_length=200)],
    password: Annotated[str, Form(max_length=500)],
) -> Response:
    """Let a person in by name and password; after a few wrong ones each has to wait."""
    studio = studio_of(request)
    if not same_origin(request):
        raise HTTPException(403, "log in from the studio's own page")
    wait = studio.attempts.wait(name)
    with studio.database.read() as session:
        user = session.scalars(select(User).where(User.name == name, User.active.is_(True))).first()
    right = not wait and verify_password(user.password_hash if user else "", password)
    studio.attempts.note(name, right)
    with studio.database.write() as session:
        record(session, name[:200], "log in" if right else "failed to log in", "by password")
    if not right or user is None:
        problem = f"Too many attempts: wait {wait:.0f} seconds." if wait else "Name and password do not go together."
        return render(request, "login.html", 401, title="Log in", local=studio.settings.local, problem=problem)
    return _let_in(studio, user)


@router.post("/logout")
def logout(request: Request, actor: Annotated[Actor, page_form("reader")]) -> Response:
    """Log out."""
    end_session(studio_of(request), request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, path="/")
    return answer
