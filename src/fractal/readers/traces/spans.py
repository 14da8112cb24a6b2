"""Spans of models and tools in one tree → turns in order: wrappers dropped, calls and results joined by id."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fractal.errors import BadData
from fractal.readers.session import ReadSession
from fractal.readers.sources import MAX_OBJECTS, BadRow, Row, memory_of
from fractal.readers.traces.base import TraceReader
from fractal.readers.traces.trace import Trace
from fractal.readers.traces.turns import Call, Turn, message_turns

__all__ = ["Run", "Span", "SpanReader", "seconds", "turns_of"]

MODEL, TOOL, OTHER = "model", "tool", "other"


@dataclass(slots=True)
class Span:
    """One span: a call of a model with its messages, the run of a tool, or something that wraps others."""

    id: str
    parent: str
    kind: str
    start: Any = ""  # as the source writes it; it is carried back
    order: str = ""  # an ordering that the source gives itself
    name: str = ""
    inputs: Sequence[Any] = ()  # messages
    outputs: Sequence[Any] = ()
    call: str = ""  # the id of the call that a tool answers
    arguments: Any = None
    result: str = ""
    error: bool = False


@dataclass(slots=True)
class Run:
    """What one trace's rows say together."""

    first: Row
    spans: list[Span] = field(default_factory=list)
    scores: dict[str, Any] = field(default_factory=dict)  # of the run as a whole, by name
    evaluations: list[tuple[str, str, Any]] = field(default_factory=list)  # the span they are about, name, value
    facts: dict[str, Any] = field(default_factory=dict)  # of the root: metadata, agent, task
    tally: Counter[str] = field(default_factory=Counter)
    problem: BadData | None = None


def seconds(value: Any, field: str = "start_time") -> float:
    """Return a time as seconds: from ISO text, or seconds, milliseconds or nanoseconds since 1970."""
    if isinstance(value, str) and not value.strip().isdigit():
        try:
            moment = datetime.datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        except ValueError:
            raise BadData(f"found {value[:60]!r}: a time is ISO text or a number since 1970", field=field) from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadData(f"found {repr(value)[:60]}: a time is ISO text or a number since 1970", field=field)
    number = float(value)
    for unit, beyond in ((1e9, 1e17), (1e6, 1e14), (1e3, 1e11)):
        if number > beyond:
            return number / unit
    return number


def turns_of(spans: Sequence[Span], tally: Counter[str]) -> list[Turn]:
    """Return the turns of a trace's spans."""
    turns: list[Turn] = []
    waiting: list[Call] = []  # calls whose tool has not run yet
    before: list[Turn] | None = None  # what the model heard last
    for span in _in_order(_kept(spans, tally)):
        if span.kind == TOOL:
            turns += _tool_turns(span, waiting)
            continue
        heard, said = _messages(span.inputs, span), _messages(span.outputs[:1], span)
        if len(span.outputs) > 1:
            tally["further choices of a model, not read"] += len(span.outputs) - 1
        if not any(turn.role == "assistant" for turn in said):
            _refuse_unrecorded(span)
            tally["calls of a model that failed, dropped"] += 1
            continue
        turns += _news(heard, before)
        turns += said
        before = heard
        waiting += [call for turn in said for call in turn.calls]
    return turns


def _refuse_unrecorded(span: Span) -> None:
    """A model that said nothing has failed, or its words were not recorded."""
    if not span.error:
        raise BadData(
            f"the model's span {span.id or span.name!r} has no output message: record the content of messages "
            "(for OpenTelemetry OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true)",
            field="output messages",
        )


def _kept(spans: Sequence[Span], tally: Counter[str]) -> list[Span]:
    """Leave out wrappers, and a model's span inside another one: two instruments saw the same call."""
    by_id = {span.id: span for span in spans if span.id}
    kept = []
    for span in spans:
        if span.kind == OTHER:
            tally["wrapping spans, dropped"] += 1
        elif span.kind == MODEL and _inside_model(span, by_id):
            tally["spans of a model inside another's, dropped"] += 1
        else:
            kept.append(span)
    return kept


def _inside_model(span: Span, by_id: Mapping[str, Span]) -> bool:
    seen = {span.id}
    above = by_id.get(span.parent)
    while above is not None and above.id not in seen:
        if above.kind != OTHER:
            return above.kind == MODEL  # a tool may hold an agent of its own
        seen.add(above.id)
        above = by_id.get(above.parent)
    return False


