"""Scored responses back from a file: our own output, or anybody's scores of sentences."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from fractal.errors import BadData
from fractal.readers import values
from fractal.readers.base import READERS, Reader
from fractal.readers.preview import previewed
from fractal.readers.schemas import make_response
from fractal.readers.session import ReadSession
from fractal.readers.sniffing import guess_reader
from fractal.readers.sources import reopenable
from fractal.records import HARD_RULES, SCORE_FIELDS, ScoredResponse

IMPLIED: dict[str, Callable[[tuple[float, ...]], float]] = {"min": min, "max": max, "avg": statistics.fmean}


def read_scored(
    source: Any, reader: str | Reader = "auto", *, columns: Mapping[str, str] | None = None, **options: Any
) -> Iterator[ScoredResponse]:
    """Yield scored responses, one after another; the options are those of `read`.

    A record has `sentences` and `sentence_scores`. Where it has no `response_score`, its `aggregation` (min, max or
    avg) implies one.
    """
    source = reopenable(source)
    chosen = guess_reader(source) if reader == "auto" else READERS.build(reader)
    mapped = dict(columns or {})
    names = {field: mapped.pop(field, field) for field in SCORE_FIELDS}
    return _scored(chosen, source, ReadSession(source, columns=mapped, **options), names)


def _scored(reader: Reader, source: Any, session: ReadSession, names: Mapping[str, str]) -> Iterator[ScoredResponse]:
    def schema(row: Mapping[str, Any], session: ReadSession, line: int) -> list[Any]:
        return [_make(row, session, line, names)]

    session.report.reader = READERS.spec(reader)
    with session.open():
        for row in previewed(reader.rows(source), session, lambda row: (row, schema)):
            yield from cast(list[ScoredResponse], session.accept(row, schema))


def _make(row: Mapping[str, Any], session: ReadSession, line: int, names: Mapping[str, str]) -> ScoredResponse:
    fields = {field: row[name] for field, name in names.items() if row.get(name) not in (None, "")}
    rest = {name: value for name, value in row.items() if name not in names.values()}
    roles, extra = session.columns.assign(rest)
    response = make_response(roles, extra, session, values.id_of(roles) or f"{session.name}:{line}")
    if "sentence_scores" not in fields:
        raise BadData(f"there are none: found the fields {', '.join(map(str, row))[:300]}", field="sentence_scores")
    scores = values.shares(fields["sentence_scores"], "sentence_scores")
    whole = (
        fields["response_score"] if "response_score" in fields else _response_scores(scores, extra.get("aggregation"))
    )
    return ScoredResponse(
        response,
        sentence_scores=scores,
        response_score=values.shares([whole], "response_score")[0],
        sentence_spread=values.numbers(fields.get("sentence_spread", ()), "sentence_spread"),
        sentence_labels=values.shares(fields.get("disaggregated_labels", ()), "disaggregated_labels"),
        aspect=str(fields.get("aspect", "")),
        aggregation=_hard_rule(fields.get("score_aggregation", extra.get("aggregation"))),
        relative=fields.get("score_relative") in (True, 1, "true", "True"),
        unlike=tuple(part.strip() for part in str(fields.get("unlike_training", "")).split(",") if part.strip()),
    )


def _hard_rule(aggregation: Any) -> str:
    """Return how sentences make the response where a record says so; a rule of another kind says nothing."""
    rule = "mean" if aggregation == "avg" else aggregation
    return rule if rule in HARD_RULES else ""


def _response_scores(scores: tuple[float, ...], aggregation: Any) -> float:
    if not isinstance(aggregation, str) or aggregation not in IMPLIED:
        raise BadData(
            "there is none: give it, or the `aggregation` min, max or avg that implies it", field="response_score"
        )
    return IMPLIED[aggregation](scores) if scores else 0.0
