"""How the scores of sentences make the score of their response, and the way back."""

from __future__ import annotations

from fractal.aggregations.base import AGGREGATIONS, Aggregation
from fractal.aggregations.hard import Maximum, Mean, Minimum
from fractal.aggregations.soft import NoisyOr, Product

__all__ = [
    "AGGREGATIONS",
    "Aggregation",
    "Maximum",
    "Mean",
    "Minimum",
    "NoisyOr",
    "Product",
]
