"""Metrics: how well scores find what people marked; numpy alone, rank-based, unknown labels never scored."""

from __future__ import annotations

from fractal.evaluation.metrics.agreement import (
    Accuracy,
    Brier,
    CalibrationError,
    MeanAbsoluteError,
    MeanSquaredError,
    mass_bins,
)
from fractal.evaluation.metrics.base import METRICS, Floats, Measurement, Metric, Sample, resampled_weights
from fractal.evaluation.metrics.localisation import (
    BestSentenceHit,
    FirstErrorAccuracy,
    FirstErrorF1,
    WithinResponseAuc,
    WorstSentenceHit,
)
from fractal.evaluation.metrics.ranking import AveragePrecision, Concordance, RocAuc, Spearman

__all__ = [
    "METRICS",
    "Accuracy",
    "AveragePrecision",
    "BestSentenceHit",
    "Brier",
    "CalibrationError",
    "Concordance",
    "FirstErrorAccuracy",
    "FirstErrorF1",
    "Floats",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Measurement",
    "Metric",
    "RocAuc",
    "Sample",
    "Spearman",
    "WithinResponseAuc",
    "WorstSentenceHit",
    "mass_bins",
    "resampled_weights",
]
