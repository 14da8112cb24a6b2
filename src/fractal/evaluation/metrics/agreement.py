"""Metrics of agreement: how near scores lie to labels, and whether a score of 0.7 means 70 in 100."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import numpy as np

from fractal.errors import BadSpec
from fractal.evaluation.metrics.base import METRICS, BinaryMetric, Floats, Integers, Measurement, Metric, Sample, ratio

NO_LABEL = "no known label"


def _mean(sample: Sample, values: Floats) -> Measurement:
    """Read the mean over all items."""
    return ratio(sample.totals(values), sample.totals(np.ones_like(values)), NO_LABEL)


@METRICS.register("mae")
@dataclasses.dataclass(frozen=True)
class MeanAbsoluteError(Metric):
    """Mean distance between score and label, over all sentences."""

    higher_is_better: ClassVar[bool] = False

    def read(self, sample: Sample) -> Measurement:
        """Average the distances."""
        sample = sample.known()
        return _mean(sample, np.abs(sample.truth - sample.scores))


@METRICS.register("mse")
@dataclasses.dataclass(frozen=True)
class MeanSquaredError(Metric):
    """Mean squared distance between score and label, over all sentences."""

    higher_is_better: ClassVar[bool] = False

    def read(self, sample: Sample) -> Measurement:
        """Average the squared distances."""
        sample = sample.known()
        return _mean(sample, (sample.truth - sample.scores) ** 2)


@METRICS.register("brier")
@dataclasses.dataclass(frozen=True)
class Brier(BinaryMetric):
    """Mean squared distance between the score and good (1) or bad (0)."""

    higher_is_better: ClassVar[bool] = False

    def read(self, sample: Sample) -> Measurement:
        """Average the squared distances to 0 or 1."""
        sample = self.binary(sample)
        return _mean(sample, (sample.truth - sample.scores) ** 2)


@METRICS.register("accuracy")
@dataclasses.dataclass(frozen=True)
class Accuracy(BinaryMetric):
    """Share of sentences whose score falls on the label's side of `cut`."""

    cut: float = 0.5

    def read(self, sample: Sample) -> Measurement:
        """Count agreement."""
        sample = self.binary(sample)
        return _mean(sample, ((sample.scores >= self.cut) == (sample.truth > 0)).astype(np.float64))


def mass_bins(scores: Floats, bins: int, equal_mass: bool = True) -> Integers:
    """Say in which bin each score falls: bins of equal numbers of scores, or of equal width; equal scores together."""
    if equal_mass:
        edges = np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1]) if scores.size else np.empty(0)
    else:
        edges = np.linspace(0, 1, bins + 1)[1:-1]
    return np.searchsorted(edges, scores, side="right").astype(np.int64)


@METRICS.register("calibration_error")
@dataclasses.dataclass(frozen=True)
class CalibrationError(Metric):
    """Mean distance between mean score and mean label in bins of equal mass (expected calibration error)."""

    bins: int = 10
    equal_mass: bool = True

    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise BadSpec(f"bins={self.bins}: give at least one bin")

    def read(self, sample: Sample) -> Measurement:
        """Add up each response's gaps by bin; the bins stay where all the data put them."""
        sample = sample.known()
        if not sample.truth.size:
            return Measurement(0, sample.responses, None, NO_LABEL)
        place = sample.groups * self.bins + mass_bins(sample.scores, self.bins, self.equal_mass)
        gaps = np.bincount(place, weights=sample.scores - sample.truth, minlength=sample.responses * self.bins)
        gaps = gaps.reshape(sample.responses, self.bins)  # (response, bin)
        sizes = sample.totals(np.ones_like(sample.truth))  # (response,)

        def under(weights: Floats) -> Floats:
            return np.asarray(np.abs(gaps.T @ weights).sum(axis=0) / (sizes @ weights))

        return Measurement(sample.truth.size, sample.responses, under)


@METRICS.register("response_mae")
@dataclasses.dataclass(frozen=True)
class ResponseMae(MeanAbsoluteError):
    """Mean distance between a response's score and its label."""

    level: ClassVar[Literal["sentence", "response"]] = "response"


@METRICS.register("response_brier")
@dataclasses.dataclass(frozen=True)
class ResponseBrier(Brier):
    """Mean squared distance between a response's score and good (1) or bad (0)."""

    level: ClassVar[Literal["sentence", "response"]] = "response"


@METRICS.register("response_accuracy")
@dataclasses.dataclass(frozen=True)
class ResponseAccuracy(Accuracy):
    """Share of responses whose score falls on the label's side of `cut`."""

    level: ClassVar[Literal["sentence", "response"]] = "response"


@METRICS.register("response_calibration_error")
@dataclasses.dataclass(frozen=True)
class ResponseCalibrationError(CalibrationError):
    """Mean distance between mean score and mean label of responses, in bins of equal mass."""

    level: ClassVar[Literal["sentence", "response"]] = "response"
