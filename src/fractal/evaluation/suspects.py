"""Ratings that their own sentences contradict: which responses to rate again first, and what speaks against each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from fractal.errors import UnknownName
from fractal.records import REDUCTIONS, ScoredResponse

NEAREST = 1e-3  # scores are kept this far from 0 and 1: no score is surer
WAYS = ("both", "response", "sentence")


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A rating and how much it surprises who has seen its sentences: in nats, 0 where it is what they say."""

    scored: ScoredResponse
    label: float
    surprise: float
    place: int | None  # the sentence that decides, from 0 on; none under a mean
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        response = self.scored.response
        sentence = None if self.place is None else response.sentences[self.place].text
        return {
            "id": response.id,
            "label": self.label,
            "response_score": self.scored.response_score,
            "surprise": self.surprise,
            "why": self.why,
            "sentence_index": self.place,
            "sentence": sentence,
            "response": response.text,
        }


def suspects(scored: Iterable[ScoredResponse], by: str = "response") -> list[Suspect]:
    """Rank rated responses by how much their label contradicts their scores, the most suspect first.

    Scores must come from heads that did not learn from the response (`scorer.held_out_scores`): who has learned a wrong
    rating is not surprised by it. `by` holds the label against the "response" score, against the "sentence" that
    decides (the worst under a minimum, the best under a maximum, the mean under a mean), or adds "both" surprises.
    Responses without a label are left out.
    """
    if by not in WAYS:
        raise UnknownName("way to suspect a rating", by, WAYS)
    rated = [(item, label) for item in scored if (label := item.response.label_of(item.aspect)) is not None]
    return sorted((_suspect(item, label, by) for item, label in rated), key=lambda one: -one.surprise)


def surprise(label: float, score: float) -> float:
    """Return the Kullback–Leibler divergence of the label from the score: nothing where they are equal."""
    bounded = min(max(score, NEAREST), 1 - NEAREST)
    parts = ((label, bounded), (1 - label, 1 - bounded))
    return sum(share * math.log(share / chance) for share, chance in parts if share > 0)


def _suspect(item: ScoredResponse, label: float, by: str) -> Suspect:
    rule = item.aggregation or "mean"
    decisive = REDUCTIONS[rule](item.sentence_scores)
    whole, part = surprise(label, item.response_score), surprise(label, decisive)
    total = {"both": whole + part, "response": whole, "sentence": part}[by]
    place = None if rule == "mean" else item.sentence_scores.index(decisive)
    return Suspect(item, label, total, place, _why(rule, label, decisive, place))


def _why(rule: str, label: float, decisive: float, place: int | None) -> str:
    """Say what the sentences say against the rating, or that they do not."""
    if place is None:
        return f"rated {label:g}, sentences score {decisive:.2f} on average"
    name = "worst" if rule == "min" else "best"
    return f"rated {label:g}, its {name} sentence (number {place + 1}) scores {decisive:.2f}"
