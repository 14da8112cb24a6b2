"""Relative scores beside their rivals: who answers the same query here, and what these responses score."""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Iterable, Sequence

from fractal.records import ScoredResponse

__all__ = ["MARGIN", "Standing", "standings"]

MARGIN = 0.1  # by how much a sentence must differ from the rival's mean to be called better or worse
PAIRED = re.compile(r"^(.+)/(?:chosen|rejected|a|b|\d+)$", re.DOTALL)  # how readers name the sides of a preference

Scores = tuple[float, float]  # the mean of a response's sentences, and its response score


@dataclasses.dataclass(frozen=True)
class Standing:
    """What a response of relative scores is held against."""

    rivals: (
        int  # other responses to the same query here; where there is none, all responses are what it is held against
    )
    middle: float  # the mean score of their sentences, each response counting once
    level: float  # the mean of their response scores


def standings(scored: Sequence[ScoredResponse]) -> list[Standing | None]:
    """Say of each response what it is held against; None where its scores are not relative.

    The same text is one response, however many comparisons it stands in, and no rival of itself.
    """
    by_query: dict[object, dict[str, Scores]] = {}
    for item in scored:
        if item.relative:
            scores = (statistics.fmean(item.sentence_scores), item.response_score)
            by_query.setdefault(_query_of(item), {})[item.response.text] = scores
    sums = {query: _sums(responses.values()) for query, responses in by_query.items()}
    count = sum(map(len, by_query.values()))
    everything = _sums(sums.values())

    def standing(item: ScoredResponse) -> Standing:
        query = _query_of(item)
        rivals = len(by_query[query]) - 1
        if not rivals:
            return Standing(0, everything[0] / count, everything[1] / count)
        mine = by_query[query][item.response.text]
        middle, level = ((total - part) / rivals for total, part in zip(sums[query], mine, strict=True))
        return Standing(rivals, middle, level)

    return [standing(item) if item.relative else None for item in scored]


def _sums(pairs: Iterable[Scores]) -> Scores:
    listed = [*pairs]
    return sum(first for first, _ in listed), sum(second for _, second in listed)


def _query_of(item: ScoredResponse) -> object:
    """Return what responses have in common that answer the same: query and context, else the group, else the pair."""
    response = item.response
    if response.query or response.context:
        return item.aspect, response.query, response.context
    if response.group:
        return item.aspect, response.group
    pair = PAIRED.match(response.id)
    return item.aspect, None, pair[1] if pair else response.id
