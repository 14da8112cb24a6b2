"""What labels of sentences leave open of their response's label: which sentences, and what it asks of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fractal.mil.segments import segment_max, segment_sum

__all__ = ["Evidence", "weigh_evidence"]

NEAR = 1e-3  # how near a label must be to a level to stand for it


@dataclass(frozen=True)
class Evidence:
    """The sentences that are still open, and what is asked of them once the others are what their labels say.

    A label at one of the levels is certain. One between levels is a belief: it takes the place of the sentence's
    score. Where the labels of sentences contradict their response's, they stand, and the response's says nothing.
    """

    open: Tensor  # (sentence,) bool
    bags: Tensor  # those with an open sentence
    offsets: Tensor  # of their open sentences
    labels: Tensor  # (bag, …): what these must make; nan where nothing is asked of them
    highest: Tensor  # (bag, …): the level that certain sentences reach, turned so that the highest wins; −1: none
    contradicted: Tensor  # (bag, …) of all bags

    def around(
        self, way_back: Callable[..., Tensor], scores: Tensor, sentence_labels: Tensor, **options: Tensor
    ) -> Tensor:
        """Run a way back on the open sentences; the others have their labels: (sentence, …)."""
        like = scores[:, 0] if scores.ndim > self.labels.ndim else scores  # of levels, the second axis goes
        whole = sentence_labels.to(like.dtype).reshape(-1, *(1,) * (like.ndim - 1)).expand_as(like).clone()
        if len(self.bags):
            whole[self.open] = way_back(scores[self.open], self.offsets, self.labels, **options)
        return whole


def weigh_evidence(direction: str, levels: int, labels: Tensor, offsets: Tensor, sentence_labels: Tensor) -> Evidence:
    """Return what labels of sentences (sentence,), nan where unknown, leave of the labels of responses (bag, …)."""
    steps = levels - 1
    at = sentence_labels.to(labels.dtype) * steps
    certain = (at - at.round()).abs() < NEAR
    free = segment_sum((~certain).to(labels.dtype), offsets)
    wide = (-1, *(1,) * (labels.ndim - 1))
    free_count, level = free.reshape(wide), torch.where(certain, at.round(), 0.0)
    if direction == "mean":
        rest, contradicted = _rest_of_count(labels, offsets, certain, level, free_count)
        highest = torch.full_like(rest, -1.0)
    else:
        turned = level if direction == "max" else steps - level
        reached = segment_max(torch.where(certain, turned, -1.0), offsets).reshape(wide).expand_as(labels)
        rest, contradicted = _rest_of_extreme(labels, steps, direction == "min", reached, free_count)
        if steps == 1:  # one that decides the response is there: the others are free
            rest, highest = torch.where(reached == 1, torch.nan, rest), torch.full_like(rest, -1.0)
        else:
            highest = reached
    bags = (free > 0).nonzero().squeeze(1)
    cut = torch.cat([offsets.new_zeros(1), free[bags].long().cumsum(0)])
    return Evidence(~certain, bags, cut, rest[bags], highest[bags], contradicted)


def _rest_of_count(
    labels: Tensor, offsets: Tensor, certain: Tensor, level: Tensor, free: Tensor
) -> tuple[Tensor, Tensor]:
    """Which share of the open sentences must be good: the response's count less those that are known to be."""
    wide = (-1, *(1,) * (labels.ndim - 1))
    good = segment_sum((certain & (level == 1)).to(labels.dtype), offsets).reshape(wide)
    exact = labels * offsets.diff().to(labels.dtype).reshape(wide)
    nearest = (exact + 0.5).floor()
    contradicted = (nearest < good) | (nearest > good + free)
    rest = (exact.maximum(good).minimum(good + free) - good) / free.clamp(min=1)
    return torch.where(contradicted, torch.nan, rest), contradicted


def _rest_of_extreme(
    labels: Tensor, steps: int, mirrored: bool, reached: Tensor, free: Tensor
) -> tuple[Tensor, Tensor]:
    """Of a label between two levels only the nearer stays where certain sentences rule the other out."""

    def possible(level: Tensor) -> Tensor:
        return (reached <= level) & ((free > 0) | (reached == level))

    exact = labels * steps
    exact = torch.where((exact - exact.round()).abs() < NEAR, exact.round(), exact)
    nearest = (exact + 0.5).floor() if steps > 1 else (labels > 0.5).to(labels.dtype)
    exact, nearest = (steps - exact, steps - nearest) if mirrored else (exact, nearest)
    contradicted = ~possible(nearest) & ~labels.isnan()
    kept = torch.where(possible(exact.floor()) & possible(exact.ceil()), exact, nearest)
    rest = (steps - kept if mirrored else kept) / steps
    return torch.where(contradicted | labels.isnan(), torch.nan, rest), contradicted
