"""Runs as lists of chat messages with calls of tools, one run a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from fractal.errors import BadData
from fractal.readers import values as parts
from fractal.readers.base import READERS
from fractal.readers.session import ReadSession
from fractal.readers.sources import BadRow, Row
from fractal.readers.traces.base import TraceReader
from fractal.readers.traces.trace import Trace
from fractal.readers.traces.turns import Turn, decoded, message_turns

__all__ = ["OpenAIMessages", "RowTraces"]

MESSAGES = ("messages", "traj", "trajectory", "conversation", "history")


@dataclasses.dataclass(frozen=True)
class RowTraces(TraceReader):
    """Runs that stand in one row each."""

    def traces(self, rows: Iterable[Row | BadRow], door: ReadSession) -> Iterator[tuple[Row | BadRow, Any]]:
        """Yield every row as it is."""
        for row in rows:
            yield row, None

    def row_trace(self, row: Row, door: ReadSession, turns: list[Turn], read: set[str]) -> Trace:
        """Return a trace of a row's turns and its other fields; those of the names `read` are not carried."""
        fields = row.fields
        id = parts.id_of({"id": fields.get("id")}) or f"{PurePath(door.name).name}:{row.line}"
        query = fields.get("query")
        trace = Trace(id, turns, query=query if isinstance(query, str) else "")
        trace.context = tuple(parts.context(fields.get("context")))
        trace.task, trace.agent = self.task_of(fields, door), self.agent_of(fields)
        trace.outcome = self.outcome_of(_scores(fields, self.outcome), trace, door)
        hidden = read | {"id", "query", "context", "group", "meta", "aggregation", "label"}
        trace.extra = {name: value for name, value in fields.items() if name not in hidden}
        return trace


def _scores(fields: Mapping[str, Any], asked: str) -> Mapping[str, Any]:
    """Return the fields, where none is named those that are numbers, words or truths: a field is seldom a score."""
    from fractal.readers.traces.base import OUTCOMES

    return fields if asked else {name: fields[name] for name in OUTCOMES if name in fields}


@READERS.register("openai_messages")
@dataclasses.dataclass(frozen=True)
class OpenAIMessages(RowTraces):
    """Runs of agents as chat messages with `tool_calls`, a run a row; `reward` or the like is the outcome."""

    def trace(self, gathered: Any, row: Row, door: ReadSession) -> Trace:
        """Return the trace of one row."""
        field = next((name for name in MESSAGES if row.fields.get(name) is not None), "")
        if not field:
            raise BadData(f"there is none: found the fields {', '.join(map(str, row.fields))[:300]}", field="messages")
        messages = decoded(row.fields[field])
        if not isinstance(messages, list | tuple) or not messages:
            raise BadData(f"found {repr(messages)[:60]}: give a list of messages with role and content", field=field)
        turns = [turn for message in messages for turn in message_turns(message, field)]
        return self.row_trace(row, door, turns, {field})
