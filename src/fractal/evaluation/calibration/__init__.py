"""Scores that mean what they say: calibration curves, and thresholds for a wanted precision or recall."""

from __future__ import annotations

from fractal.evaluation.calibration.calibrators import KINDS, Calibrator, fit_calibrator
from fractal.evaluation.calibration.decisions import ReliabilityBin, Threshold, reliability, thresholds

__all__ = ["KINDS", "Calibrator", "ReliabilityBin", "Threshold", "fit_calibrator", "reliability", "thresholds"]
