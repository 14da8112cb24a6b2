"""Runs whose steps stand in order: the first wrong step fails them, and what comes after it is not judged."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fractal.mil.aggregations.base import AGGREGATIONS
from fractal.mil.aggregations.soft import Product
from fractal.mil.segments import lift, segment_first, segment_max, segment_sum

__all__ = ["FirstError", "first_error_chances"]


@AGGREGATIONS.register("first_error")
@dataclass(frozen=True)
class FirstError(Product):
    """The product, where in a bad response one step is to blame: the first wrong one; what follows is not judged."""

    def _posterior(self, scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
        """1 − P(this step is the first wrong one | label): (sentence, …)."""
        label = lift(labels, offsets, len(scores))
        blame = first_error_chances(scores, offsets)
        return torch.where(label.isnan(), scores, 1 - (1 - label) * blame)

    def _most_likely(self, scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
        """0 for the likeliest first error of a bad response and 1 for every other step."""
        label = lift(labels, offsets, len(scores))
        blame = first_error_chances(scores, offsets)
        worst = segment_first(blame == lift(segment_max(blame, offsets), offsets, len(scores)), offsets)
        told = torch.where(label > 0.5, torch.ones_like(worst), ~worst)
        return torch.where(label.isnan(), scores > 0.5, told).to(scores.dtype)


def first_error_chances(scores: Tensor, offsets: Tensor) -> Tensor:
    """P(step t is wrong, none before it | some step is wrong); equal shares where every score is 1: (sentence, …)."""
    size = len(scores)
    logs = scores.clamp(min=1e-300 if scores.dtype == torch.float64 else 1e-38).log()
    passed = logs.cumsum(0) - logs  # of all steps before, those of other responses too
    passed = (passed - lift(passed[offsets[:-1]], offsets, size)).exp()
    wrong = passed * (1 - scores)
    total = lift(-torch.expm1(segment_sum(logs, offsets)), offsets, size)
    count = lift(offsets.diff().to(scores.dtype).reshape(-1, *(1,) * (scores.ndim - 1)), offsets, size)
    blame = wrong / torch.where(total > 0, total, 1.0)
    return torch.where(total > 0, blame, (1 / count).expand_as(wrong)).clamp(max=1)
