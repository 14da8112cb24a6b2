"""What the fields of a row mean: a response, steps with labels, a preference, a ranking, or a chat → records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from fractal.errors import BadData
from fractal.readers import values
from fractal.readers.chats import messages_of, read_chat
from fractal.records import Preference, Response

if TYPE_CHECKING:
    from fractal.readers.session import ReadSession, Record

Roles = dict[str, Any]
RecordMaker = Callable[[Roles, dict[str, Any], "ReadSession", str], Iterator["Record"]]


def any_of(row: Mapping[str, Any], session: ReadSession, line: int) -> Iterable[Record]:
    """Take a row for what its fields show it to be."""
    roles, extra = session.columns.assign(row)
    if "chosen" in roles and "rejected" in roles:
        return chosen_rejected(roles, extra, session, _id(roles, session, line))
    if "a" in roles and "b" in roles:
        return one_of_two(roles, extra, session, _id(roles, session, line))
    if "responses" in roles and ("ranking" in roles or "pairs" in roles):
        return ranking(roles, extra, session, _id(roles, session, line))
    return response(roles, extra, session, _id(roles, session, line))


def only(make_records: RecordMaker, *needed: str) -> Callable[[Mapping[str, Any], ReadSession, int], Iterable[Record]]:
    """Make a schema that refuses rows without the fields that it is about."""

    def schema(row: Mapping[str, Any], session: ReadSession, line: int) -> Iterable[Record]:
        roles, extra = session.columns.assign(row)
        for field in needed:
            if values.filled(roles, field) is None:
                raise BadData(f"there is none: found the fields {', '.join(map(str, row))[:300]}", field=field)
        return make_records(roles, extra, session, _id(roles, session, line))

    return schema


def preference(row: Mapping[str, Any], session: ReadSession, line: int) -> Iterable[Record]:
    """Take a row for a preference of whatever form."""
    roles, extra = session.columns.assign(row)
    if roles.get("chosen") is not None or roles.get("rejected") is not None:
        return chosen_rejected(roles, extra, session, _id(roles, session, line))
    if "responses" in roles:
        return ranking(roles, extra, session, _id(roles, session, line))
    return one_of_two(roles, extra, session, _id(roles, session, line))


def response(roles: Roles, extra: dict[str, Any], session: ReadSession, id: str) -> Iterator[Record]:
    """A response, cut into sentences already or yet to be cut."""
    yield make_response(roles, extra, session, id)


def make_response(roles: Roles, extra: dict[str, Any], session: ReadSession, id: str) -> Response:
    """Build one response of its fields; every part says itself what is wrong with it."""
    roles = _spoken(roles, session)
    question, answer = read_chat(roles["messages"]) if values.filled(roles, "messages") is not None else ("", None)
    text, sentences = values.sentences(roles, answer, session)
    extra = {**values.mapping(roles.get("extra"), "extra"), **extra}
    return Response(
        id=id,
        sentences=sentences,
        text=text,
        query=values.query(roles.get("query")) or question,
        context=values.context(roles.get("context")),
        label=session.labels("label").read(roles.get("label")),
        group=values.group(roles, extra),
        aspects=values.aspects(roles, session),
        columns=values.columns(roles),
        extra=extra,
    )


def _spoken(roles: Roles, session: ReadSession) -> Roles:
    """Take a response that is the transcript of a whole dialogue for its messages: only the last turn is the answer."""
    response = roles.get("response")
    cut = any(values.filled(roles, name) is not None for name in ("messages", "sentences", "completions"))
    messages = messages_of(response) if isinstance(response, str) and not cut else []
    if not messages:
        return roles
    session.report.tally("responses were transcripts (Human: … Assistant: …): the last turn is the response", 1)
    return {**{name: value for name, value in roles.items() if name != "response"}, "messages": messages}


def chosen_rejected(roles: Roles, extra: dict[str, Any], session: ReadSession, id: str) -> Iterator[Record]:
    """The response that was chosen and the one that was rejected, as text or as chats that end in it."""
    better = _side(roles, "chosen", extra, session, id)
    worse = _side(roles, "rejected", extra, session, id)
    yield Preference(better, worse, id=values.id_of(roles))


FIRST = {"a", "response_a", "answer_a", "model_a", "first"}
SECOND = {"b", "response_b", "answer_b", "model_b", "second"}
TIE = {"tie", "same", "equal", "both", "neither", "both_bad", "tie_(bothbad)"}


def one_of_two(roles: Roles, extra: dict[str, Any], session: ReadSession, id: str) -> Iterator[Record]:
    """Two responses, a and b, and which of them is preferred."""
    preferred = roles.get("preference")
    word = preferred.strip().casefold().replace(" ", "_") if isinstance(preferred, str) else preferred
    if not isinstance(word, str) or word not in FIRST | SECOND | TIE:
        raise BadData(f"found {str(preferred)[:60]!r}: write 'a', 'b' or 'tie'", field="preference")
    a, b = _side(roles, "a", extra, session, id), _side(roles, "b", extra, session, id)
    better, worse = (b, a) if word in SECOND else (a, b)
    yield Preference(better, worse, tie=word in TIE, id=values.id_of(roles))


def ranking(roles: Roles, extra: dict[str, Any], session: ReadSession, id: str) -> Iterator[Record]:
    """Several responses to one query, with a rank each (1 is best) or pairs of places, the better first."""
    listed = roles.get("responses")
    if not isinstance(listed, list | tuple) or len(listed) < 2:
        raise BadData("give a list of at least two responses", field="responses")
    sides = {f"response {place}": value for place, value in enumerate(listed)}
    responses = [_side({**roles, **sides}, name, extra, session, id) for name in sides]
    ranks = roles.get("ranking")
    count = len(responses)
    pairs = list(values.pairs(roles["pairs"], count) if ranks is None else values.ranked(ranks, count))
    if not pairs:
        raise BadData("found no pair of which one is better: give ranks that differ, or pairs", field="ranking")
    for number, (better, worse, tie) in enumerate(pairs):
        name = values.id_of(roles)
        yield Preference(responses[better], responses[worse], tie=tie, id=f"{name}/{number}" if name else "")


def _side(roles: Roles, name: str, extra: dict[str, Any], session: ReadSession, id: str) -> Response:
    """Make one of the responses of a preference; what both share stands beside them."""
    value = roles.get(name)
    shared: Roles = {key: roles[key] for key in ("query", "context", "group", "extra") if key in roles}
    side_id = f"{id}/{name.replace('response ', '')}"
    try:
        if not isinstance(value, Mapping) or "role" in value:
            return make_response({**shared, **values.bare_response(value)}, extra, session, side_id)
        inner, unknown = session.inner_columns.assign(value)
        both: Roles = {**shared, **inner}
        if shared.get("extra") and inner.get("extra"):
            both["extra"] = {**values.mapping(shared["extra"], "extra"), **values.mapping(inner["extra"], "extra")}
        return make_response(both, {**extra, **unknown}, session, values.id_of(inner) or side_id)
    except BadData as error:
        field = f"{name}.{error.field}" if error.field else name
        raise BadData(error.problem, field=field) from None


def _id(roles: Roles, session: ReadSession, line: int) -> str:
    return values.id_of(roles) or f"{PurePath(session.name).name}:{line}"


SCHEMAS: dict[str, Callable[[Mapping[str, Any], Any, int], Iterable[Any]]] = {
    "any": any_of,
    "stepwise": only(response, "completions"),
    "preference": preference,
    "chat": only(response, "messages"),
}
