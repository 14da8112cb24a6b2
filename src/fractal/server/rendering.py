"""How a page is made: its template, who looks at it, what a form must bring, what an error looks like."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import Depends, Form, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from fractal.server.access import Actor, actor_of, check_csrf
from fractal.server.assets import address
from fractal.server.studio import Studio

__all__ = [
    "AdminForm",
    "AnnotatorForm",
    "Viewer",
    "clean",
    "error_page",
    "page_form",
    "render",
    "studio_of",
    "wants_page",
    "when",
]

TITLES = {401: "Log in first", 403: "Not allowed", 404: "Not here", 413: "Too large", 422: "That cannot be done"}


def clean(text: str) -> str:
    """Return a text without what no database can hold."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


def when(moment: float) -> str:
    """Return a moment as people read it, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment))


ENVIRONMENT = Environment(
    loader=PackageLoader("fractal.server"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.globals |= {"address": address, "when": when}


def render(request: Request, template: str, /, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page; every value is escaped."""
    defaults = {"actor": None, "project": None, "here": "", "message": "", "title": "fractal"}
    text = ENVIRONMENT.get_template(template).render(**{**defaults, **values})
    return HTMLResponse(text.encode("utf-8", "replace"), status)


def wants_page(request: Request) -> bool:
    """Whether a browser asks for a page, and not a program for data."""
    path = request.url.path
    return not path.startswith(("/v1/", "/predict", "/metrics")) and "text/html" in request.headers.get("accept", "")


def error_page(request: Request, status: int, detail: str) -> Response:
    """Return a page that says what was wrong; who is not logged in is sent to log in."""
    if status == 401:
        return RedirectResponse("/login", 303)
    actor = actor_of(request)
    return render(
        request, "error.html", status, actor=actor, title=TITLES.get(status, "That went wrong"), detail=detail
    )


def page_actor(request: Request) -> Actor:
    """Return who looks at a page."""
    actor = actor_of(request)
    if actor is None or not actor.csrf:
        raise HTTPException(401, "log in first")
    return actor


def page_form(needed: str) -> Any:
    """Return what lets in forms of a page, from those with a role."""

    def dependency(request: Request, csrf: Annotated[str, Form(max_length=100)] = "") -> Actor:
        actor = page_actor(request)
        check_csrf(request, actor, csrf)
        if not actor.may(needed):
            raise HTTPException(403, f"this needs the role {needed}; yours is {actor.role}")
        return actor

    return Depends(dependency)


Viewer = Annotated[Actor, Depends(page_actor)]
AnnotatorForm = Annotated[Actor, page_form("annotator")]
AdminForm = Annotated[Actor, page_form("admin")]


def studio_of(request: Request) -> Studio:
    """Return the studio that a request is for."""
    studio: Studio = request.app.state.studio
    return studio
