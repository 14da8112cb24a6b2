"""How held-out figures grow with the number of ratings: whether more of them would help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.screening import MAX_RESPONSES, held_out_responses
from fractal.ensemble.summary import concordance
from fractal.evaluation.outcomes import FOLDS
from fractal.mil.aggregations import AGGREGATIONS, FORMS, Aggregation
from fractal.records.corpus import Corpus
from fractal.records.groups import Grouping

__all__ = ["LearningCurve", "learning_curve"]

SHARES = (0.25, 0.5, 1.0)
DRAWS = 3  # of the smaller shares, averaged: few responses say little
FEWEST = 30  # rated responses in the smallest share


@dataclass(frozen=True)
class LearningCurve:
    """How well a small model tells held-out responses apart after learning from so many ratings."""

    ratings: tuple[int, ...] = ()
    areas: tuple[float, ...] = ()

    @property
    def last_gain(self) -> float:
        """What the last doubling of the ratings gave; nan where nothing was measured."""
        return self.areas[-1] - self.areas[-2] if len(self.areas) > 1 else float("nan")

    def __str__(self) -> str:
        """Say what was measured, and whether more ratings would help."""
        if len(self.areas) < 2:
            return ""
        shown = ", ".join(f"{count:,}: {area:.3f}" for count, area in zip(self.ratings, self.areas, strict=True))
        hope = "more will likely help" if self.last_gain >= HELPS else "more of the same kind will hardly help"
        gain = f"The last doubling gave {self.last_gain:+.3f}: {hope}."
        return f"By number of ratings, a small model's held-out AUC: {shown}. {gain}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"ratings": list(self.ratings), "areas": list(self.areas)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> LearningCurve:
        """Return the curve that plain values describe; an empty one of none."""
        return cls(tuple(plain.get("ratings", ())), tuple(plain.get("areas", ())))


HELPS = 0.01


def learning_curve(block: EncodedBlock, corpus: Corpus, aggregation: Aggregation, seed: int = 0) -> LearningCurve:
    """Fit a small model to a quarter, a half and all of the groups; nothing where there are too few ratings."""
    rated = np.flatnonzero(~np.isnan(corpus.labels))
    if len(corpus.pairs) or len(rated) * SHARES[0] < FEWEST:
        return LearningCurve()
    rng = np.random.default_rng(seed)
    if len(rated) > MAX_RESPONSES:
        rated = np.sort(rng.choice(rated, MAX_RESPONSES, replace=False))
    form = FORMS.get(str(aggregation.direction), AGGREGATIONS.spec(aggregation))
    groups = np.array(corpus.groups)
    points: list[tuple[int, float]] = []
    for share in SHARES:
        drawn = [_drawn(groups, rated, share, rng) for _ in range(DRAWS if share < 1 else 1)]
        areas = [_area(block, corpus, rows, form, seed) for rows in drawn]
        if np.isfinite(areas).all():
            points.append((round(float(np.mean([len(rows) for rows in drawn]))), float(np.mean(areas))))
    return LearningCurve(tuple(count for count, _ in points), tuple(area for _, area in points))


def _drawn(
    groups: NDArray[np.str_], rated: NDArray[np.int64], share: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    names = np.unique(groups[rated])
    chosen = names[rng.permutation(len(names))[: round(share * len(names))]]
    return rated[np.isin(groups[rated], chosen)]


def _area(block: EncodedBlock, corpus: Corpus, rows: NDArray[np.int64], form: str, seed: int) -> float:
    """Return the held-out concordance of a small model that learns from these responses alone."""
    labels, names = corpus.labels[rows], [corpus.groups[row] for row in rows]
    if len(set(names)) < FOLDS or labels.min() == labels.max():
        return float("nan")
    part = Corpus(tuple(corpus.responses[row] for row in rows), np.empty((0, 3), dtype=np.int64), folds=corpus.folds)
    vars(part)["grouping"] = Grouping(tuple(names), corpus.grouping.by)
    return concordance(labels, held_out_responses(block.take(rows), part, form, seed))
