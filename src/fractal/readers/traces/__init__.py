"""Traces of agents → responses: a run is a response, its steps are the sentences, its outcome is the label."""

from fractal.readers.traces import (  # noqa: F401  (registered so)
    langfuse,
    langsmith,
    messages,
    openinference,
    opentelemetry,
    step_lists,
)
from fractal.readers.traces.base import TraceReader
from fractal.readers.traces.turns import Call, Turn

__all__ = ["Call", "TraceReader", "Turn"]
