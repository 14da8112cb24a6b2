"""A trace as turns → one response: a step is an agent's message, what it answers and what its calls returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fractal.errors import BadData
from fractal.readers.traces.turns import Turn
from fractal.records import Response
from fractal.records.steps import AGENT, CALL, CUT, RESULT, USER, call_text, join_parts

__all__ = ["Lengths", "Trace", "to_response"]


@dataclass(frozen=True, slots=True)
class Lengths:
    """How many characters of each part of a step are kept."""

    user: int = 400
    agent: int = 800
    call: int = 700
    result: int = 400


@dataclass(slots=True)
class Trace:
    """One run of an agent: its turns in order, and what is known of the whole."""

    id: str
    turns: Sequence[Turn]
    outcome: float | None = None
    task: str | None = None
    query: str = ""
    agent: str = ""
    context: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    tally: Counter[str] = field(default_factory=Counter)  # what was cut, dropped or not read


@dataclass(slots=True)
class _Step:
    turn: Turn
    at: int
    users: list[tuple[int, str]] = field(default_factory=list)
    results: dict[int, Turn] = field(default_factory=dict)  # by the number of the call


def to_response(trace: Trace, lengths: Lengths, *, last_result: bool) -> Response:
    """Return the run as a response whose sentences are its steps; nothing after the final answer is read."""
    steps = _steps(_until_the_end(trace, last_result), trace.tally)
    texts = [_text(step, lengths, trace.tally) for step in steps]
    system = [turn.text for turn in trace.turns if turn.role == "system"]
    first = next((turn.text for turn in trace.turns if turn.role == "user" and turn.text), "")
    meta: dict[str, Any] = {"steps": [_facts(step) for step in steps]}
    meta |= {name: value for name, value in (("agent", trace.agent), ("task", trace.task)) if value}
    return Response.from_sentences(
        trace.id,
        texts,
        query=trace.query or first,
        context=trace.context or tuple(_passages(system)),
        label=trace.outcome,
        group=trace.task,
        extra={**trace.extra, "aggregation": "min", "meta": meta},  # one decisive error fails a run
    )


def _until_the_end(trace: Trace, last_result: bool) -> Sequence[Turn]:
    """Leave out what stands after the agent's last message: it may tell how the run was judged."""
    spoken = [at for at, turn in enumerate(trace.turns) if turn.role == "assistant"]
    if not spoken:
        raise BadData("the trace has no message of the agent and no call: there is no step", field="messages")
    end = spoken[-1] + 1
    if last_result:
        while end < len(trace.turns) and trace.turns[end].role == "tool":
            end += 1
    if left := len(trace.turns) - end:
        trace.tally["turns after the final answer, not read"] += left
    return trace.turns[:end]


def _steps(turns: Sequence[Turn], tally: Counter[str]) -> list[_Step]:
    steps: list[_Step] = []
    users: list[tuple[int, str]] = []
    calls: dict[str, tuple[_Step, int]] = {}
    for at, turn in enumerate(turns):
        if turn.unread:
            tally["parts that are no text, not read"] += turn.unread
        if turn.role == "user":
            users.append((at, turn.text))
        elif turn.role == "assistant":
            if not turn.text and not turn.calls:
                tally["empty messages, dropped"] += 1
                continue
            steps.append(_Step(turn, at, users))
            users = []
            calls |= {call.id: (steps[-1], number) for number, call in enumerate(turn.calls) if call.id}
        elif turn.role == "tool":
            _join_result(turn, steps, calls, tally)
    if not steps:
        raise BadData("every message of the agent is empty: there is no step", field="messages")
    return steps


def _join_result(turn: Turn, steps: list[_Step], calls: dict[str, tuple[_Step, int]], tally: Counter[str]) -> None:
    """Put a result to its call: by the id, else by the name of the tool, else in order."""
    step, number = calls.get(turn.answers, (None, -1))
    if step is None and steps:
        step = steps[-1]
        waiting = [place for place in range(len(step.turn.calls)) if place not in step.results]
        named = [place for place in waiting if turn.tool and step.turn.calls[place].name == turn.tool]
        number = (named or waiting or [-1])[0]
    if step is None or number < 0:
        tally["results without a call, dropped"] += 1
    else:
        step.results.setdefault(number, turn)  # a tool's span and the next message may both hold it


def _text(step: _Step, lengths: Lengths, tally: Counter[str]) -> str:
    parts = [(USER, _cut(text, lengths.user, USER, tally)) for _, text in step.users if text]
    if step.turn.text:
        parts.append((AGENT, _cut(step.turn.text, lengths.agent, AGENT, tally)))
    for number, call in enumerate(step.turn.calls):
        parts.append((CALL, _cut(call_text(call.name, call.arguments), lengths.call, CALL, tally)))
        if (result := step.results.get(number)) is not None:
            failed = result.error and not result.text.lstrip().lower().startswith("error")
            shown = f"Error: {result.text}" if failed else result.text
            parts.append((RESULT, _cut(shown, lengths.result, RESULT, tally)))
    return join_parts(parts)


def _cut(text: str, length: int, part: str, tally: Counter[str]) -> str:
    text = text.strip()
    if len(text) <= length:
        return text
    tally[f"{part} parts cut at {length} characters"] += 1
    return text[:length].rstrip() + CUT


def _facts(step: _Step) -> dict[str, Any]:
    """Return what leads from a step back to its trace."""
    facts: dict[str, Any] = {
        "at": step.at,
        "user_at": [at for at, _ in step.users],
        "tools": [call.name for call in step.turn.calls],
        "error": any(turn.error or turn.text.lstrip().startswith("Error") for turn in step.results.values()),
    }
    ids = [call.id for call in step.turn.calls if call.id]
    results = [turn.span for turn in step.results.values() if turn.span]
    optional = {"span": step.turn.span, "time": step.turn.time, "calls": ids, "result_spans": results}
    return facts | {name: value for name, value in optional.items() if value}


def _passages(texts: Iterable[str]) -> list[str]:
    """Cut what the system says into passages at empty lines."""
    return [passage.strip() for text in texts for passage in text.split("\n\n") if passage.strip()]
