"""Scores that mean what they say: calibration curves, thresholds for a wanted precision, and when to abstain."""

from __future__ import annotations

from fractal.evaluation.calibration.calibrators import KINDS, Calibrator, fit_calibrator
from fractal.evaluation.calibration.decisions import (
    Abstention,
    ReliabilityBin,
    RiskCoverage,
    Threshold,
    abstain,
    calibration_error,
    reliability,
    risk_coverage,
    thresholds,
)
from fractal.evaluation.calibration.sentences import FORMS, fit_sentence_calibrator

__all__ = [
    "FORMS",
    "KINDS",
    "Abstention",
    "Calibrator",
    "ReliabilityBin",
    "RiskCoverage",
    "Threshold",
    "abstain",
    "calibration_error",
    "fit_calibrator",
    "fit_sentence_calibrator",
    "reliability",
    "risk_coverage",
    "thresholds",
]
