"""How held-out figures grow with the number of ratings: whether more of them would help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.screening import LinearProbe, sampled_ratings
from fractal.ensemble.summary import concordance
from fractal.evaluation.outcomes import FOLDS
from fractal.mil.aggregations import AGGREGATIONS, FORMS, Aggregation
from fractal.records.corpus import Corpus

__all__ = ["LearningCurve", "learning_curve"]

SHARES = (0.25, 0.5, 1.0)
DRAWS = 3  # of the smaller shares, averaged: few responses say little
FEWEST = 30  # rated responses in the smallest share
HELPS = 0.01  # of AUC, by the last doubling: more ratings will likely help


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


def learning_curve(block: EncodedBlock, corpus: Corpus, aggregation: Aggregation, seed: int = 0) -> LearningCurve:
    """Fit a small model to a quarter, a half and all of the groups; nothing where there are too few ratings."""
    rated = sampled_ratings(corpus, seed)
    if len(corpus.pairs) or len(rated) * SHARES[0] < FEWEST:
        return LearningCurve()
    probe = LinearProbe.of(block, corpus, seed, rated)
    form = FORMS.get(str(aggregation.direction), AGGREGATIONS.spec(aggregation))
    rng = np.random.default_rng(seed)
    points: list[tuple[int, float]] = []
    for share in SHARES:
        parts = [_drawn(probe, share, rng) for _ in range(DRAWS if share < 1 else 1)]
        areas = [_held_out_area(part, form) for part in parts]
        if np.isfinite(areas).all():
            points.append((round(float(np.mean([len(part.labels) for part in parts]))), float(np.mean(areas))))
    return LearningCurve(tuple(count for count, _ in points), tuple(area for _, area in points))


def _drawn(probe: LinearProbe, share: float, rng: np.random.Generator) -> LinearProbe:
    names = np.unique(probe.groups)
    chosen = names[rng.permutation(len(names))[: round(share * len(names))]]
    return probe.take(np.flatnonzero(np.isin(probe.groups, chosen)))


def _held_out_area(probe: LinearProbe, form: str) -> float:
    """Return the held-out concordance of a small model that learns from these responses alone."""
    labels = probe.labels.numpy().astype(np.float64)
    if len(np.unique(probe.groups)) < FOLDS or labels.min() == labels.max():
        return float("nan")
    return concordance(labels, probe.held_out(form).numpy())
