"""How the scores of sentences make the score of their response, and the way back."""

from __future__ import annotations

from fractal.mil.aggregations.base import AGGREGATIONS, Aggregation, shifted
from fractal.mil.aggregations.counts import Count
from fractal.mil.aggregations.first_error import FirstError
from fractal.mil.aggregations.hard import Maximum, Mean, Minimum
from fractal.mil.aggregations.levels import Levels, MaxLevels, MinLevels
from fractal.mil.aggregations.preferences import labels_given
from fractal.mil.aggregations.prefix_value import PrefixValue
from fractal.mil.aggregations.soft import GeometricMean, LogSumExp, NoisyOr, PowerMean, Product, SoftMaxPool, SoftMin

__all__ = [
    "AGGREGATIONS",
    "FORMS",
    "ORDERED_FORMS",
    "Aggregation",
    "Count",
    "FirstError",
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
    "PrefixValue",
    "Product",
    "SoftMaxPool",
    "SoftMin",
    "labels_given",
    "shifted",
]

FORMS = {"min": "product", "max": "noisy_or", "mean": "mean"}  # the form of each direction that is a likelihood
# Where sentences stand in order, what may explain labels better than the product; `first_error` alone explains them
# alike, and differs by the step that it blames.
ORDERED_FORMS = ("product", "first_error(recovery=0.1)", "first_error(recovery=0.4)", "prefix_value")
