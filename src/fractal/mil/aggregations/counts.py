"""The mean as a count: so many of the response's sentences are good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fractal.mil.aggregations.base import AGGREGATIONS, align
from fractal.mil.aggregations.disaggregation import posterior_counts
from fractal.mil.aggregations.hard import Mean
from fractal.mil.aggregations.logodds import widened
from fractal.mil.aggregations.poisson_binomial import count_log_likelihood, label_counts

__all__ = ["Count"]


@AGGREGATIONS.register("count")
@dataclass(frozen=True)
class Count(Mean):
    """The mean of sentences that are good or bad: the label's count has its exact likelihood (Poisson-binomial)."""

    can_be_shifted: ClassVar[bool] = False

    def log_likelihood(
        self, logits: Tensor, offsets: Tensor, labels: Tensor, controlled: Tensor | None = None
    ) -> Tensor:
        """Return log P(n · label sentences are good), the count rounded: (bag, …); 0 where the label is unknown."""
        if controlled is not None:
            raise ValueError("a count of good sentences has no log-odds that could be shifted: use the mean")
        logits = widened(logits)
        labels = align(labels, logits)
        log_p = count_log_likelihood(logits, offsets, label_counts(labels, offsets))
        return torch.where(labels.isnan(), 0.0, log_p)

    def _posterior(self, scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
        """P(sentence = 1 | the count): (sentence, …); an unknown label leaves the score as it is."""
        return posterior_counts(scores, offsets, labels, mixed=False)