def _in_order(spans: Sequence[Span]) -> list[Span]:
    if spans and all(span.order for span in spans):
        return sorted(spans, key=lambda span: span.order)
    return sorted(spans, key=lambda span: (seconds(span.start), span.kind != MODEL))


def _messages(messages: Iterable[Any], span: Span) -> list[Turn]:
    return [
        turn for message in messages for turn in message_turns(message, "messages", span=span.id, time=str(span.start))
    ]


def _news(heard: list[Turn], before: list[Turn] | None) -> list[Turn]:
    """Return what a model's input tells that no turn before it did: what follows the last message of an agent in it."""
    start = max((at + 1 for at, turn in enumerate(heard) if turn.role == "assistant"), default=0)
    if before is None:
        return [turn for turn in heard[:start] if turn.role == "system"] + heard[start:]
    same = [(turn.role, turn.text) for turn in heard] == [(turn.role, turn.text) for turn in before]
    return [turn for turn in heard[start:] if turn.role == "tool" or (turn.role == "user" and not same)]


def _tool_turns(span: Span, waiting: list[Call]) -> list[Turn]:
    """Return the result of a call that a model's message made; a tool that none called is a step of its own."""
    same = (call for call in waiting if (call.id == span.call if span.call else call.name == span.name))
    call = next(same, None)
    time = str(span.start)
    answered = span.call or f"span {span.id}"
    if call is not None:
        waiting.remove(call)
        return [Turn("tool", span.result, (), call.id, span.name, span.id, time, span.error)]
    step = Turn("assistant", calls=(Call(span.name, span.arguments, answered),), span=span.id, time=time)
    return [step, Turn("tool", span.result, (), answered, span.name, span.id, time, span.error)]


def _size(row: Row) -> int:
    """Return about how many bytes a row takes in memory."""
    try:
        return memory_of(msgspec.json.encode(row.fields, enc_hook=str))
    except (ValueError, OverflowError, TypeError, RecursionError):
        return len(repr(row.fields))


def _take_evaluations(run: Run) -> None:
    """Take evaluations of the root or of a wrapper for those of the run; a model's or tool's own is about one step."""
    steps = {span.id for span in run.spans if span.parent and span.kind != OTHER}
    for span, name, value in run.evaluations:
        if span in steps:
            run.tally["evaluations of single steps, not read"] += 1
        else:
            run.scores[name] = value


@dataclass(frozen=True)
class SpanReader(TraceReader):
    """Runs whose spans stand in rows of their own; all rows of a trace are gathered before it is read."""

    def traces(self, rows: Iterable[Row | BadRow], door: ReadSession) -> Iterator[tuple[Row | BadRow, Any]]:
        """Gather the rows of each trace; those of several traces may be mixed."""
        runs: dict[str, Run] = {}
        size = 0
        for row in rows:
            if isinstance(row, BadRow):
                yield row, None
                continue
            size += _size(row)
            if size > MAX_OBJECTS:
                raise BadData(
                    f"the spans up to here take more than {MAX_OBJECTS:,} bytes in memory, where they wait for the "
                    "rest of their traces: split the file by trace",
                    source=door.name,
                    line=row.line,
                )
            try:
                self.gather(row, runs)
            except BadData as error:
                yield BadRow(row.line, error, repr(dict(row.fields))[:2000]), None
        for key, run in runs.items():
            yield run.first, (key, run)

    def gather(self, row: Row, runs: dict[str, Run]) -> None:
        """Put what a row says to its trace."""
        raise NotImplementedError

    def trace(self, gathered: Any, row: Row, door: ReadSession) -> Trace:
        """Return the trace of a run's spans."""
        key, run = gathered
        if run.problem:
            raise run.problem
        if not any(span.kind != OTHER for span in run.spans):
            raise BadData(f"the trace {key!r} has no span of a model or a tool", field="spans")
        _take_evaluations(run)
        trace = Trace(key, turns_of(run.spans, run.tally), tally=run.tally)
        trace.task, trace.agent = self.task_of(run.facts, door), self.agent_of(run.facts)
        trace.outcome = self.outcome_of({**run.facts, **run.scores} if self.outcome else run.scores, trace, door)
        return trace
