"""Spans for OpenTelemetry, where it is installed and an exporter is named in the environment."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

from starlette.types import Scope

__all__ = ["span", "tracing"]

logger = logging.getLogger("fractal.server")
EXTRA = "pip install 'fractal-scores[otel]'"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_TRACER: list[Any] = []  # the one in use, where there is one


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Export spans by OTLP where an endpoint is named and the extra `otel` is there; the last are sent at the end."""
    provider = _provider() if any(os.environ.get(name) for name in ENDPOINTS) else None
    if provider is None:
        yield
        return
    _TRACER[:] = [provider.get_tracer("fractal.server")]
    try:
        yield
    finally:
        _TRACER.clear()
        provider.shutdown()


def _provider() -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning(
            "an OpenTelemetry endpoint is named, and its packages are missing: no spans are sent (%s)", EXTRA
        )
        return None
    provider = TracerProvider(resource=Resource.create({"service.name": "fractal"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


@contextlib.contextmanager
def span(scope: Scope, request: str) -> Iterator[Callable[[int], None]]:
    """Open a span for a request; what is given out takes its status."""
    if not _TRACER:
        yield lambda status: None
        return
    with _TRACER[0].start_as_current_span(f"{scope['method']} request") as current:
        current.set_attribute("http.request.method", scope["method"])
        current.set_attribute("fractal.request_id", request)

        def ended(status: int) -> None:
            route = getattr(scope.get("route"), "path", "") or "unknown"
            current.update_name(f"{scope['method']} {route}")
            current.set_attribute("http.route", route)
            current.set_attribute("http.response.status_code", status)

        yield ended
