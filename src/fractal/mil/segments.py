"""Reductions over ragged bags: the first axis is cut at offsets, axes after it are carried along.

No bag may be empty. Where several sentences share the extreme, `segment_min` and `segment_max` spread the gradient
evenly over them: the sub-gradient that does not depend on the order of the sentences.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = [
    "bag_index",
    "lift",
    "ragged_rows",
    "segment_first",
    "segment_max",
    "segment_mean",
    "segment_min",
    "segment_prod",
    "segment_rank",
    "segment_running_sum",
    "segment_softmax",
    "segment_sum",
]


def bag_index(offsets: Tensor, size: int | None = None) -> Tensor:
    """Say for every sentence which bag it is in; the size, where known, spares a GPU from waiting for it."""
    bags = torch.arange(len(offsets) - 1, device=offsets.device)
    return torch.repeat_interleave(bags, offsets.diff(), output_size=size)


def lift(values: Tensor, offsets: Tensor, size: int) -> Tensor:
    """Give every sentence the value of its bag: (bag, …) → (sentence, …)."""
    return values.index_select(0, bag_index(offsets, size))


def _reduce(values: Tensor, how: str, offsets: Tensor) -> Tensor:
    # unsafe leaves out checks of the lengths, which would make a GPU wait
    reduced: Tensor = torch.segment_reduce(values, how, lengths=offsets.diff(), axis=0, unsafe=True)
    return reduced


class _Extreme(torch.autograd.Function):
    """The smallest or largest of each bag. Torch's own gradient gives equal ones a negative slope whole, not shared."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, offsets: Tensor, how: str) -> Tensor:
        """Return the extremes (bag, …)."""
        extremes = _reduce(values, how, offsets)
        ctx.save_for_backward(values, extremes, offsets)
        return extremes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Share each bag's slope evenly among those that are the extreme."""
        values, extremes, offsets = ctx.saved_tensors
        bag = bag_index(offsets, len(values))
        equal = (values == extremes.index_select(0, bag)).to(values.dtype)
        shares = gradients[0] / segment_sum(equal, offsets)
        return shares.index_select(0, bag) * equal, None, None


def segment_sum(values: Tensor, offsets: Tensor) -> Tensor:
    """Add up the sentences of each bag."""
    return _reduce(values, "sum", offsets)


def segment_mean(values: Tensor, offsets: Tensor) -> Tensor:
    """Average the sentences of each bag."""
    return _reduce(values, "mean", offsets)


def segment_min(values: Tensor, offsets: Tensor) -> Tensor:
    """Take the smallest of each bag; equal smallest sentences share the gradient."""
    smallest: Tensor = _Extreme.apply(values, offsets, "min")
    return smallest


def segment_max(values: Tensor, offsets: Tensor) -> Tensor:
    """Take the largest of each bag; equal largest sentences share the gradient."""
    largest: Tensor = _Extreme.apply(values, offsets, "max")
    return largest


def segment_prod(values: Tensor, offsets: Tensor) -> Tensor:
    """Multiply the sentences of each bag; the gradient is right at zeros as well."""
    return _reduce(values, "prod", offsets)


def segment_softmax(values: Tensor, offsets: Tensor) -> Tensor:
    """Weights proportional to the exponential, which add up to 1 in each bag: (sentence, …)."""
    bag = bag_index(offsets, len(values))
    raised = (values - segment_max(values.detach(), offsets).index_select(0, bag)).exp()
    return raised / segment_sum(raised, offsets).index_select(0, bag)


def segment_first(chosen: Tensor, offsets: Tensor) -> Tensor:
    """Of the chosen sentences keep the first of each bag: a mask (sentence, …)."""
    so_far = chosen.long().cumsum(0)
    before = (so_far - chosen.long()).index_select(0, offsets[:-1])  # (bag, …): how many stand in earlier bags
    return chosen & (so_far - lift(before, offsets, len(chosen)) == 1)


def segment_rank(values: Tensor, offsets: Tensor) -> Tensor:
    """Say how many sentences of its bag stand above each one; of equals the earlier stands above the later."""
    flat = values.reshape(len(values), -1).T.contiguous()  # (column, sentence): sorting rows is fast
    order = flat.argsort(dim=1, descending=True, stable=True)
    bag = bag_index(offsets, len(values))
    order = order.gather(1, bag[order].argsort(dim=1, stable=True))  # by bag, and inside it by value
    place = torch.arange(len(values), device=values.device) - offsets[:-1].index_select(0, bag)
    rank = torch.empty_like(order).scatter_(1, order, place.expand_as(order))
    return rank.T.reshape(values.shape)


def segment_running_sum(values: Tensor, offsets: Tensor) -> Tensor:
    """Add up the sentences of each bag up to each one, itself included: (sentence, …), nothing of other bags."""
    sizes = offsets.diff()
    bag = bag_index(offsets, len(values))
    place = torch.arange(len(values), device=values.device) - offsets[:-1].index_select(0, bag)
    padded = values.new_zeros(len(sizes), int(sizes.max()), *values.shape[1:])
    summed: Tensor = padded.index_put((bag, place), values).cumsum(1)[bag, place]
    return summed


def ragged_rows(offsets: Tensor, bags: Tensor, size: int | None = None) -> tuple[Tensor, Tensor]:
    """Return which rows make up these bags, in this order, and the offsets at which they then stand."""
    starts = offsets.index_select(0, bags)
    lengths = offsets.index_select(0, bags + 1) - starts  # only of these bags: a batch must not cost a look at all
    cut = torch.cat([offsets.new_zeros(1), lengths.cumsum(0)])
    shift = torch.repeat_interleave(starts - cut[:-1], lengths, output_size=size)
    return shift + torch.arange(len(shift), device=offsets.device), cut
