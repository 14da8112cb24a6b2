"""The hard rules: the smallest score, the largest, and the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fractal.mil.aggregations.base import AGGREGATIONS, Aggregation, Direction
from fractal.mil.aggregations.logodds import widened
from fractal.mil.segments import segment_max, segment_mean, segment_min

__all__ = ["Maximum", "Mean", "Minimum"]


@AGGREGATIONS.register("min")
@dataclass(frozen=True)
class Minimum(Aggregation):
    """The smallest score: a response is as good as its worst sentence; the gradient reaches only that one."""

    direction: ClassVar[Direction] = "min"

    def pair(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        return segment_min(scores, offsets), segment_max(complements, offsets)

    def from_logits(self, logits: Tensor, offsets: Tensor) -> Tensor:
        return segment_min(widened(logits), offsets)


@AGGREGATIONS.register("max")
@dataclass(frozen=True)
class Maximum(Aggregation):
    """The largest score: a response is as good as its best sentence; the gradient reaches only that one."""

    direction: ClassVar[Direction] = "max"

    def pair(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        return segment_max(scores, offsets), segment_min(complements, offsets)

    def from_logits(self, logits: Tensor, offsets: Tensor) -> Tensor:
        return segment_max(widened(logits), offsets)


@AGGREGATIONS.register("mean")
@dataclass(frozen=True)
class Mean(Aggregation):
    """The mean score: a response's label is the share of its sentences that are good, or their mean rating."""

    direction: ClassVar[Direction] = "mean"

    def pair(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        return segment_mean(scores, offsets), segment_mean(complements, offsets)
