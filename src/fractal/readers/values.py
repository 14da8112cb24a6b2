"""The values of a response as people write them → plain ones: each says itself what is wrong with it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from fractal.errors import BadData
from fractal.readers.chats import read_chat
from fractal.records import Sentence

if TYPE_CHECKING:
    from fractal.readers.session import ReadSession

TEXT_KEYS = ("text", "sentence", "content", "passage", "value", "page_content", "chunk", "body", "snippet", "document")


def filled(roles: Mapping[str, Any], role: str) -> Any:
    """Return a value, None where a table's cell is empty."""
    value = roles.get(role)
    return None if isinstance(value, str) and not value else value


def id_of(roles: Mapping[str, Any]) -> str:
    """Return the record's own id as text, empty where it has none."""
    value = roles.get("id")
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, float) and value == value and value == int(value):  # a frame turns whole numbers into floats
        return str(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise BadData(f"found {_shown(value)}: an id is text or a whole number", field="id")


def query(value: Any) -> str:
    """Return the query: text, or the chat that leads to the response."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list | tuple | Mapping):
        return read_chat(value, "query", ends_in_response=False)[0]
    raise BadData(f"found {_shown(value)}: a query is text or a list of chat messages", field="query")


def context(value: Any) -> tuple[str, ...]:
    """Return the passages: one text, a list of texts, or a list of objects with a text."""
    if isinstance(value, str):
        if value[:1] != "[":
            return (value,) if value else ()
        value = _decoded(value, otherwise=[value])
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise BadData(f"found {_shown(value)}: a context is text or a list of texts", field="context")
    return tuple(_text(item, "context") for item in value)


def group(roles: Mapping[str, Any], extra: Mapping[str, Any]) -> str | None:
    """Return the group: the record's own, else the one that its `meta` names."""
    value = roles.get("group")
    if "group" not in roles:
        meta = extra.get("meta")
        value = meta.get("group") if isinstance(meta, Mapping) else None
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise BadData(f"found {_shown(value)}: a group is text or a whole number", field="group")


def aspects(roles: Mapping[str, Any], session: ReadSession) -> dict[str, float]:
    """Return the further labels by name; unknown ones are left out."""
    named = dict(mapping(roles.get("aspects"), "aspects"))
    named.update((role[8:], value) for role, value in roles.items() if role.startswith("aspects."))
    read = ((name, session.labels(f"aspects.{name}").read(value)) for name, value in named.items())
    return {name: label for name, label in read if label is not None}


def columns(roles: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Return the user's own sentence columns; one that is unknown as a whole is left out."""
    named = dict(mapping(roles.get("columns"), "columns"))
    named.update((role[8:], value) for role, value in roles.items() if role.startswith("columns."))
    return {name: numbers(value, f"columns.{name}") for name, value in named.items() if value is not None}


def numbers(value: Any, field: str) -> tuple[float, ...]:
    """Return finite numbers, one a sentence; a table may give them as text."""
    values = [_number(number) for number in _list(value, field, "numbers, one a sentence")]
    for number in values:
        if not isinstance(number, int | float) or not -1e300 < number < 1e300:
            raise BadData(f"found {_shown(number)}: give a finite number for every sentence", field=field)
    return tuple(float(number) for number in values)


def shares(value: Any, field: str) -> tuple[float, ...]:
    """Return numbers in [0, 1]."""
    values = numbers(value, field)
    for number in values:
        if not 0.0 <= number <= 1.0:
            raise BadData(f"found {number:g}: a score lies in [0, 1]", field=field)
    return values


def _number(value: Any) -> Any:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def mapping(value: Any, field: str) -> Mapping[str, Any]:
    """Return an object: as it is, as JSON text, or as a list of pairs."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        value = _decoded(value, otherwise=value)
    if isinstance(value, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        value = dict(value)
    if not isinstance(value, Mapping):
        raise BadData(f"found {_shown(value)}: give an object of names and values", field=field)
    return value


def sentences(roles: Mapping[str, Any], answer: str | None, session: ReadSession) -> tuple[str, tuple[Sentence, ...]]:
    """Return the text of a response and its sentences: those given, else what the splitter makes of the text."""
    text = roles.get("response", answer)
    listed, joint = filled(roles, "sentences"), " "
    if listed is None and filled(roles, "completions") is not None:
        listed, joint = roles["completions"], "\n"
    if listed is None and isinstance(text, list | tuple):
        listed, text = text, None
    if listed is None:
        return _split(text, roles, session)
    if text is not None and not isinstance(text, str):
        raise BadData(f"found {_shown(text)}: a response is text", field="response")
    cut = _list(listed, "sentences", "texts")
    texts = [_text(item, "sentences") for item in cut]
    labels = _sentence_labels(roles, cut, session)
    if not any(part.strip() for part in texts):
        raise BadData("the response is empty: give at least one sentence with text", field="sentences")
    if len(labels) != len(texts):
        raise _unequal(len(labels), len(texts))
    offsets = filled(roles, "offsets")
    places = _places(texts, text, offsets) if text else _one_after_another(texts, len(joint))
    text = text or joint.join(texts)
    return text, tuple(
        Sentence(part, start, end, label) for part, (start, end), label in zip(texts, places, labels, strict=True)
    )


def _split(text: Any, roles: Mapping[str, Any], session: ReadSession) -> tuple[str, tuple[Sentence, ...]]:
    if text is None:
        taken = {*roles, *session.report.columns.values()}
        names = [name for name in session.columns.names if name not in taken]
        single = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]  # no objects
        raise BadData(
            f"there is none: found the fields {', '.join(roles) or '(none)'}; name its column, one of "
            f"{', '.join(names)[:400] or 'those of the source'}, as in "
            f"columns={{'response': {next(iter(single), 'my_column')!r}}}",
            field="response",
        )
    if not isinstance(text, str):
        raise BadData(f"found {_shown(text)}: a response is text", field="response")
    if not text.strip():
        raise BadData("the response is empty: leave the record out or give its text", field="response")
    parts = session.split(text)
    if not parts:
        raise BadData("the splitter found no sentence in it: try splitter='lines'", field="response")
    if filled(roles, "sentence_labels") is None:
        return text, parts
    labels = _sentence_labels(roles, parts, session)
    if len(labels) != len(parts):
        raise _unequal(len(labels), len(parts), " that the splitter found; give the sentences themselves")
    return text, tuple(Sentence(s.text, s.start, s.end, label) for s, label in zip(parts, labels, strict=True))


def _sentence_labels(roles: Mapping[str, Any], cut: Sequence[Any], session: ReadSession) -> list[float | None]:
    column = session.labels("sentence_labels")
    listed = filled(roles, "sentence_labels")
    if listed is None:
        return [column.read(item.get("label")) if isinstance(item, Mapping) else None for item in cut]
    return [column.read(value) for value in _list(listed, "sentence_labels", "labels, one a sentence")]


def _unequal(labels: int, texts: int, hint: str = "") -> BadData:
    return BadData(
        f"{labels} labels for {texts} sentences{hint}: give one a sentence, null where it is unknown",
        field="sentence_labels",
    )


def _one_after_another(texts: list[str], gap: int) -> list[tuple[int, int]]:
    ends = itertools.accumulate(len(text) + gap for text in texts)
    return [(end - gap - len(text), end - gap) for text, end in zip(texts, ends, strict=True)]


def _places(texts: list[str], text: str, offsets: Any) -> list[tuple[int, int]]:
    """Return where the sentences stand: as given, else where they are found one after another."""
    if offsets is not None:
        return [_span(pair) for pair in _same_length(_list(offsets, "offsets", "pairs"), texts)]
    places, start = [], 0
    for part in texts:
        place = text.find(part, start)
        if place < 0:
            raise BadData(
                f"the sentence {part[:60]!r} is not found in the response, after the sentence before it: "
                "leave out the response (the sentences suffice) or give its own sentences",
                field="sentences",
            )
        start = place + len(part)
        places.append((place, start))
    return places


def _same_length(offsets: list[Any], texts: list[str]) -> list[Any]:
    if len(offsets) != len(texts):
        raise BadData(f"{len(offsets)} offsets for {len(texts)} sentences: give one pair a sentence", field="offsets")
    return offsets


def _span(pair: Any) -> tuple[int, int]:
    if isinstance(pair, list | tuple) and len(pair) == 2 and all(type(place) is int for place in pair):
        return pair[0], pair[1]
    raise BadData(f"found {_shown(pair)}: an offset is a pair of whole numbers [start, end]", field="offsets")


def bare_response(value: Any) -> dict[str, Any]:
    """Return the fields of a bare response: text, its sentences, or a chat that ends in it."""
    if isinstance(value, list | tuple) and value and isinstance(value[0], str):
        return {"sentences": value}
    if isinstance(value, list | tuple):
        return {"messages": value}
    return {"messages": [value]} if isinstance(value, Mapping) else {"response": value}


def ranked(ranks: Any, count: int) -> Iterator[tuple[int, int, bool]]:
    """Yield every pair of responses whose ranks differ, the better (the smaller rank) first."""
    values = _list(ranks, "ranking", "ranks, 1 for the best")
    if len(values) != count or not all(isinstance(rank, int | float) and rank == rank for rank in values):
        raise BadData(f"found {_shown(ranks)}: give one rank for each of the {count} responses", field="ranking")
    for first in range(count):
        for second in range(first + 1, count):
            if values[first] != values[second]:
                better_first = values[first] < values[second]
                yield (first, second, False) if better_first else (second, first, False)


def pairs(listed: Any, count: int) -> Iterator[tuple[int, int, bool]]:
    """Yield pairs [better, worse] of places in the list of responses; [one, other, "tie"] where neither is better."""
    for pair in _list(listed, "pairs", "pairs [better, worse]"):
        well_formed = isinstance(pair, list | tuple) and len(pair) in (2, 3)
        places = list(pair[:2]) if well_formed else []
        tie = well_formed and len(pair) == 3
        if not places or (tie and pair[2] != "tie") or not all(type(place) is int for place in places):
            raise BadData(f"found {_shown(pair)}: write [better, worse], or [one, other, 'tie']", field="pairs")
        if not all(0 <= place < count for place in places):
            raise BadData(f"found {_shown(pair)}: the {count} responses stand at 0..{count - 1}", field="pairs")
        yield places[0], places[1], tie


def _list(value: Any, field: str, of: str) -> list[Any]:
    if isinstance(value, str):
        value = _decoded(value, otherwise=value)
    if not isinstance(value, list | tuple):
        raise BadData(f"found {_shown(value)}: give a list of {of}", field=field)
    return list(value)


def _text(value: Any, field: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        texts = [value[key] for key in TEXT_KEYS if isinstance(value.get(key), str)]
        if texts:
            return str(texts[0])
    raise BadData(f"found {_shown(value)} in the list: give texts", field=field)


def _decoded(text: str, otherwise: Any) -> Any:
    """Tables keep lists as JSON text; other text stays what it is."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return otherwise


def _shown(value: Any) -> str:
    return f"{repr(value)[:60]} ({type(value).__name__})"
