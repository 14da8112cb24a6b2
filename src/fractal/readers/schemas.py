"""What the fields of a row mean: a response, steps with labels, a preference, a ranking, or a chat → records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from fractal.errors import BadData
from fractal.readers import values as parts
from fractal.readers.chats import read_chat
from fractal.records import Preference, Response

if TYPE_CHECKING:
    from fractal.readers.session import ReadSession, Record

__all__ = ["SCHEMAS"]

Roles = dict[str, Any]
Made = Callable[[Roles, dict[str, Any], "ReadSession", str], Iterator["Record"]]


def any_of(row: Mapping[str, Any], door: ReadSession, line: int) -> Iterable[Record]:
    """Take a row for what its fields show it to be."""
    roles, extra = door.fields.assign(row)
    if "chosen" in roles and "rejected" in roles:
        return chosen_rejected(roles, extra, door, _id(roles, door, line))
    if "a" in roles and "b" in roles:
        return one_of_two(roles, extra, door, _id(roles, door, line))
    if "responses" in roles and ("ranking" in roles or "pairs" in roles):
        return ranking(roles, extra, door, _id(roles, door, line))
    return response(roles, extra, door, _id(roles, door, line))


def only(made: Made, *needed: str) -> Callable[[Mapping[str, Any], ReadSession, int], Iterable[Record]]:
    """Make a shape that refuses rows without the fields that it is about."""

    def schema(row: Mapping[str, Any], door: ReadSession, line: int) -> Iterable[Record]:
        roles, extra = door.fields.assign(row)
        for field in needed:
            if parts.given(roles, field) is None:
                raise BadData(f"there is none: found the fields {', '.join(map(str, row))[:300]}", field=field)
        return made(roles, extra, door, _id(roles, door, line))

    return schema


def preference(row: Mapping[str, Any], door: ReadSession, line: int) -> Iterable[Record]:
    """Take a row for a preference of whatever form."""
    roles, extra = door.fields.assign(row)
    if roles.get("chosen") is not None or roles.get("rejected") is not None:
        return chosen_rejected(roles, extra, door, _id(roles, door, line))
    if "responses" in roles:
        return ranking(roles, extra, door, _id(roles, door, line))
    return one_of_two(roles, extra, door, _id(roles, door, line))


def response(roles: Roles, extra: dict[str, Any], door: ReadSession, id: str) -> Iterator[Record]:
    """A response, cut into sentences already or yet to be cut."""
    yield make_response(roles, extra, door, id)


def make_response(roles: Roles, extra: dict[str, Any], door: ReadSession, id: str) -> Response:
    """Build one response of its fields; every part says itself what is wrong with it."""
    asked, said = read_chat(roles["messages"]) if parts.given(roles, "messages") is not None else ("", None)
    text, sentences = parts.sentences(roles, said, door)
    extra = {**parts.mapping(roles.get("extra"), "extra"), **extra}
    return Response(
        id=id,
        sentences=sentences,
        text=text,
        query=parts.query(roles.get("query")) or asked,
        context=parts.context(roles.get("context")),
        label=door.labels("label").read(roles.get("label")),
        group=parts.group(roles, extra),
        aspects=parts.aspects(roles, door),
        columns=parts.columns(roles),
        extra=extra,
    )


def chosen_rejected(roles: Roles, extra: dict[str, Any], door: ReadSession, id: str) -> Iterator[Record]:
    """The response that was chosen and the one that was rejected, as text or as chats that end in it."""
    better = _side(roles, "chosen", extra, door, id)
    worse = _side(roles, "rejected", extra, door, id)
    yield Preference(better, worse, id=parts.id_of(roles))


FIRST = {"a", "response_a", "answer_a"}
SECOND = {"b", "response_b", "answer_b"}
TIE = {"tie", "same", "equal"}


def one_of_two(roles: Roles, extra: dict[str, Any], door: ReadSession, id: str) -> Iterator[Record]:
    """Two responses, a and b, and which of them is preferred."""
    said = roles.get("preference")
    word = said.strip().casefold().replace(" ", "_") if isinstance(said, str) else said
    if not isinstance(word, str) or word not in FIRST | SECOND | TIE:
        raise BadData(f"found {str(said)[:60]!r}: write 'a', 'b' or 'tie'", field="preference")
    a, b = _side(roles, "a", extra, door, id), _side(roles, "b", extra, door, id)
    better, worse = (b, a) if word in SECOND else (a, b)
    yield Preference(better, worse, tie=word in TIE, id=parts.id_of(roles))


def ranking(roles: Roles, extra: dict[str, Any], door: ReadSession, id: str) -> Iterator[Record]:
    """Several responses to one query, with a rank each (1 is best) or pairs of places, the better first."""
    given = roles.get("responses")
    if not isinstance(given, list | tuple) or len(given) < 2:
        raise BadData("give a list of at least two responses", field="responses")
    sides = {f"response {place}": value for place, value in enumerate(given)}
    made = [_side({**roles, **sides}, name, extra, door, id) for name in sides]
    ranks = roles.get("ranking")
    pairs = list(parts.pairs(roles["pairs"], len(made))) if ranks is None else list(parts.ranked(ranks, len(made)))
    if not pairs:
        raise BadData("found no pair of which one is better: give ranks that differ, or pairs", field="ranking")
    for count, (better, worse, tie) in enumerate(pairs):
        name = parts.id_of(roles)
        yield Preference(made[better], made[worse], tie=tie, id=f"{name}/{count}" if name else "")


def _side(roles: Roles, name: str, extra: dict[str, Any], door: ReadSession, id: str) -> Response:
    """Make one of the responses of a preference; what both share stands beside them."""
    value = roles.get(name)
    shared: Roles = {key: roles[key] for key in ("query", "context", "group", "extra") if key in roles}
    own_id = f"{id}/{name.replace('response ', '')}"
    try:
        if not isinstance(value, Mapping) or "role" in value:
            return make_response({**shared, **parts.said(value)}, extra, door, own_id)
        inner, unknown = door.inner_fields.assign(value)
        both: Roles = {**shared, **inner}
        if shared.get("extra") and inner.get("extra"):
            both["extra"] = {**parts.mapping(shared["extra"], "extra"), **parts.mapping(inner["extra"], "extra")}
        return make_response(both, {**extra, **unknown}, door, parts.id_of(inner) or own_id)
    except BadData as error:
        field = f"{name}.{error.field}" if error.field else name
        raise BadData(error.problem, field=field) from None


def _id(roles: Roles, door: ReadSession, line: int) -> str:
    return parts.id_of(roles) or f"{PurePath(door.name).name}:{line}"


SCHEMAS: dict[str, Callable[[Mapping[str, Any], Any, int], Iterable[Any]]] = {
    "any": any_of,
    "stepwise": only(response, "completions"),
    "preference": preference,
    "chat": only(response, "messages"),
}
