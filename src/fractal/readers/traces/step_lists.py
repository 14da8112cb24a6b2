"""Runs as plain lists of steps: texts, or objects with the parts of a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from fractal.errors import BadData
from fractal.readers.base import READERS
from fractal.readers.session import ReadSession
from fractal.readers.sources import Row
from fractal.readers.traces.base import first_of
from fractal.readers.traces.messages import RowTraces
from fractal.readers.traces.trace import Trace
from fractal.readers.traces.turns import Call, Turn, arguments_of, as_text, decoded, message_turns
from fractal.records.steps import is_step, step_of

__all__ = ["StepLists"]

LISTS = ("steps", "trace", "trajectory", "history", "actions")
SAID = ("agent", "thought", "text", "message", "content", "output")
TOOL = ("tool", "action", "tool_name", "name")
ARGUMENTS = ("arguments", "args", "action_input", "tool_input", "input")
RESULT = ("result", "observation", "tool_output", "response")


@READERS.register("steps")
@dataclasses.dataclass(frozen=True)
class StepLists(RowTraces):
    """Runs as lists of `steps`: texts, or objects with `user`, `agent`, `tool`, `arguments` and `result`."""

    def trace(self, gathered: Any, row: Row, door: ReadSession) -> Trace:
        """Return the trace of one row."""
        field = next((name for name in LISTS if row.fields.get(name) is not None), "")
        if not field:
            raise BadData(f"there is none: found the fields {', '.join(map(str, row.fields))[:300]}", field="steps")
        steps = decoded(row.fields[field])
        if not isinstance(steps, list | tuple) or not steps:
            raise BadData(f"found {repr(steps)[:60]}: give a list of steps", field=field)
        turns = [turn for number, step in enumerate(steps) for turn in _turns(step, f"{field}[{number}]", number)]
        return self.row_trace(row, door, turns, {field})


def _turns(step: Any, field: str, number: int) -> Iterator[Turn]:
    if isinstance(step, str):
        yield from _written(step, number)
    elif isinstance(step, Mapping) and isinstance(step.get("role"), str):
        yield from message_turns(step, field)
    elif isinstance(step, Mapping):
        yield from _parts(step, field, number)
    else:
        raise BadData(f"found {repr(step)[:60]}: a step is a text or an object", field=field)


def _written(text: str, number: int) -> Iterator[Turn]:
    """Read a step that is one text, with its parts where it has them."""
    if not is_step(text):
        yield Turn("assistant", text)
        return
    step = step_of(text)
    if step.user:
        yield Turn("user", step.user)
    calls = [call.partition("(") for call in step.calls]
    written = tuple(
        Call(name, rest.removesuffix(")") or None, f"{number}/{at}") for at, (name, _, rest) in enumerate(calls)
    )
    yield Turn("assistant", step.agent, written)
    for at, result in enumerate(step.results):
        yield Turn("tool", result, answers=f"{number}/{at}")


def _parts(step: Mapping[str, Any], field: str, number: int) -> Iterator[Turn]:
    user, said = step.get("user"), first_of(step, SAID)
    name, result = first_of(step, TOOL), first_of(step, RESULT)
    if user is not None:
        yield Turn("user", as_text(user))
    if said is None and name is None:
        raise BadData(f"found the fields {', '.join(map(str, step))[:200]}: give `agent` or `tool`", field=field)
    call = None
    if isinstance(name, Mapping):  # an action that is an object
        call = Call(as_text(first_of(name, TOOL)), arguments_of(first_of(name, ARGUMENTS)), str(number))
    elif name is not None:
        call = Call(as_text(name), arguments_of(first_of(step, ARGUMENTS)), str(number))
    span, time = as_text(step.get("span_id", step.get("id"))), as_text(step.get("time", step.get("start_time")))
    yield Turn("assistant", as_text(said), (call,) if call else (), span=span, time=time)
    if result is not None:
        yield Turn("tool", as_text(result), answers=str(number), error=step.get("error") not in (None, False, ""))
