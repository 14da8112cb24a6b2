"""Messages of every documented form → turns: who spoke, what was said, which tools were called and answered."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fractal.errors import BadData

__all__ = ["Call", "Turn", "arguments_of", "as_text", "decoded", "message_turns"]

ROLES = {
    **{"human": "user", "user": "user", "input": "user"},
    **dict.fromkeys(("assistant", "ai", "AIMessageChunk", "gpt", "bot", "model", "agent", "output"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "environment"), "tool"),
    **dict.fromkeys(("system", "developer"), "system"),
}
CLASSES = {"HumanMessage": "user", "AIMessage": "assistant", "AIMessageChunk": "assistant", "SystemMessage": "system"}
CLASSES |= {"ToolMessage": "tool", "FunctionMessage": "tool"}
THOUGHTS = {"reasoning", "thinking", "redacted_thinking"}  # not shown to the user, and often left out of traces
CALLS = {"tool_call", "tool_use", "function_call", "server_tool_call"}
ANSWERS = {"tool_call_response", "tool_result", "function_call_output", "server_tool_call_response"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool."""

    name: str
    arguments: Any = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a trace, or the run of one tool."""

    role: str  # user, assistant, tool or system
    text: str = ""
    calls: tuple[Call, ...] = ()
    answers: str = ""  # the id of the call that a result answers
    tool: str = ""
    span: str = ""
    time: str = ""
    error: bool = False
    unread: int = 0  # parts that are no text: images, files


def decoded(value: Any) -> Any:
    """Return what a JSON text holds; anything else passes through."""
    if isinstance(value, str):
        with contextlib.suppress(msgspec.DecodeError, RecursionError, UnicodeError):
            return msgspec.json.decode(value)
    return value


def arguments_of(value: Any) -> Any:
    """Return the arguments of a call, given as an object, as JSON text or as a Python literal; else the text itself."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    read = decoded(value)
    if not isinstance(read, str):
        return read
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        literal = ast.literal_eval(value)
        return literal if isinstance(literal, dict | list | tuple) else value
    return value


def as_text(value: Any) -> str:
    """Write what a tool returned."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and set(value) <= {"type", "text"} and isinstance(value.get("text"), str):
        return str(value["text"])
    if (
        isinstance(value, list | tuple)
        and value
        and all(isinstance(part, Mapping) and "text" in part for part in value)
    ):
        return "\n".join(as_text(part.get("text")) for part in value)
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return str(value)


def message_turns(message: Any, field: str = "messages", span: str = "", time: str = "") -> Iterator[Turn]:
    """Yield the turns of one message; one with several results of tools is several turns."""
    if not isinstance(message, Mapping):
        raise BadData(f"found {repr(message)[:60]}: a message is an object with a role and a content", field=field)
    role, message = _role(message, field)
    text, calls, answers, unread = _content(message, field)
    calls += list(_calls(message, field))
    for answer in answers:
        yield Turn("tool", answer.text, (), answer.answers, answer.tool, span, time, answer.error)
    if role == "tool" and not answers:
        answered = str(message.get("tool_call_id") or message.get("id") or "")
        failed = message.get("status") == "error" or message.get("is_error") is True
        yield Turn("tool", text, (), answered, str(message.get("name") or ""), span, time, failed)
    elif role != "tool" and (text or calls or unread or not answers):
        yield Turn(role, text, tuple(calls), span=span, time=time, unread=unread)


def _role(message: Mapping[str, Any], field: str) -> tuple[str, Mapping[str, Any]]:
    """Return the role, and the fields of the message wherever its writer keeps them."""
    kind = message.get("id")
    if message.get("lc") and isinstance(kind, list) and kind and isinstance(message.get("kwargs"), Mapping):
        return CLASSES.get(str(kind[-1]), ""), message["kwargs"]
    if isinstance(message.get("data"), Mapping) and "content" in message["data"]:
        return _known(message.get("type"), field), message["data"]
    if isinstance(message.get("message"), Mapping):
        return _role(message["message"], field)
    if message.get("type") in CALLS | ANSWERS:  # an item that stands between messages
        role = "assistant" if message["type"] in CALLS else "tool"
        return role, {"content": [message]}
    return _known(message.get("role", message.get("from", message.get("type"))), field), message


def _known(role: Any, field: str) -> str:
    if not isinstance(role, str) or role not in ROLES:
        raise BadData(f"found the role {role!r}: one of {', '.join(sorted(set(ROLES)))} can be read", field=field)
    return ROLES[role]


def _content(message: Mapping[str, Any], field: str) -> tuple[str, list[Call], list[Turn], int]:
    """Return the text, the calls and the results among the parts, and how many parts are no text."""
    content = message.get("parts", message.get("content", message.get("contents", message.get("value"))))
    if content is None or isinstance(content, str):
        return content or "", [], [], 0
    parts = [content] if isinstance(content, Mapping) else content
    if not isinstance(parts, list | tuple):
        raise BadData(f"found {repr(content)[:60]}: a content is a text or a list of parts", field=field)
    texts: list[str] = []
    calls: list[Call] = []
    answers: list[Turn] = []
    unread = 0
    for part in parts:
        kind, part = _part(part, field)
        if kind in CALLS:
            calls.append(_call(part, field))
        elif kind in ANSWERS:
            answers.append(_answer(part))
        elif isinstance(text := part.get("text", part.get("content", part.get("refusal"))), str):
            texts += [] if kind in THOUGHTS else [text]
        else:
            unread += kind not in THOUGHTS
    return "\n".join(text for text in texts if text), calls, answers, unread


def _part(part: Any, field: str) -> tuple[str, Mapping[str, Any]]:
    if isinstance(part, str):
        return "text", {"text": part}
    if not isinstance(part, Mapping):
        raise BadData(f"found {repr(part)[:60]} in a message: a part is a text or an object", field=field)
    inner = part.get("message_content", part)
    inner = inner if isinstance(inner, Mapping) else part
    return str(inner.get("type", "text")), inner


def _answer(part: Mapping[str, Any]) -> Turn:
    result = next((part[key] for key in ("response", "result", "content", "output") if key in part), None)
    answered = part.get("id", part.get("tool_use_id", part.get("call_id")))
    return Turn("tool", as_text(result), (), str(answered or ""), error=part.get("is_error") is True)


def _calls(message: Mapping[str, Any], field: str) -> Iterator[Call]:
    given = message.get("tool_calls")
    if given is None and isinstance(message.get("additional_kwargs"), Mapping):
        given = message["additional_kwargs"].get("tool_calls")
    given = decoded(given)
    if isinstance(given, Mapping):
        given = [given]
    if given is not None and not isinstance(given, list | tuple):
        raise BadData(f"found {repr(given)[:60]}: give a list of calls", field=f"{field}.tool_calls")
    for call in given or ():
        yield _call(call, field)
    legacy = message.get("function_call")
    if isinstance(legacy, Mapping) and legacy.get("name"):
        yield _call(legacy, field)


def _call(given: Any, field: str) -> Call:
    """Read a call, whose name and arguments stand in it or in its function."""
    call = given.get("tool_call", given) if isinstance(given, Mapping) else {}
    inner = call.get("function", call)
    if not isinstance(inner, Mapping) or not isinstance(name := inner.get("name"), str) or not name:
        raise BadData(f"found {repr(given)[:60]}: a call has a function with a name", field=f"{field}.tool_calls")
    arguments = next((inner[key] for key in ("arguments", "args", "input") if key in inner), None)
    return Call(name, arguments_of(arguments), str(call.get("id") or call.get("call_id") or ""))
