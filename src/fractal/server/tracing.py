"""Spans for OpenTelemetry, where it is installed and an exporter is named in the environment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from starlette.types import Scope

__all__ = ["span", "start_tracing"]

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_TRACER: list[Any] = []


def start_tracing() -> bool:
    """Export spans by OTLP where the extra `otel` is installed and an endpoint is named; say whether it is so."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return False
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        return False
    provider = TracerProvider(resource=Resource.create({"service.name": "fractal"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _TRACER[:] = [trace.get_tracer("fractal.server")]
    return True


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
