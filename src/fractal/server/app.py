"""The web application: its routes, how errors are answered, what runs while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy import func, select
from starlette.exceptions import HTTPException

from fractal import __version__
from fractal.errors import FractalError
from fractal.server import api_data, api_scoring, assets, login, pages, people, rendering
from fractal.server.middleware import Gate
from fractal.server.studio import Studio
from fractal.server.tables import Job
from fractal.server.tracing import tracing

__all__ = ["make_app"]

logger = logging.getLogger("fractal.server")

DESCRIPTION = """Scores for every sentence of a response, learned from ratings of whole responses.

Give a key as `Authorization: Bearer fr_…`; admins make keys on the page *Keys and people*. A key belongs to a project.
`Idempotency-Key` makes it safe to send a POST again. A full queue answers 429 with `Retry-After`."""


def make_app(studio: Studio) -> FastAPI:
    """Return the application of a studio."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batcher = studio.start_batcher()
        threading.Thread(target=_warm, args=(studio,), name="warm-up", daemon=True).start()
        with tracing():
            yield
        await batcher.stop()
        studio.close()

    app = FastAPI(
        title="fractal",
        version=__version__,
        description=DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # those pages would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.studio = studio
    app.add_middleware(Gate, studio=studio)
    for router in (api_scoring.router, api_scoring.predict_router, api_data.router, people.router):
        app.include_router(router)
    for pages_router in (login.router, pages.router, people.pages_router, assets.router):
        app.include_router(pages_router, include_in_schema=False)
    _answer_errors(app)
    _add_health(app, studio)
    return app


def _warm(studio: Studio) -> None:
    try:
        studio.scorers.warm()
    except Exception:  # the first request will say what is wrong
        logger.warning("the newest scorer cannot be loaded", exc_info=True)


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [{"where": ".".join(map(str, one["loc"])), "problem": str(one["msg"])} for one in error.errors()[:20]]
        first = errors[0] if errors else {"where": "", "problem": "the request cannot be read"}
        detail = f"{first['where']}: {first['problem']}"
        return JSONResponse(_safe({"detail": detail, "errors": errors}), 422)

    @app.exception_handler(FractalError)
    async def refused(request: Request, error: FractalError) -> Response:
        return JSONResponse(_safe({"detail": str(error), "errors": []}), 422)

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        if rendering.wants_page(request):
            return rendering.error_page(request, error.status_code, str(error.detail))
        return JSONResponse(_safe({"detail": str(error.detail), "errors": []}), error.status_code, error.headers)


def _safe(value: dict[str, Any]) -> dict[str, Any]:
    """Half characters cannot be sent; a mark stands in their place."""
    value["detail"] = value["detail"].encode("utf-8", "replace").decode()
    for error in value["errors"]:
        error.update({name: text.encode("utf-8", "replace").decode() for name, text in error.items()})
    return value


def _add_health(app: FastAPI, studio: Studio) -> None:
    @app.get("/healthz", tags=["operation"], summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"], summary="Whether requests can be answered", responses={503: {}})
    async def readyz() -> Response:
        alive = await asyncio.to_thread(studio.database.alive)
        ready = alive and studio.batcher is not None
        return JSONResponse({"status": "ok" if ready else "the database does not answer"}, 200 if ready else 503)

    @app.get(
        "/metrics",
        tags=["operation"],
        summary="What Prometheus reads",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Metrics"}},
    )
    def metrics() -> Response:
        if studio.batcher is not None:
            studio.metrics.waiting.set(studio.batcher.waiting_tokens)
        with studio.database.read() as session:
            query = select(Job.state, func.count()).group_by(Job.state)
            counts = {state: count for state, count in session.execute(query)}
        for state in ("queued", "running", "done", "failed", "cancelled"):
            studio.metrics.jobs.labels(state).set(counts.get(state, 0))
        return Response(studio.metrics.text(), media_type="text/plain")
