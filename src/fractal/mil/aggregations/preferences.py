"""The likeliest sentence labels of two responses of which one is preferred: its share of good sentences is larger."""

from __future__ import annotations

import torch
from torch import Tensor

from fractal.mil.segments import lift, ragged_rows, segment_first, segment_max, segment_rank

__all__ = ["preferred_labels"]


def preferred_labels(scores: Tensor, offsets: Tensor, pairs: Tensor) -> Tensor:
    """Return the likeliest labels with mean(better) > mean(worse) in every pair: (sentence, …).

    Exact for each pair (better bag, worse bag, tie): for every number of good sentences the likeliest ones are those
    of the highest scores, and for every number in the better response the best number in the worse one is known. A
    response of several pairs gets the mean of its labels; of none, or in a tie, its scores are rounded.
    """
    flat = scores.reshape(len(scores), -1)  # (sentence, column)
    rank = segment_rank(flat, offsets)
    gain = _gains(flat, offsets, rank)
    rounded = torch.where(flat > 0.5, 1.0, 0.0)
    votes, voters = torch.zeros_like(gain), torch.zeros_like(gain)
    strict = pairs[pairs[:, 2] == 0] if len(pairs) else pairs
    if len(strict):
        better, worse = strict[:, 0], strict[:, 1]
        for bags, counts in zip((better, worse), _counts(flat, gain, offsets, better, worse), strict=True):
            rows, cut = ragged_rows(offsets, bags)
            votes.index_add_(0, rows, (rank[rows] < lift(counts, cut, len(rows))).to(votes.dtype))
            voters.index_add_(0, rows, torch.ones_like(gain[rows]))
    return torch.where(voters > 0, votes / voters.clamp(min=1), rounded).to(scores.dtype).reshape(scores.shape)


def _gains(scores: Tensor, offsets: Tensor, rank: Tensor) -> Tensor:
    """How much likelier labels become when the best 1, 2, … sentences of a bag are good: (sentence, column)."""
    place = rank + lift(offsets[:-1], offsets, len(scores)).unsqueeze(1)
    falling = torch.zeros_like(scores, dtype=torch.float64)
    falling.scatter_(0, place, torch.logit(scores.double(), eps=1e-12))
    total = falling.cumsum(0)
    before = total.index_select(0, offsets[:-1]) - falling.index_select(0, offsets[:-1])
    return total - lift(before, offsets, len(scores))


def _counts(scores: Tensor, gain: Tensor, offsets: Tensor, better: Tensor, worse: Tensor) -> tuple[Tensor, Tensor]:
    """How many sentences are good in the better and in the worse response of each pair: (pair, column) each."""
    sizes = offsets.diff()
    rows, cut = ragged_rows(offsets, better)  # one row for each number from 1 to the better one's length
    number = torch.arange(1, len(rows) + 1, device=rows.device) - lift(cut[:-1], cut, len(rows))
    mine, theirs = (lift(sizes.index_select(0, bags), cut, len(rows)) for bags in (better, worse))
    most = torch.div(number * theirs - 1, mine, rounding_mode="floor").unsqueeze(1)  # the largest share still below
    positive = (scores > 0.5).long()
    so_far = positive.cumsum(0)
    before = so_far.index_select(0, offsets[:-1]) - positive.index_select(0, offsets[:-1])
    liked = so_far.index_select(0, offsets[1:] - 1) - before  # (bag, column): as many as their scores say
    other = most.minimum(lift(liked.index_select(0, worse), cut, len(rows)))  # gains rise up to there, then fall
    start = lift(offsets.index_select(0, worse), cut, len(rows)).unsqueeze(1)
    theirs_gain = torch.where(other > 0, gain.gather(0, (start + other - 1).clamp(min=0)), 0.0)
    value = gain.index_select(0, rows) + theirs_gain
    chosen = segment_first(value == lift(segment_max(value, cut), cut, len(rows)), cut)
    place = chosen.T.nonzero()[:, 1].reshape(scores.shape[1], len(better)).T  # (pair, column): one is chosen in each
    return number[place], other.gather(0, place)
