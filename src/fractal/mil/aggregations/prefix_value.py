"""Runs as a value that rises and falls with each step: the log-odds that a run passes, given its steps so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fractal.mil.aggregations.base import AGGREGATIONS, Aggregation, Direction, align, shifted
from fractal.mil.aggregations.first_error import blame_of_order, most_blamed, shares_of
from fractal.mil.aggregations.logodds import log_ratio, tame, widened
from fractal.mil.segments import lift, segment_mean, segment_running_sum, segment_sum

__all__ = ["PrefixValue"]


@AGGREGATIONS.register("prefix_value")
@dataclass(frozen=True)
class PrefixValue(Aggregation):
    """Each step adds its log-odds to those that the run passes; every prefix is to foretell the outcome.

    The value after step t is σ(z₁ + … + z_t), and ½ before the first step. In a bad response a step is to blame by its
    share of what the value lost on its way down. `share` is how much the prefixes count in the likelihood beside the
    whole run; 0 asks of the whole run alone.
    """

    direction: ClassVar[Direction] = "min"
    bounded: ClassVar[bool] = False

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share={self.share}: give a share from 0 to 1")

    def pair(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value after the last step, and 1 − it."""
        logits = segment_sum(log_ratio(scores, complements), offsets)
        return logits.sigmoid(), (-logits).sigmoid()

    def from_logits(self, logits: Tensor, offsets: Tensor) -> Tensor:
        return segment_sum(tame(widened(logits)), offsets)

    def log_likelihood(
        self, logits: Tensor, offsets: Tensor, labels: Tensor, controlled: Tensor | None = None
    ) -> Tensor:
        """Return the mean log-likelihood of the labels under the value of each prefix, and of the whole: (bag, …)."""
        values = segment_running_sum(tame(widened(logits)), offsets)
        values = shifted(values, None if controlled is None else lift(controlled, offsets, len(values)))
        labels = align(labels, values)
        labelled = ~labels.isnan()
        filled = torch.where(labelled, labels, 0.5)
        of_steps = lift(filled, offsets, len(values)).expand_as(values)
        cost = F.binary_cross_entropy_with_logits(values, of_steps, reduction="none")
        whole = cost.index_select(0, offsets[1:] - 1)
        cost = (1 - self.share) * whole + self.share * segment_mean(cost, offsets)
        return torch.where(labelled, -cost, 0.0)

    def _posterior(self, scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
        """1 − the step's share of what the value lost, where the label is bad: (sentence, …)."""
        return blame_of_order(value_lost(scores, offsets), scores, offsets, labels)

    def _most_likely(self, scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
        """0 for the step of a bad response at which the value fell most and 1 for every other step."""
        return most_blamed(value_lost(scores, offsets), scores, offsets, labels)


def value_lost(scores: Tensor, offsets: Tensor) -> Tensor:
    """Return each step's share of what the value of its run lost; equal shares where it never fell: (sentence, …)."""
    logits = log_ratio(scores, 1 - scores)
    after = segment_running_sum(logits, offsets)
    lost = ((after - logits).sigmoid() - after.sigmoid()).clamp(min=0)
    return shares_of(lost, segment_sum(lost, offsets), offsets)
