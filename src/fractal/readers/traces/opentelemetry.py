"""OpenTelemetry spans of generative models (`gen_ai.*` attributes), as JSON lines of spans or of OTLP batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fractal.errors import BadData
from fractal.readers.base import READERS
from fractal.readers.sources import Row
from fractal.readers.traces.base import first_of
from fractal.readers.traces.spans import MODEL, OTHER, TOOL, Run, Span, SpanReader
from fractal.readers.traces.turns import arguments_of, as_text, decoded

__all__ = ["OpenTelemetry", "attributes_of", "ids_of", "run_of", "spans_in"]

KINDS = dict.fromkeys(("chat", "generate_content", "text_completion"), MODEL) | {"execute_tool": TOOL}
EVALUATION = "gen_ai.evaluation.result"
DETAILS = "gen_ai.client.inference.operation.details"
SCALARS = ("stringValue", "boolValue", "doubleValue")


@READERS.register("opentelemetry")
@dataclasses.dataclass(frozen=True)
class OpenTelemetry(SpanReader):
    """OpenTelemetry spans with `gen_ai` attributes, one a line or in OTLP batches; evaluations are outcomes."""

    def gather(self, row: Row, runs: dict[str, Run]) -> None:
        """Put the spans and evaluations of a row to their traces."""
        for fields, resource in spans_in(row.fields):
            attributes = {**resource, **attributes_of(fields.get("attributes"))}
            run = run_of(fields, row, runs)
            name = str(fields.get("event_name") or fields.get("eventName") or fields.get("name") or "")
            if name == EVALUATION:
                _evaluate(attributes, run, ids_of(fields)[1])
                continue
            for event, inner in _events(fields):
                if event == EVALUATION:
                    _evaluate(inner, run, ids_of(fields)[1])
                elif event == DETAILS:
                    attributes |= inner
            run.facts = {**run.facts, **{key: value for key, value in attributes.items() if _is_fact(key)}}
            run.spans.append(_span(fields, attributes, name))


def spans_in(fields: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Yield the spans of a row, with the attributes of their resource: one span, or a batch of many."""
    batches = fields.get("resourceSpans", fields.get("resource_spans"))
    if batches is None:
        resource = fields.get("resource")
        yield fields, attributes_of(resource.get("attributes")) if isinstance(resource, Mapping) else {}
        return
    for batch in batches:
        resource = attributes_of((batch.get("resource") or {}).get("attributes"))
        for scope in batch.get("scopeSpans", batch.get("scope_spans", ())):
            for span in scope.get("spans", ()):
                yield span, resource


def attributes_of(given: Any) -> dict[str, Any]:
    """Return attributes as a mapping, whichever of the two ways of JSON they are written in."""
    if isinstance(given, list | tuple):
        return {str(pair.get("key", "")): _value(pair.get("value")) for pair in given if isinstance(pair, Mapping)}
    read = decoded(given)
    return dict(read) if isinstance(read, Mapping) else {}


def _value(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    for kind in SCALARS:
        if kind in value:
            return value[kind]
    if "intValue" in value:
        return int(value["intValue"])
    if "arrayValue" in value:
        return [_value(part) for part in (value["arrayValue"] or {}).get("values", ())]
    if "kvlistValue" in value:
        return {
            pair.get("key", ""): _value(pair.get("value")) for pair in (value["kvlistValue"] or {}).get("values", ())
        }
    return None if not value else dict(value)


def ids_of(fields: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the ids of the trace, the span and its parent."""
    context = fields.get("context")
    inner = context if isinstance(context, Mapping) else fields
    trace = first_of(inner, ("trace_id", "traceId", "context.trace_id"))
    span = first_of(inner, ("span_id", "spanId", "context.span_id"))
    parent = first_of(fields, ("parent_id", "parentSpanId", "parent_span_id"))
    if trace is None:
        found = ", ".join(map(str, fields))[:200]
        raise BadData(f"there is none: found the fields {found}: a span has a trace's id", field="trace_id")
    return as_text(trace), as_text(span), as_text(parent)


def run_of(fields: Mapping[str, Any], row: Row, runs: dict[str, Run]) -> Run:
    """Return the run that a span belongs to."""
    return runs.setdefault(ids_of(fields)[0], Run(row))


def _span(fields: Mapping[str, Any], attributes: Mapping[str, Any], name: str) -> Span:
    _, id, parent = ids_of(fields)
    kind = KINDS.get(str(attributes.get("gen_ai.operation.name", "")), OTHER)
    start = first_of(fields, ("start_time", "startTimeUnixNano", "start_time_unix_nano", "startTime"))
    span = Span(id, parent, kind, start, name=name, error=_failed(fields))
    if kind == MODEL:
        system = _list(attributes.get("gen_ai.system_instructions"), "gen_ai.system_instructions")
        before = [{"role": "system", "parts": system}] if system else []
        span.inputs = before + _list(attributes.get("gen_ai.input.messages"), "gen_ai.input.messages")
        span.outputs = _list(attributes.get("gen_ai.output.messages"), "gen_ai.output.messages")
    elif kind == TOOL:
        span.name = as_text(attributes.get("gen_ai.tool.name")) or name
        span.call = as_text(attributes.get("gen_ai.tool.call.id"))
        span.arguments = arguments_of(attributes.get("gen_ai.tool.call.arguments"))
        span.result = as_text(decoded(attributes.get("gen_ai.tool.call.result")))
    return span


def _list(value: Any, field: str) -> list[Any]:
    read = decoded(value)
    if read is None:
        return []
    if not isinstance(read, list | tuple):
        raise BadData(f"found {repr(read)[:60]}: a list of messages, or its JSON", field=field)
    return list(read)


def _failed(fields: Mapping[str, Any]) -> bool:
    status = fields.get("status")
    code = status.get("code", status.get("status_code")) if isinstance(status, Mapping) else fields.get("status_code")
    return code in (2, "ERROR", "STATUS_CODE_ERROR", "StatusCode.ERROR")


def _events(fields: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    events: Sequence[Any] = fields.get("events") or ()
    for event in events:
        if isinstance(event, Mapping):
            yield str(event.get("name", "")), attributes_of(event.get("attributes"))


def _evaluate(attributes: Mapping[str, Any], run: Run, span: str) -> None:
    """Note an evaluation and the span that it is about."""
    name = as_text(attributes.get("gen_ai.evaluation.name")) or "evaluation"
    value = first_of(attributes, ("gen_ai.evaluation.score.value", "gen_ai.evaluation.score.label"))
    if value is not None:
        run.evaluations.append((span, name, value))


def _is_fact(key: str) -> bool:
    return not key.startswith(("gen_ai.input", "gen_ai.output", "gen_ai.system_instructions", "gen_ai.tool", "llm."))
