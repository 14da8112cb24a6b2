"""Smooth forms of the smallest and the largest score, through which every sentence learns.

Each is written once, as a minimum; its maximum is 1 − the minimum of 1 − the scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fractal.aggregations.base import AGGREGATIONS, Aggregation, Direction
from fractal.aggregations.logodds import SATURATED, log_odds_of_log, tame, widened
from fractal.segments import segment_prod, segment_sum

__all__ = ["NoisyOr", "Product"]


def _all_good(logits: Tensor, offsets: Tensor) -> Tensor:
    """Log-odds that every sentence is good, from Σ log σ(z), which cannot underflow."""
    calm = tame(widened(logits), low=-torch.inf, high=SATURATED)
    return log_odds_of_log(-segment_sum(F.softplus(-calm), offsets))


@AGGREGATIONS.register("product")
@dataclass(frozen=True)
class Product(Aggregation):
    """The product of the scores: the exact probability that every sentence is good, were they independent."""

    direction: ClassVar[Direction] = "min"
    bounded: ClassVar[bool] = False

    def pair(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        value = segment_prod(scores, offsets)
        return value, 1 - value

    def from_logits(self, logits: Tensor, offsets: Tensor) -> Tensor:
        return _all_good(logits, offsets)


@AGGREGATIONS.register("noisy_or")
@dataclass(frozen=True)
class NoisyOr(Aggregation):
    """One minus the product of one minus the scores: the exact probability that at least one sentence is good."""

    direction: ClassVar[Direction] = "max"
    bounded: ClassVar[bool] = False

    def pair(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        value = segment_prod(complements, offsets)
        return 1 - value, value

    def from_logits(self, logits: Tensor, offsets: Tensor) -> Tensor:
        return -_all_good(-logits, offsets)
