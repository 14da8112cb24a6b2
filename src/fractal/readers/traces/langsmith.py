"""Runs and feedback of LangSmith, as its exports give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fractal.errors import BadData
from fractal.readers.base import READERS
from fractal.readers.session import ReadSession
from fractal.readers.sources import BadRow, Row
from fractal.readers.traces.base import first_of
from fractal.readers.traces.langfuse import input_messages, output_messages
from fractal.readers.traces.spans import MODEL, OTHER, TOOL, Run, Span, SpanReader
from fractal.readers.traces.turns import arguments_of, as_text, decoded

__all__ = ["LangSmith"]

KINDS = {"llm": MODEL, "tool": TOOL, "retriever": TOOL}
FEEDBACK = "\0feedback"  # where feedback waits for the run that it is about; no trace is called so


@READERS.register("langsmith")
@dataclasses.dataclass(frozen=True)
class LangSmith(SpanReader):
    """LangSmith runs, ordered by `dotted_order`, with feedback in rows of its own or in `feedback_stats`."""

    def traces(self, rows: Iterable[Row | BadRow], door: ReadSession) -> Iterator[tuple[Row | BadRow, Any]]:
        """Gather runs, then give each piece of feedback to the trace of its run."""
        gathered = list(super().traces(rows, door))
        by_run: dict[str, Run] = {}
        feedback: list[tuple[Row, Mapping[str, Any]]] = []
        for _, made in gathered:
            if made is not None and made[0] != FEEDBACK:
                by_run |= {span.id: made[1] for span in made[1].spans if not span.parent} | {made[0]: made[1]}
            elif made is not None:
                feedback = made[1].facts["rows"]
        for _, fields in feedback:
            run = by_run.get(as_text(first_of(fields, ("trace_id", "run_id"))))
            if run is None:
                door.report.tally("feedback on single runs or on runs that are not here, not read", 1)
            elif (value := first_of(fields, ("score", "value"))) is not None:
                run.scores[as_text(fields["key"])] = value
        yield from ((row, made) for row, made in gathered if made is None or made[0] != FEEDBACK)

    def gather(self, row: Row, runs: dict[str, Run]) -> None:
        """Put a run to its trace; feedback waits until all runs are there."""
        fields = row.fields
        if "run_type" not in fields:
            if "key" not in fields:
                found = ", ".join(map(str, fields))[:200]
                raise BadData(f"found the fields {found}: give runs or feedback", field="run_type")
            runs.setdefault(FEEDBACK, Run(row)).facts.setdefault("rows", []).append((row, fields))
            return
        trace = first_of(fields, ("trace_id", "id"))
        if trace is None:
            raise BadData("there is none: a run has an id", field="trace_id")
        run = runs.setdefault(as_text(trace), Run(row))
        span = _span(fields)
        run.spans.append(span)
        if not span.parent:
            run.facts |= _metadata(fields)
            run.scores |= dict(_stats(fields))


def _span(fields: Mapping[str, Any]) -> Span:
    kind = KINDS.get(str(fields["run_type"]), OTHER)
    start, order = fields.get("start_time"), as_text(fields.get("dotted_order"))
    span = Span(as_text(fields.get("id")), as_text(fields.get("parent_run_id")), kind, start, order)
    span.name, span.error = as_text(fields.get("name")), bool(fields.get("error"))
    given, said = decoded(fields.get("inputs")), decoded(fields.get("outputs"))
    if kind == MODEL:
        span.inputs, span.outputs = input_messages(given), output_messages(said)
    elif kind == TOOL:
        inner = given if isinstance(given, Mapping) else {}
        span.call = as_text(first_of({**_metadata(fields), **inner}, ("tool_call_id",)) or _answered(said))
        arguments = inner.get("input", given) if set(inner) <= {"input", "tool_call_id"} else given
        span.arguments = arguments_of(arguments)
        span.result = _result(said) or as_text(fields.get("error"))
    return span


def _output(said: Any) -> Any:
    output = said.get("output", said) if isinstance(said, Mapping) else said
    if isinstance(output, Mapping) and isinstance(output.get("kwargs"), Mapping):
        return output["kwargs"]
    return output


def _result(said: Any) -> str:
    output = _output(said)
    return as_text(output["content"] if isinstance(output, Mapping) and "content" in output else output)


def _answered(said: Any) -> Any:
    output = _output(said)
    return output.get("tool_call_id") if isinstance(output, Mapping) else None


def _metadata(fields: Mapping[str, Any]) -> dict[str, Any]:
    extra = decoded(fields.get("extra"))
    metadata = extra.get("metadata") if isinstance(extra, Mapping) else None
    own = {key: fields[key] for key in ("reference_example_id", "session_name") if fields.get(key) is not None}
    return {**own, **(metadata if isinstance(metadata, Mapping) else {})}


def _stats(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    stats = decoded(fields.get("feedback_stats"))
    for key, value in (stats if isinstance(stats, Mapping) else {}).items():
        average = value.get("avg") if isinstance(value, Mapping) else value
        if average is not None:
            yield str(key), average
