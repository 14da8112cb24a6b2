"""Scores that mean what they say: calibration curves, thresholds for a wanted precision or recall, and promises."""

from __future__ import annotations

from fractal.evaluation.calibration.calibrators import KINDS, Calibrator, fit_calibrator
from fractal.evaluation.calibration.decisions import ReliabilityBin, Threshold, reliability, thresholds
from fractal.evaluation.calibration.guarantees import Guarantee, guarantee

__all__ = [
    "KINDS",
    "Calibrator",
    "Guarantee",
    "ReliabilityBin",
    "Threshold",
    "fit_calibrator",
    "guarantee",
    "reliability",
    "thresholds",
]
