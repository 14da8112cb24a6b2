"""Spans with OpenInference attributes, as Phoenix and other collectors export them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from fractal.readers.base import READERS
from fractal.readers.sources import Row
from fractal.readers.traces.base import first_of
from fractal.readers.traces.opentelemetry import attributes_of, ids_of, run_of, spans_in
from fractal.readers.traces.spans import MODEL, OTHER, TOOL, Run, Span, SpanReader
from fractal.readers.traces.turns import arguments_of, as_text, decoded

__all__ = ["OpenInference", "nested"]

KINDS = {"LLM": MODEL, "TOOL": TOOL, "RETRIEVER": TOOL}


@READERS.register("openinference")
@dataclasses.dataclass(frozen=True)
class OpenInference(SpanReader):
    """OpenInference spans (Phoenix): `openinference.span.kind`, `llm.output_messages…`; annotations are outcomes."""

    def gather(self, row: Row, runs: dict[str, Run]) -> None:
        """Put the spans of a row to their traces."""
        for fields, resource in spans_in(row.fields):
            run = run_of(fields, row, runs)
            tree = nested({**resource, **_attributes(fields)})
            run.spans.append(_span(fields, tree))
            if not run.spans[-1].parent:
                metadata = decoded(tree.get("metadata"))
                run.facts = {**(metadata if isinstance(metadata, Mapping) else {}), **run.facts}
            if isinstance(agent := _reach(tree, "agent", "name"), str):
                run.facts.setdefault("agent", agent)
            run.scores |= dict(_annotations(fields))


def _attributes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes, in a field of their own or in columns whose names begin with `attributes.`."""
    columns = {key[11:]: value for key, value in fields.items() if key.startswith("attributes.") and value is not None}
    return {**attributes_of(fields.get("attributes")), **columns}


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return flattened attributes as the tree that they are: `a.0.b` is a list of objects in a."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        node = tree
        *above, last = str(path).split(".")
        for part in above:
            inner = node.get(part)
            if not isinstance(inner, dict):
                inner = node[part] = {}
            node = inner
        if isinstance(value, Mapping):
            value = nested(value)
        elif isinstance(value, list | tuple):
            value = [nested(part) if isinstance(part, Mapping) else part for part in value]
        if not (isinstance(node.get(last), dict) and not isinstance(value, dict)):
            node[last] = {**node.get(last, {}), **value} if isinstance(value, dict) else value
    return {key: _lists(value) for key, value in tree.items()}


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return [_lists(part) for part in node] if isinstance(node, list) else node
    inner = {key: _lists(value) for key, value in node.items()}
    if inner and all(key.isdigit() for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def _span(fields: Mapping[str, Any], tree: Mapping[str, Any]) -> Span:
    _, id, parent = ids_of(fields)
    kind = as_text(_reach(tree, "openinference", "span", "kind") or fields.get("span_kind")).upper()
    start = first_of(fields, ("start_time", "startTimeUnixNano", "startTime"))
    status = first_of(fields, ("status_code", "status"))
    code = status.get("code", status.get("status_code")) if isinstance(status, Mapping) else status
    name = as_text(fields.get("name"))
    span = Span(id, parent, KINDS.get(kind, OTHER), start, name=name)
    span.error = code in (2, "ERROR", "STATUS_CODE_ERROR", "StatusCode.ERROR")
    if span.kind == MODEL:
        span.inputs, span.outputs = _messages(tree, "input_messages"), _messages(tree, "output_messages")
    elif span.kind == TOOL:
        span.name = as_text(_reach(tree, "tool", "name") or _reach(tree, "tool_call", "function", "name")) or name
        span.call = as_text(_reach(tree, "tool_call", "id") or _reach(tree, "tool", "id"))
        parameters = _reach(tree, "tool", "parameters") or _reach(tree, "tool_call", "function", "arguments")
        span.arguments = arguments_of(parameters or _reach(tree, "input", "value"))
        span.result = as_text(decoded(_reach(tree, "output", "value")))
    return span


def _messages(tree: Mapping[str, Any], name: str) -> list[Any]:
    messages = decoded(_reach(tree, "llm", name))
    return [messages] if isinstance(messages, Mapping) else list(messages or ())


def _reach(tree: Any, *path: str) -> Any:
    for part in path:
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _annotations(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what people or evaluators said of a span that has no parent: of the run."""
    for given in fields.get("annotations") or ():
        if isinstance(given, Mapping) and not fields.get("parent_id"):
            result = given.get("result")
            value = first_of(result if isinstance(result, Mapping) else given, ("score", "label"))
            if value is not None:
                yield as_text(given.get("name")) or "annotation", value
