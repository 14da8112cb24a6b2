"""Intervals: the middle part of resampled values, and Wilson's for a share of counted cases."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]


def percentile_interval(resampled: NDArray[np.float64], confidence: float) -> Interval:
    """Return the middle part of resampled values; resamples without a value are left out, and without any it is nan."""
    defined = resampled[~np.isnan(resampled)]
    if not defined.size:
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def wilson_interval(hits: int, count: int, confidence: float) -> Interval:
    """Return Wilson's interval for the chance behind `hits` of `count` cases."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, around = hits / count, z * z / count
    middle = (share + around / 2) / (1 + around)
    width = z / (1 + around) * np.sqrt(share * (1 - share) / count + around / count / 4)
    return max(0.0, float(middle - width)), min(1.0, float(middle + width))
