"""How the scores of sentences make the score of their response, and the way back."""

from __future__ import annotations

from fractal.aggregations.base import AGGREGATIONS, Aggregation
from fractal.aggregations.counts import Count
from fractal.aggregations.hard import Maximum, Mean, Minimum
from fractal.aggregations.levels import Levels, MaxLevels, MinLevels
from fractal.aggregations.preferences import preferred_labels
from fractal.aggregations.soft import GeometricMean, LogSumExp, NoisyOr, PowerMean, Product, SoftMaxPool, SoftMin

__all__ = [
    "AGGREGATIONS",
    "CLEARLY",
    "FORMS",
    "Aggregation",
    "Count",
    "GeometricMean",
    "Levels",
    "LogSumExp",
    "MaxLevels",
    "Maximum",
    "Mean",
    "MinLevels",
    "Minimum",
    "NoisyOr",
    "PowerMean",
    "Product",
    "SoftMaxPool",
    "SoftMin",
    "preferred_labels",
]

CLEARLY = 0.01  # nats a response: what one form must save on another to be called better
FORMS = {"min": "product", "max": "noisy_or", "mean": "mean"}  # the form of each direction that is a likelihood
