"""What a metric is: how it reads labels and scores, and what it says under every re-weighting of the responses."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fractal.errors import BadData, BadSpec
from fractal.registry import Registry

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

METRICS: Registry[Metric] = Registry("metric")

NEUTRAL = ("good", "bad", "out")
WEIGHTS_AT_ONCE = 4_000_000  # resampled weights held at a time: 32 MB


@dataclasses.dataclass(frozen=True)
class Sample:
    """Labels and scores side by side, and which response each belongs to."""

    truth: Floats  # (item,) nan where unknown
    scores: Floats  # (item,)
    groups: Integers  # (item,) in 0..responses − 1; items of one response stand in reading order
    responses: int

    @classmethod
    def of(cls, truth: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None) -> Sample:
        """Check plain arrays; without groups every item is a response of its own."""
        labels = np.asarray(truth, dtype=np.float64)
        values = np.asarray(scores, dtype=np.float64)
        if labels.ndim != 1 or labels.shape != values.shape:
            raise BadData(f"labels of shape {labels.shape} and scores of shape {values.shape}: give one score a label")
        if not np.isfinite(values).all():
            where = int(np.flatnonzero(~np.isfinite(values))[0])
            raise BadData(f"the score at {where} is {values[where]}: give a finite number for every sentence")
        if np.isinf(labels).any():
            raise BadData("a label is infinite: give a number, or nan where it is unknown")
        if groups is None:
            return cls(labels, values, np.arange(labels.size, dtype=np.int64), labels.size)
        names = np.asarray(groups)
        if names.shape != labels.shape:
            raise BadData(f"groups of shape {names.shape} for {labels.size} labels: say for every label whose it is")
        distinct, codes = np.unique(names, return_inverse=True)
        return cls(labels, values, codes.astype(np.int64).ravel(), distinct.size)

    def take(self, items: Mask) -> Sample:
        """Return these items only; the responses keep their numbers."""
        return Sample(self.truth[items], self.scores[items], self.groups[items], self.responses)

    def known(self) -> Sample:
        """Return the items whose label is known."""
        return self.take(~np.isnan(self.truth))

    def totals(self, values: NDArray[Any]) -> Floats:
        """Return the sum of an item's values over every response: (response,)."""
        return np.bincount(self.groups, weights=values, minlength=self.responses).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a metric found: of how many things it speaks, and its value under any weighting of the responses."""

    count: int
    responses: int
    under: Callable[[Floats], Floats] | None  # weights (response, resample) → values (resample,)
    reason: str = ""  # why there is no value
    unit: str = ""  # what is counted, where it is not what the metric looks at

    @property
    def value(self) -> float:
        """The metric itself: every response counts once; nan where it is undefined."""
        return float(self.resampled(np.ones((self.responses, 1)))[0])

    def resampled(self, weights: Floats) -> Floats:
        """Return the value under each column of response weights; nan where a column leaves it undefined."""
        if self.under is None:
            return np.full(weights.shape[1], np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.under(weights)


class Metric(ABC):
    """A number that says how well scores meet labels; a frozen dataclass."""

    name: ClassVar[str]
    level: ClassVar[Literal["sentence", "response"]] = "sentence"
    higher_is_better: ClassVar[bool] = True

    @abstractmethod
    def read(self, sample: Sample) -> Measurement:
        """Look at the labels and scores once, ready to say the value under every weighting."""

    def __call__(self, truth: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None) -> float:
        """Return the value; nan where it is undefined."""
        return self.read(Sample.of(truth, scores, groups)).value


@dataclasses.dataclass(frozen=True)
class BinaryMetric(Metric):
    """A metric of good against bad: a label above the threshold is good, one below is bad, one on it is `neutral`."""

    threshold: float = 0.5
    neutral: str = "good"

    def __post_init__(self) -> None:
        if self.neutral not in NEUTRAL:
            raise BadSpec(f"neutral={self.neutral!r}: a label on the threshold counts as 'good' or 'bad', or is 'out'")

    def binary(self, sample: Sample) -> Sample:
        """Return the items that count, their labels 0 or 1."""
        sample = sample.known()
        if self.neutral == "out":
            sample = sample.take(sample.truth != self.threshold)
        good = sample.truth > self.threshold if self.neutral == "bad" else sample.truth >= self.threshold
        return dataclasses.replace(sample, truth=good.astype(np.float64))


def one_class(sample: Sample, what: str = "label") -> str:
    """Say why good cannot be told from bad, or nothing where it can."""
    if not sample.truth.size:
        return f"no known {what}"
    if sample.truth.min() == sample.truth.max():
        return f"every {what} is the same"
    return ""


def ratio(sums: Floats, counts: Floats, reason: str, unit: str = "") -> Measurement:
    """Read a mean over items from each response's sum and number of items."""
    total = round(float(counts.sum()))
    if not total:
        return Measurement(0, sums.size, None, reason, unit)
    return Measurement(total, sums.size, lambda weights: (sums @ weights) / (counts @ weights), unit=unit)


def resampled_weights(
    responses: int, resamples: int, seed: int = 0, clusters: Sequence[int] | Integers | None = None
) -> Iterator[Floats]:
    """Draw responses (or whole clusters of them) with replacement: how often each is drawn, (response, resample)."""
    generator = np.random.default_rng(seed)
    codes = None if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()
    drawn = responses if codes is None else int(codes.max(initial=-1)) + 1
    step = max(1, WEIGHTS_AT_ONCE // max(responses, 1))
    for start in range(0, resamples if drawn else 0, step):
        size = min(step, resamples - start)
        picks = generator.integers(drawn, size=(size, drawn)) + drawn * np.arange(size)[:, None]
        counts = np.bincount(picks.ravel(), minlength=size * drawn).reshape(size, drawn).T.astype(np.float64)
        yield np.ascontiguousarray(counts if codes is None else counts[codes])
