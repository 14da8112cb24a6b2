"""What every request passes: an id, limits on its size, headers that bind the browser, a line in the log."""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fractal.server.audit import request_id
from fractal.server.settings import LOOPBACK
from fractal.server.studio import Studio
from fractal.server.tracing import span

__all__ = ["POLICY", "Gate"]

logger = logging.getLogger("fractal.server.access")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
UPLOADS = ("/v1/uploads",)


class TooLarge(Exception):
    """A body beyond its limit."""


class Gate:
    """Stands before everything else."""

    def __init__(self, app: ASGIApp, studio: Studio) -> None:
        self._app, self._studio = app, studio

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        header = headers.get("x-request-id", "")
        request_name = header if REQUEST_ID.fullmatch(header) else secrets.token_hex(8)
        token = request_id.set(request_name)
        started, status = time.perf_counter(), [500]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                _dress(message, request_name, scope["path"])
            await send(message)

        try:
            with span(scope, request_name) as ended:
                problem = self._refusal(scope, headers)
                if problem is not None:
                    await _plain(answer, *problem)
                else:
                    await self._limited(scope, receive, answer, status)
                ended(status[0])
        finally:
            self._note(scope, request_name, status[0], time.perf_counter() - started)
            request_id.reset(token)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        if self._studio.settings.local and host.strip("[]") not in LOOPBACK:
            return (
                421,
                "this studio answers to 127.0.0.1 and localhost alone",
            )  # a name bound to this machine by another
        size = headers.get("content-length", "")
        if size.isdigit() and int(size) > self._limit(scope):
            return 413, f"the body has {int(size):,} bytes, at most {self._limit(scope):,} are read"
        return None

    def _limit(self, scope: Scope) -> int:
        limits = self._studio.settings.limits
        return limits.upload_bytes + 1_000_000 if scope["path"] in UPLOADS else limits.body_bytes

    async def _limited(self, scope: Scope, receive: Receive, send: Send, status: list[int]) -> None:
        """Count the body as it comes: a length that is not told, or told wrong, is no way around the limit."""
        size, limit, begun, over = 0, self._limit(scope), [False], [False]

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                over[0] = True
                raise TooLarge
            return message

        async def watched(message: Message) -> None:
            if over[0] and not begun[0]:
                return  # whatever the application makes of half a body
            begun[0] = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except TooLarge:
            pass
        except Exception:
            logger.exception("request %s failed", request_id.get())
            if not begun[0]:
                begun[0] = True
                await _plain(send, 500, f"something went wrong here; the log tells more of request {request_id.get()}")
        if over[0] and not begun[0]:
            await _plain(send, 413, f"the body is too large: at most {limit:,} bytes are read")

    def _note(self, scope: Scope, request_name: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "") or "unknown"
        self._studio.metrics.requests.labels(scope["method"], route, str(status)).inc()
        self._studio.metrics.seconds.labels(route).observe(seconds)
        line: dict[str, Any] = {"request": request_name, "method": scope["method"], "route": route, "status": status}
        logger.info("request", extra={"line": {**line, "ms": round(1000 * seconds, 2)}})


def _dress(message: Message, request_name: str, path: str) -> None:
    headers = MutableHeaders(scope=message)
    headers["x-request-id"] = request_name
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if not path.startswith("/static/"):
        headers.setdefault("cache-control", "no-store")


async def _plain(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail, "errors": []}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
