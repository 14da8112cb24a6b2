"""The text of an agent's step: the user's turn, the message, the calls and their results, one after another."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

__all__ = ["AGENT", "CALL", "PARTS", "RESULT", "USER", "Step", "call_arguments", "call_name", "call_text", "is_step"]
__all__ += ["MISSING_CALL", "join_parts", "step_of"]

USER, AGENT, CALL, RESULT = "User", "Agent", "Call", "Result"
PARTS = (USER, AGENT, CALL, RESULT)
CUT = " [...]"
MISSING_CALL = "missing_call"  # the field of a labelled run that names the tool it should have called

_START = re.compile(rf"^({'|'.join(PARTS)}): ?", re.MULTILINE)
_NAME = re.compile(r"[^\s(]+")
_PAIR = re.compile(r"(?:^|, )([A-Za-z_][\w.\-]*)=")


class Step(NamedTuple):
    """The parts of one step; a message with several calls has several calls and results."""

    user: str
    agent: str
    calls: tuple[str, ...]
    results: tuple[str, ...]


def join_parts(parts: Iterable[tuple[str, str]]) -> str:
    """Return the text of a step; a line that would read as another part's beginning is moved by one blank."""
    return "\n".join(f"{part}: " + _START.sub(r" \g<0>", text) for part, text in parts)


def is_step(text: str) -> bool:
    """Whether a text begins as the text of a step does."""
    return _START.match(text) is not None


def step_of(text: str) -> Step:
    """Return the parts of a step; a text without any is the agent's message."""
    starts = list(_START.finditer(text))
    if not starts or starts[0].start():
        return Step("", text, (), ())
    ends = [start.start() - 1 for start in starts[1:]] + [len(text)]
    said: dict[str, list[str]] = {part: [] for part in PARTS}
    for start, end in zip(starts, ends, strict=True):
        said[start.group(1)].append(text[start.end() : end])
    return Step("\n".join(said[USER]), "\n".join(said[AGENT]), tuple(said[CALL]), tuple(said[RESULT]))


def call_text(name: str, arguments: Any) -> str:
    """Write a call as `name(argument=value, …)`."""
    if isinstance(arguments, dict):
        return f"{name}({', '.join(f'{key}={_plain(value)}' for key, value in arguments.items())})"
    return f"{name}({'' if arguments is None else _plain(arguments)})"


def call_name(call: str) -> str:
    """Return the name of the tool that a written call is of."""
    name = _NAME.match(call)
    return name.group() if name else ""


def call_arguments(call: str) -> dict[str, str]:
    """Return the arguments of a written call, each as text; what was cut off is not there."""
    inner = call.partition("(")[2]
    if inner.endswith(")"):
        inner = inner[:-1]
    starts = list(_PAIR.finditer(inner))
    if not starts:
        return {"": inner} if inner.strip() else {}
    ends = [start.start() for start in starts[1:]] + [len(inner)]
    return {start.group(1): inner[start.end() : end] for start, end in zip(starts, ends, strict=True)}


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return str(value)
