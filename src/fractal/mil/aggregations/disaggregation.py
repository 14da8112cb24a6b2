"""From a response's label to its sentences: the likeliest labels that agree with it, and each sentence's posterior."""

from __future__ import annotations

import torch
from torch import Tensor

from fractal.mil.aggregations.poisson_binomial import label_counts, poisson_binomial
from fractal.mil.segments import lift, segment_first, segment_max, segment_min, segment_rank, segment_sum

__all__ = ["hard_counts", "hard_minimum", "posterior_counts", "posterior_minimum"]


def hard_minimum(scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
    """Label a good response's sentences all 1, a bad one's by rounding, and its worst 0 where rounding finds no 0."""
    size = len(scores)
    rounded = scores > 0.5
    lowest = segment_min(scores, offsets)  # (bag, …)
    worst = segment_first(scores == lift(lowest, offsets, size), offsets)
    label = lift(labels, offsets, size)
    bad = rounded & ~worst  # the worst is rounded to 0 anyway where any sentence is
    guess = torch.where(label > 0.5, torch.ones_like(rounded), bad)
    return torch.where(label.isnan(), rounded, guess).to(scores.dtype)


def posterior_minimum(scores: Tensor, complements: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
    """P(sentence = 1 | label) where a response is good if every sentence is.

    In a bad response P(sentence = 0) is (1 − s) / (1 − ∏ s). Where every score is 1 no sentence is more suspect than
    another, and each is the bad one with probability 1 / n, the limit of that ratio.
    """
    size = len(scores)
    some_bad = -torch.expm1(segment_sum(_log_of(scores, complements), offsets))  # (bag, …)
    sure = segment_max(complements, offsets) == 0
    count = offsets.diff().to(scores.dtype).reshape(-1, *(1,) * (scores.ndim - 1)).expand_as(some_bad)
    share = torch.where(sure, 1 / count, 0.0)
    blame = complements / lift(torch.where(sure, 1.0, some_bad), offsets, size) + lift(share, offsets, size)
    label = lift(labels, offsets, size)
    return torch.where(label.isnan(), scores, 1 - (1 - label) * blame.clamp(max=1.0))


def _log_of(scores: Tensor, complements: Tensor) -> Tensor:
    """Logarithm of a score, from its complement where that says it more exactly."""
    return torch.where(scores > 0.5, torch.log1p(-complements), scores.log())


def hard_counts(scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
    """Label as many sentences 1 as the label counts, those with the largest scores."""
    label = lift(labels, offsets, len(scores))
    counts = lift(label_counts(labels, offsets), offsets, len(scores))
    chosen = segment_rank(scores, offsets) < counts
    return torch.where(label.isnan(), scores > 0.5, chosen).to(scores.dtype)


def posterior_counts(scores: Tensor, offsets: Tensor, labels: Tensor, mixed: bool) -> Tensor:
    """P(sentence = 1 | so many sentences are 1), for independent sentences.

    Mixed: a label between two counts mixes the posteriors of the two, so that they average to the label.
    """
    logits = torch.logit(scores)
    label = lift(labels, offsets, len(scores))
    if not mixed:
        posterior = poisson_binomial(logits, offsets, label_counts(labels, offsets))[1]
        return torch.where(label.isnan(), scores, posterior)
    size = offsets.diff().to(labels.dtype).reshape(-1, *(1,) * (labels.ndim - 1))
    exact = torch.nan_to_num(labels, 0.0) * size
    exact = torch.where((exact - exact.round()).abs() < 1e-3, exact.round(), exact)  # a count, but for its last digits
    low, high = exact.floor(), exact.ceil()
    posterior = poisson_binomial(logits, offsets, low)[1]
    if bool((high != low).any()):
        upper = poisson_binomial(logits, offsets, high)[1]
        share = lift(exact - low, offsets, len(scores)).to(posterior.dtype).expand_as(posterior)
        posterior = torch.lerp(posterior, upper, share)
    return torch.where(label.isnan(), scores, posterior)
