"""Lists of chat messages, or a transcript of them → the query that they ask and the response that they end in."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from fractal.errors import BadData

SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}

TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \n]?")


def messages_of(text: str) -> list[dict[str, str]]:
    """Return the messages of a transcript as "Human: …", an empty line, "Assistant: …"; none where it is not one."""
    _, *parts = TURN.split(text.strip())
    if not text.lstrip().startswith("Human:") or "Assistant" not in parts[::2]:
        return []
    turns = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": role.lower(), "content": content.strip()} for role, content in turns]


def read_chat(messages: Any, field: str = "messages", *, ends_in_response: bool = True) -> tuple[str, str]:
    """Return query and response: the last message is the response, what comes before it is the query.

    A single message of the user is the query as it stands; a longer chat is written out, a paragraph a turn.
    """
    if isinstance(messages, str):  # a table keeps lists as JSON text
        with contextlib.suppress(msgspec.DecodeError, RecursionError, UnicodeError):
            messages = msgspec.json.decode(messages)
    listed = [messages] if isinstance(messages, Mapping) else messages
    if not isinstance(listed, list | tuple) or not listed:
        raise BadData(f"found {repr(messages)[:60]}: give a list of messages with role and content", field=field)
    turns = [_turn(message, field) for message in listed]
    response = ""
    if ends_in_response:
        role, response = turns.pop()
        if role != "assistant":
            raise BadData(
                f"the last message is of the role {role!r}: a chat ends in the assistant's response", field=field
            )
    if len(turns) == 1 and turns[0][0] == "user":
        return turns[0][1], response
    return "\n\n".join(f"{role}: {content}" for role, content in turns if content), response


def _turn(message: Any, field: str) -> tuple[str, str]:
    if isinstance(message, Mapping):
        role = message.get("role", message.get("from"))
        content = message.get("content", message.get("value"))
        if isinstance(content, list | tuple):
            content = "".join(_text_of(part, field) for part in content)
        if content is None and "content" in message:
            content = ""
        if isinstance(role, str) and isinstance(content, str):
            return SPEAKERS.get(role, role), content
    raise BadData(f"found {repr(message)[:60]}: a message has a role and a content", field=field)


def _text_of(part: Any, field: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    raise BadData(f"found {repr(part)[:60]} in a message: only text can be scored", field=field)
