"""Smooth forms of the smallest and the largest score, through which every sentence learns.

Each is written once, as a minimum; its maximum is 1 − the minimum of 1 − the scores.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fractal.mil.aggregations.base import AGGREGATIONS, Aggregation, Direction
from fractal.mil.aggregations.logodds import SATURATED, TINY, log_odds_of_log, log_ratio, tame, widened
from fractal.mil.segments import (
    lift,
    segment_max,
    segment_mean,
    segment_min,
    segment_prod,
    segment_softmax,
    segment_sum,
)

__all__ = ["GeometricMean", "LogSumExp", "NoisyOr", "PowerMean", "Product", "SoftMaxPool", "SoftMin", "all_good"]


class SmoothForm(Aggregation):
    """A smooth minimum, which serves as a maximum by its mirror."""

    def __post_init__(self) -> None:
        if self.direction not in ("min", "max"):
            raise ValueError(f"direction={self.direction!r}: give 'min' or 'max'")

    @abstractmethod
    def lowest(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the smooth minimum and 1 − it."""

    def lowest_log_odds(self, logits: Tensor, offsets: Tensor) -> Tensor:
        """Return the log-odds of the smooth minimum."""
        tamed = tame(widened(logits))
        return log_ratio(*self.lowest(tamed.sigmoid(), (-tamed).sigmoid(), offsets))

    def pair(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        if self.direction == "min":
            return self.lowest(scores, complements, offsets)
        value, complement = self.lowest(complements, scores, offsets)
        return complement, value

    def from_logits(self, logits: Tensor, offsets: Tensor) -> Tensor:
        if self.direction == "min":
            return self.lowest_log_odds(logits, offsets)
        return -self.lowest_log_odds(-logits, offsets)


def all_good(logits: Tensor, offsets: Tensor) -> Tensor:
    """Log-odds that every sentence is good, from Σ log σ(z), which cannot underflow."""
    return log_odds_of_log(segment_sum(_log_sigmoid(logits), offsets))


def _log_sigmoid(logits: Tensor) -> Tensor:
    """Logarithm of the score, kept below 0 so that 1 − the score has a logarithm too."""
    return -F.softplus(-tame(widened(logits), low=-torch.inf, high=SATURATED))


def _log(scores: Tensor, complements: Tensor) -> Tensor:
    """Logarithm of a score, from its complement where that says it more exactly; without gradient at 0."""
    near = scores > 0.5
    return torch.where(
        near,
        torch.log1p(-torch.where(near, complements, 0.5)),
        torch.where(near, 0.5, scores).clamp(min=TINY).log(),
    )


@dataclass(frozen=True)
class _Independent(SmoothForm):
    """The exact probability that all of several independent sentences are good."""

    bounded: ClassVar[bool] = False

    def lowest(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        value = segment_prod(scores, offsets)
        return value, 1 - value

    def lowest_log_odds(self, logits: Tensor, offsets: Tensor) -> Tensor:
        return all_good(logits, offsets)


@AGGREGATIONS.register("product")
@dataclass(frozen=True)
class Product(_Independent):
    """The product of the scores: the exact probability that every sentence is good, were they independent."""

    direction: ClassVar[Direction] = "min"


@AGGREGATIONS.register("noisy_or")
@dataclass(frozen=True)
class NoisyOr(_Independent):
    """One minus the product of one minus the scores: the exact probability that at least one sentence is good."""

    direction: ClassVar[Direction] = "max"


@AGGREGATIONS.register("geometric_mean")
@dataclass(frozen=True)
class GeometricMean(SmoothForm):
    """The product without its bias against long responses: (∏ s)^(1/n)."""

    direction: Direction = "min"

    def lowest(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        logs = segment_mean(_log(scores, complements), offsets)
        some = segment_min(scores, offsets) > 0
        return torch.where(some, logs.exp(), 0.0), torch.where(some, -torch.expm1(logs), 1.0)

    def lowest_log_odds(self, logits: Tensor, offsets: Tensor) -> Tensor:
        return log_odds_of_log(segment_mean(_log_sigmoid(logits), offsets))


@AGGREGATIONS.register("power_mean")
@dataclass(frozen=True)
class PowerMean(SmoothForm):
    """(mean s^exponent)^(1/exponent): the mean at 1, the harmonic mean at −1, the smallest score towards −∞."""

    exponent: float = -4.0
    direction: Direction = "min"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (-1e6 < self.exponent <= 1 and self.exponent != 0):
            raise ValueError(
                f"exponent={self.exponent}: give a number below 0 or up to 1 (geometric_mean is the limit at 0)"
            )

    def lowest(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        logs = self._mean_of_logs(_log(scores, complements), offsets)
        some = (segment_min if self.exponent < 0 else segment_max)(scores, offsets) > 0
        return torch.where(some, logs.exp(), 0.0), torch.where(some, -torch.expm1(logs), 1.0)

    def lowest_log_odds(self, logits: Tensor, offsets: Tensor) -> Tensor:
        return log_odds_of_log(self._mean_of_logs(_log_sigmoid(logits), offsets))

    def _mean_of_logs(self, logs: Tensor, offsets: Tensor) -> Tensor:
        """Logarithm of the power mean, around its largest part; log1p and expm1 keep scores near 1 apart."""
        extreme = (segment_min if self.exponent < 0 else segment_max)(logs.detach(), offsets)
        powers = torch.expm1(self.exponent * (logs - lift(extreme, offsets, len(logs))))
        return extreme + torch.log1p(segment_mean(powers, offsets)) / self.exponent


@AGGREGATIONS.register("logsumexp")
@dataclass(frozen=True)
class LogSumExp(SmoothForm):
    """−(1/sharpness) · log mean e^(−sharpness · s): the mean towards 0, the smallest score towards ∞."""

    sharpness: float = 10.0
    direction: Direction = "min"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sharpness < 1e6:
            raise ValueError(f"sharpness={self.sharpness}: give a number above 0, such as 10")

    def lowest(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        least, most = segment_min(scores.detach(), offsets), segment_max(complements.detach(), offsets)
        size, r = len(scores), self.sharpness
        above = torch.expm1(-r * (scores - lift(least, offsets, size)))
        below = torch.expm1(-r * (lift(most, offsets, size) - complements))
        value = least - torch.log1p(segment_mean(above, offsets)) / r
        return value, most + torch.log1p(segment_mean(below, offsets)) / r


@dataclass(frozen=True)
class _Weighted(SmoothForm):
    """A mean of the scores in which the lowest weigh most."""

    temperature: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1e-6 < self.temperature < 1e6:
            raise ValueError(f"temperature={self.temperature}: give a number above 0, such as 0.1")

    def lowest(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        weights = segment_softmax(-scores / self.temperature, offsets)
        return segment_sum(weights * scores, offsets), segment_sum(weights * complements, offsets)


@AGGREGATIONS.register("softmin")
@dataclass(frozen=True)
class SoftMin(_Weighted):
    """The mean of the scores weighted by softmax(−s / temperature): the worst sentences count most."""

    direction: ClassVar[Direction] = "min"


@AGGREGATIONS.register("softmax_pool")
@dataclass(frozen=True)
class SoftMaxPool(_Weighted):
    """The mean of the scores weighted by softmax(s / temperature): the best sentences count most."""

    direction: ClassVar[Direction] = "max"
