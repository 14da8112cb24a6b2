"""The best of several responses to one query, by their scores: which is taken, how far ahead it is, which are even."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from fractal.errors import BadData, BadSpec, UnknownName
from fractal.records import REDUCTIONS, Response, ScoredResponse

KEYS = ("query", "group")
WAYS = ("response", "sentence", *REDUCTIONS)


@dataclasses.dataclass(frozen=True)
class Pick:
    """What is taken of the responses to one query, and what is not: the better ones first, of even ones the earlier."""

    query: str
    chosen: ScoredResponse
    score: float
    runners_up: tuple[tuple[ScoredResponse, float], ...]

    @property
    def tied(self) -> tuple[ScoredResponse, ...]:
        """The responses that score exactly as the one taken: nothing but their place speaks against them."""
        return tuple(item for item, score in self.runners_up if score == self.score)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "query": self.query,
            "chosen": self.chosen.response.id,
            "response": self.chosen.response.text,
            "score": self.score,
            "of": 1 + len(self.runners_up),
            "tied": [item.response.id for item in self.tied],
            "runners_up": [{"id": item.response.id, "score": score} for item, score in self.runners_up],
        }


def best_of(
    scored: Iterable[ScoredResponse], by: str = "response", kappa: float = 0.0, per: str = "query"
) -> list[Pick]:
    """Pick the best response to each query, queries in the order in which they first come.

    `per` says what belongs together: one "query", or one "group", as the runs of one task; where it is missing, the
    other of the two counts, and without either a response stands alone. `by` says what counts:
    "response" the score of the whole; "sentence" the sentence that decides under the rule that scores were learned
    under (the worst under a minimum, the best under a maximum, the mean under a mean); "min", "max" and "mean" one of
    these whatever was learned. `kappa` spreads are taken off the score of each sentence first.
    """
    if by not in WAYS:
        raise UnknownName("way to compare responses", by, WAYS)
    if by == "response" and kappa:
        raise BadSpec(
            f"kappa={kappa:g} by 'response': the spread lowers scores of sentences, and the response's score is not "
            "made of the lowered ones; compare by 'sentence', 'min', 'max' or 'mean'"
        )
    if per not in KEYS:
        raise UnknownName("way to put responses together", per, KEYS)
    by_query: dict[str, list[tuple[ScoredResponse, float]]] = {}
    aspects = set()
    for item in scored:
        aspects.add(item.aspect)
        by_query.setdefault(rivalry(item.response, per), []).append((item, _score(item, by, kappa)))
    if len(aspects) > 1:
        raise BadData(f"scores of the aspects {', '.join(sorted(map(repr, aspects)))}: say by which one is picked")
    picks = []
    for rivals in by_query.values():
        (chosen, score), *others = sorted(rivals, key=lambda rival: -rival[1])
        picks.append(Pick(chosen.response.query, chosen, score, tuple(others)))
    return picks


def rivalry(response: Response, per: str = "query") -> str:
    """Return what the responses of which one is taken have in common."""
    names = (response.query, response.group) if per == "query" else (response.group, response.query)
    return names[0] or names[1] or response.id


def _score(item: ScoredResponse, by: str, kappa: float) -> float:
    if by == "response":
        return item.response_score
    rule = item.aggregation if by == "sentence" else by
    if not rule:
        raise BadSpec(
            f"{item.response.id!r}: these scores do not say how sentences make a response: compare by 'min', 'max' or "
            "'mean', or by 'response'"
        )
    return REDUCTIONS[rule](item.conservative(kappa))
