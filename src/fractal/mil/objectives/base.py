"""The protocol that every loss and prior obeys, and the one rule by which all of them are reduced."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.segments import segment_sum

__all__ = ["Scores", "Term", "distance", "mean_over_bags"]

EDGE = 1e-6  # how near a probability may come to 0 or 1 before its logarithm is taken
CERTAIN = 1e-4  # how far from 0 or 1 a known label is taken to be: people err, and a response has many sentences


@dataclass(frozen=True)
class Scores:
    """What the head says of a batch: raw outputs, and what follows from them, computed once for all terms."""

    logits: Tensor  # (sentence, [level − 1,] member)
    offsets: Tensor  # (bag + 1,)
    aggregation: Aggregation

    def with_observed(self, labels: Tensor | None) -> Scores:
        """Return the same with known sentence labels (sentence,) in place of what the head says; nan is unknown."""
        if labels is None:
            return self
        observed = self.aggregation.observed_logits(labels.to(self.logits.dtype), CERTAIN)
        return replace(self, logits=torch.where(observed.isnan(), self.logits, observed))

    @functools.cached_property
    def sentence(self) -> Tensor:
        """The score of every sentence in [0, 1]: (sentence, member)."""
        return self.aggregation.sentence_scores(self.logits)

    @functools.cached_property
    def sentence_logits(self) -> Tensor:
        """The log-odds of every sentence: (sentence, member)."""
        if self.aggregation.thresholds == 1:
            return self.logits
        return torch.logit(self.sentence, eps=EDGE)

    @functools.cached_property
    def response_logits(self) -> Tensor:
        """The log-odds of every response: (bag, …, member)."""
        return self.aggregation.from_logits(self.logits, self.offsets)


class Term(ABC):
    """One part of the objective: a number for each member of the ensemble, to be made small."""

    name: str
    weight: float

    @abstractmethod
    def __call__(self, scores: Scores, bags: Bags) -> Tensor:
        """Return the term for each member: (member,)."""


def mean_over_bags(values: Tensor, labelled: Tensor, bags: Bags) -> Tensor:
    """Mean inside the bag over the labelled sentences, then the weighted mean over the bags that hold one.

    Sums inside the bag would weigh long responses more, so that one weight meant different things on different data.
    """
    labelled = labelled.to(values.dtype).unsqueeze(-1)  # (sentence, 1)
    count = segment_sum(labelled, bags.offsets)  # (bag, 1)
    inside = segment_sum(torch.where(labelled > 0, values, 0.0), bags.offsets) / count.clamp(min=1.0)  # (bag, member)
    return weighted_mean(inside, bags.weights * (count > 0))


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over the first axis, by weight; 0 where nothing has weight: (bag, member) → (member,)."""
    weights = weights.to(values.dtype).expand(values.shape)
    total = weights.sum(0)
    return (torch.where(weights > 0, values, 0.0) * weights).sum(0) / torch.where(total > 0, total, 1.0)


def distance(kind: str, logits: Tensor, target: Tensor) -> Tensor:
    """How far scores (as log-odds) are from targets in [0, 1]: soft-label cross-entropy, or the plain difference."""
    if kind == "bce":
        return F.softplus(logits) - target * logits
    if kind == "msle":
        return (torch.log1p(torch.sigmoid(logits)) - torch.log1p(target)).square()
    gap = torch.sigmoid(logits) - target
    return gap.abs() if kind == "mae" else gap.square()


def check_kind(kind: str, kinds: tuple[str, ...]) -> None:
    """Refuse an unknown way of measuring distance when the term is made, not in the middle of training."""
    if kind not in kinds:
        raise ValueError(f"kind={kind!r}: known are {', '.join(kinds)}")
