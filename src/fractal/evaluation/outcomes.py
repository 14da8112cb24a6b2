"""What the values of responses are held against: their labels, or which of two responses people preferred."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.evaluation.folds import deal_folds
from fractal.evaluation.intervals import percentile_interval
from fractal.evaluation.metrics import METRICS, Sample, resampled_weights
from fractal.evaluation.solvers import logistic_line, with_constant
from fractal.records import Response
from fractal.records.corpus import response_labels
from fractal.records.groups import group_responses

Floats = NDArray[np.float64]

CONFIDENCE = 0.99  # a check that cries wolf is switched off
RESAMPLES = 400
FOLDS = 5
RIDGE = 1e-2
MAX_CASES = 5000  # cases looked at: more do not narrow an interval that anyone acts on


@dataclasses.dataclass(frozen=True)
class Area:
    """How often the better of two responses has the larger value: ½ says nothing, below ½ points the wrong way."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """Cases with a known outcome: rated responses, or pairs whose two sides are swapped at random."""

    truth: Floats  # (case,) in [0, 1]
    first: NDArray[np.int64]  # (case,) the response
    second: NDArray[np.int64]  # (case,) the response it is compared with; empty where responses are rated
    groups: NDArray[np.int64]  # (case,)

    @classmethod
    def of(
        cls,
        responses: Sequence[Response],
        pairs: NDArray[np.int64] | None = None,
        seed: int = 0,
        groups: Sequence[str] | None = None,
    ) -> Outcome:
        """Take the preferences where there are some, else the labels; of very many a sample."""
        codes: dict[str, int] = {}
        groups = group_responses(responses, pairs).groups if groups is None else groups
        group = np.array([codes.setdefault(name, len(codes)) for name in groups], dtype=np.int64)
        if pairs is not None and len(pairs):
            strict = pairs[pairs[:, 2] == 0]
            swapped = np.random.default_rng(seed).random(len(strict)) < 0.5
            first, second = np.where(swapped, strict[:, 1], strict[:, 0]), np.where(swapped, strict[:, 0], strict[:, 1])
            return cls((~swapped).astype(np.float64), first, second, group[first])._sampled(seed)
        labels = response_labels(responses)
        rated = np.flatnonzero(~np.isnan(labels))
        return cls(labels[rated], rated, np.empty(0, dtype=np.int64), group[rated])._sampled(seed)

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def differs(self) -> bool:
        """Whether there is anything to tell apart, in enough groups to hold some out."""
        return len(np.unique(self.groups)) >= FOLDS and bool(self.truth.min() < self.truth.max())

    def of_values(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the value of each case: (response, …) → (case, …), for pairs the lead of the first."""
        return values[self.first] - values[self.second] if len(self.second) else values[self.first]

    def take(self, cases: NDArray[Any]) -> Outcome:
        """Return these cases only."""
        return Outcome(self.truth[cases], self.first[cases], self.second[cases[: len(self.second)]], self.groups[cases])

    def _sampled(self, seed: int) -> Outcome:
        if len(self) <= MAX_CASES:
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self), MAX_CASES, replace=False)))

    def area(self, cases: Floats, seed: int = 0) -> Area:
        """Return how well values of cases tell outcomes apart, groups drawn anew for the interval."""
        measurement = METRICS.build("concordance").read(Sample.of(self.truth, cases))
        weights = resampled_weights(len(self), RESAMPLES, seed, self.groups)
        resampled = np.concatenate([measurement.resampled(part) for part in weights])
        return Area(measurement.value, *percentile_interval(resampled, CONFIDENCE))


def cross_validated(columns: Floats, outcome: Outcome, seed: int = 0) -> Floats:
    """Return held-out log-odds of a logistic regression on columns of the cases: (case,)."""
    fold = deal_folds([str(group) for group in outcome.groups], outcome.truth, FOLDS, seed)
    scale = columns.std(0)
    scaled = (columns - columns.mean(0)) / np.where(scale > 0, scale, 1.0)
    logits = np.zeros(len(outcome))
    for number in np.unique(fold):
        out = fold == number
        logits[out] = with_constant(scaled[out]) @ logistic_line(
            with_constant(scaled[~out]), outcome.truth[~out], RIDGE
        )
    return logits
