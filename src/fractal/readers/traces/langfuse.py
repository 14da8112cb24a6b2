"""Traces of Langfuse: observations and scores as its interface and its exports give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fractal.errors import BadData
from fractal.readers.base import READERS
from fractal.readers.sources import Row
from fractal.readers.traces.base import first_of
from fractal.readers.traces.spans import MODEL, OTHER, TOOL, Run, Span, SpanReader
from fractal.readers.traces.turns import arguments_of, as_text, decoded

__all__ = ["Langfuse", "input_messages", "output_messages"]

KINDS = {"GENERATION": MODEL, "TOOL": TOOL, "RETRIEVER": TOOL}


@READERS.register("langfuse")
@dataclasses.dataclass(frozen=True)
class Langfuse(SpanReader):
    """Langfuse observations, traces and scores, in rows of their own or in traces that hold them."""

    def gather(self, row: Row, runs: dict[str, Run]) -> None:
        """Put an observation, a score, a trace or a page of them to its run."""
        pages = row.fields.get("data")
        for fields in pages if isinstance(pages, list) else (row.fields,):
            if not isinstance(fields, Mapping):
                raise BadData(f"found {repr(fields)[:60]}: an observation is an object", field="data")
            self._gather(fields, row, runs)

    def _gather(self, fields: Mapping[str, Any], row: Row, runs: dict[str, Run]) -> None:
        trace = first_of(fields, ("traceId", "trace_id"))
        if "dataType" in fields or ("value" in fields and "name" in fields and "type" not in fields):
            _score(fields, runs.setdefault(as_text(trace), Run(row)))
        elif trace is not None and first_of(fields, ("type",)) is not None:
            run = runs.setdefault(as_text(trace), Run(row))
            run.spans.append(_span(fields))
            if not run.spans[-1].parent:
                run.facts |= _metadata(fields)
        elif fields.get("id") is not None:
            self._whole(fields, row, runs)
        else:
            found = ", ".join(map(str, fields))[:200]
            raise BadData(f"found the fields {found}: give observations, scores or traces", field="traceId")

    def _whole(self, fields: Mapping[str, Any], row: Row, runs: dict[str, Run]) -> None:
        """Take a trace with its observations and scores."""
        id = as_text(fields["id"])
        run = runs.setdefault(id, Run(row))
        run.facts |= _metadata(fields)
        for observation in fields.get("observations") or ():
            run.spans.append(_span(observation))
        for score in fields.get("scores") or ():
            _score(score, run)


def _metadata(fields: Mapping[str, Any]) -> dict[str, Any]:
    metadata = decoded(fields.get("metadata"))
    return {str(key): value for key, value in metadata.items()} if isinstance(metadata, Mapping) else {}


def _score(fields: Mapping[str, Any], run: Run) -> None:
    if first_of(fields, ("observationId", "observation_id")) is not None:
        run.tally["scores of single observations, not read"] += 1
        return
    kind = fields.get("dataType")
    value = fields.get("stringValue") if kind == "CATEGORICAL" else fields.get("value")
    if kind == "BOOLEAN" and isinstance(value, int | float):
        value = bool(value)
    if value is not None:
        run.scores[as_text(fields.get("name")) or "score"] = value


def _span(fields: Any) -> Span:
    if not isinstance(fields, Mapping):
        raise BadData(f"found {repr(fields)[:60]}: an observation is an object", field="observations")
    kind = KINDS.get(str(fields.get("type", "")).upper(), OTHER)
    parent = as_text(first_of(fields, ("parentObservationId", "parent_observation_id")))
    start = first_of(fields, ("startTime", "start_time"))
    span = Span(as_text(fields.get("id")), parent, kind, start, name=as_text(fields.get("name")))
    span.error = fields.get("level") == "ERROR"
    given, said = decoded(fields.get("input")), decoded(fields.get("output"))
    if kind == MODEL:
        span.inputs, span.outputs = input_messages(given), output_messages(said)
    elif kind == TOOL:
        call = given if isinstance(given, Mapping) else {}
        inner = first_of(call, ("args", "arguments")) if {"name", "args", "arguments"} & set(call) else None
        span.call = as_text(first_of({**_metadata(fields), **call}, ("tool_call_id", "toolCallId")))
        span.arguments = arguments_of(given if inner is None else inner)
        span.result = as_text(said) or as_text(fields.get("statusMessage"))
    return span


def input_messages(given: Any) -> list[Any]:
    """Return the messages that a model heard: a list, a list in an object, or a text."""
    if isinstance(given, Mapping):
        held = first_of(given, ("messages", "input", "prompt"))
        if held is None:
            return [given] if "role" in given or "content" in given else [{"role": "user", "content": as_text(given)}]
        given = held
    if isinstance(given, str):
        return [{"role": "user", "content": given}] if given else []
    if isinstance(given, list | tuple) and len(given) == 1 and isinstance(given[0], list | tuple):
        given = given[0]  # a batch of one conversation
    if given and not isinstance(given, list | tuple):
        raise BadData(f"found {repr(given)[:60]}: give a list of messages", field="messages")
    return list(given or ())


def output_messages(said: Any) -> list[Any]:
    """Return the messages that a model said; of several choices each is one."""
    if said is None or said in ("", [], {}):
        return []
    if isinstance(said, str):
        return [{"role": "assistant", "content": said}]
    if isinstance(said, list | tuple):
        return [message for part in said for message in output_messages(part)]
    if isinstance(said, Mapping) and (held := first_of(said, ("choices", "generations", "messages", "message"))):
        return output_messages(held)
    if isinstance(said, Mapping) and ("content" in said or "tool_calls" in said or "kwargs" in said or "data" in said):
        return [said if {"role", "type", "lc", "data"} & set(said) else {"role": "assistant", **said}]
    return [{"role": "assistant", "content": as_text(said)}]
