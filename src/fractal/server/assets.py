"""What pages load, all of it from this package: the report's styles, the studio's own, and its script."""

from __future__ import annotations

import functools
import hashlib
from importlib.resources import files

from fastapi import APIRouter, HTTPException, Response

from fractal.reports import palette

__all__ = ["address", "router"]

router = APIRouter()
PARTS = {
    "studio.css": (("fractal.reports", "templates/report.css"), ("fractal.server", "static/studio.css")),
    "studio.js": (("fractal.reports", "templates/passages.js"), ("fractal.server", "static/studio.js")),
    "correct.js": (("fractal.server", "static/correct.js"),),
}
TYPES = {"css": "text/css", "js": "text/javascript"}
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#1f5f99"/>'
    '<path d="M3 5h10M3 8h6M3 11h8" stroke="#fff" stroke-width="1.6"/></svg>'
)


@functools.cache
def asset(name: str) -> str:
    """Return what stands under a name."""
    parts = [files(package).joinpath(path).read_text(encoding="utf-8") for package, path in PARTS[name]]
    return "\n".join([palette.stylesheet(), *parts] if name.endswith(".css") else parts)


@functools.cache
def address(name: str) -> str:
    """Return where a page finds an asset; another version has another address, so that browsers may keep it."""
    return f"/static/{hashlib.sha256(asset(name).encode()).hexdigest()[:12]}/{name}"


@router.get("/static/icon.svg")
def icon() -> Response:
    """Return the icon of the pages."""
    return Response(ICON, media_type="image/svg+xml", headers={"cache-control": "public, max-age=86400"})


@router.get("/static/{version}/{name}")
def static(version: str, name: str) -> Response:
    """Return an asset; only names that are listed here are looked for."""
    if name not in PARTS:
        raise HTTPException(404, "there is no such file")
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(asset(name), media_type=TYPES[name.rpartition(".")[2]], headers=headers)
