"""Scored responses back from a file: our own output, or anybody's scores of sentences."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from fractal.errors import BadData
from fractal.readers import values as parts
from fractal.readers.base import READERS, Reader
from fractal.readers.schemas import make_response
from fractal.readers.session import ReadSession
from fractal.readers.sniffing import guess_reader
from fractal.records import SCORE_FIELDS, ScoredResponse

__all__ = ["read_scored"]

IMPLIED: dict[str, Callable[[tuple[float, ...]], float]] = {"min": min, "max": max, "avg": statistics.fmean}


def read_scored(
    source: Any, reader: str | Reader = "auto", *, columns: Mapping[str, str] | None = None, **options: Any
) -> Iterator[ScoredResponse]:
    """Yield scored responses, one after another; the options are those of `read`.

    A record has `sentences` and `sentence_scores`. Where it has no `response_score`, its `aggregation` (min, max or
    avg) implies one.
    """
    chosen = guess_reader(source) if reader == "auto" else READERS.build(reader)
    mapped = dict(columns or {})
    names = {field: mapped.pop(field, field) for field in SCORE_FIELDS}
    return _scored(chosen, source, ReadSession(source, columns=mapped, **options), names)


def _scored(reader: Reader, source: Any, door: ReadSession, names: Mapping[str, str]) -> Iterator[ScoredResponse]:
    def schema(row: Mapping[str, Any], door: ReadSession, line: int) -> list[Any]:
        return [_make(row, door, line, names)]

    door.report.reader = READERS.spec(reader)
    with door.open():
        for row in reader.rows(source):
            yield from cast(list[ScoredResponse], door.accept(row, schema))


def _make(row: Mapping[str, Any], door: ReadSession, line: int, names: Mapping[str, str]) -> ScoredResponse:
    own = {field: row[name] for field, name in names.items() if row.get(name) not in (None, "")}
    rest = {name: value for name, value in row.items() if name not in names.values()}
    roles, extra = door.fields.assign(rest)
    response = make_response(roles, extra, door, parts.id_of(roles) or f"{door.name}:{line}")
    if "sentence_scores" not in own:
        raise BadData(f"there are none: found the fields {', '.join(map(str, row))[:300]}", field="sentence_scores")
    scores = parts.shares(own["sentence_scores"], "sentence_scores")
    whole = own["response_score"] if "response_score" in own else _response_scores(scores, extra.get("aggregation"))
    return ScoredResponse(
        response,
        sentence_scores=scores,
        response_score=parts.shares([whole], "response_score")[0],
        sentence_spread=parts.numbers(own.get("sentence_spread", ()), "sentence_spread"),
        sentence_labels=parts.shares(own.get("disaggregated_labels", ()), "disaggregated_labels"),
        aspect=str(own.get("aspect", "")),
    )


def _response_scores(scores: tuple[float, ...], aggregation: Any) -> float:
    if not isinstance(aggregation, str) or aggregation not in IMPLIED:
        raise BadData(
            "there is none: give it, or the `aggregation` min, max or avg that implies it", field="response_score"
        )
    return IMPLIED[aggregation](scores) if scores else 0.0
