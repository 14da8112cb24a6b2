"""How likely it is that k of a bag's independent sentences are 1, and which ones they then are: exact, in one sweep.

The scores of a bag are tilted (one number added to all log-odds) until about k sentences are expected. That changes
neither which sentences are likelier than others nor the posterior, and the likelihood by a known factor, but it takes
every number of the dynamic programme out of the reach of underflow, so that it runs without logarithms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fractal.mil.aggregations.logodds import tame, widened
from fractal.mil.segments import bag_index, lift, segment_max, segment_min, segment_sum

__all__ = ["count_log_likelihood", "label_counts", "poisson_binomial"]

BISECTIONS = 10  # the tilt need not be exact: it only keeps numbers of ordinary size
CELLS_AT_ONCE = 1 << 24  # bounds the memory of the dynamic programme


def label_counts(labels: Tensor, offsets: Tensor) -> Tensor:
    """Return how many sentences of each bag a label stands for: (bag, …); 0 where it is unknown."""
    size = offsets.diff().to(labels.dtype).reshape(-1, *(1,) * (labels.ndim - 1))
    return (torch.nan_to_num(labels, 0.0) * size + 0.5).floor()


def poisson_binomial(logits: Tensor, offsets: Tensor, counts: Tensor, posterior: bool = True) -> tuple[Tensor, Tensor]:
    """Return log P(count) (bag, …) and, if wanted, P(sentence = 1 | count) (sentence, …); no gradients."""
    tamed = tame(widened(logits)).detach().reshape(len(logits), -1)  # (sentence, column)
    wanted = counts.to(tamed.dtype).reshape(len(counts), -1).expand(-1, tamed.shape[1])  # (bag, column)
    bag = bag_index(offsets, len(logits))
    tilt = _tilt(tamed, offsets, bag, wanted)
    tilted = tamed + tilt.index_select(0, bag)
    log_p, after = _sweep(tilted.sigmoid(), offsets, wanted, posterior)
    factor = segment_sum(F.softplus(tilted) - F.softplus(tamed), offsets) - tilt * wanted
    return (log_p + factor).reshape(-1, *logits.shape[1:]), after.reshape(-1, *logits.shape[1:])


def _tilt(logits: Tensor, offsets: Tensor, bag: Tensor, wanted: Tensor) -> Tensor:
    """Find what to add to the log-odds so that about as many sentences are expected as wanted: (bag, column)."""
    size = offsets.diff().unsqueeze(1).to(logits.dtype)
    wanted = wanted.clamp(min=0.5).minimum(size - 0.5)  # all or none would need an endless tilt
    middle = torch.logit(wanted / size)
    low, high = middle - segment_max(logits, offsets), middle - segment_min(logits, offsets)
    for _ in range(BISECTIONS):
        tilt = (low + high) / 2
        expected = segment_sum((logits + tilt.index_select(0, bag)).sigmoid(), offsets)
        low, high = torch.where(expected < wanted, tilt, low), torch.where(expected < wanted, high, tilt)
    return (low + high) / 2


def _sweep(scores: Tensor, offsets: Tensor, counts: Tensor, posterior: bool) -> tuple[Tensor, Tensor]:
    """Run the dynamic programme over groups of bags of similar size."""
    columns = scores.shape[1]
    log_p, after = torch.empty_like(counts), torch.empty_like(scores) if posterior else scores[:0]
    sizes = offsets.diff()
    for bags in _by_size(sizes, columns):
        length = sizes[bags]  # falls
        place = torch.arange(int(length[0]), device=scores.device)
        inside = place < length.unsqueeze(1)  # (bag, place)
        rows = (offsets[bags].unsqueeze(1) + place)[inside]  # (sentence,)
        padded = scores.new_zeros(len(bags), len(place), columns)
        padded[inside] = scores[rows]
        # counting the rarer kind halves the width: k ones are n − k zeros
        turned = counts[bags] * 2 > length.unsqueeze(1)  # (bag, column)
        k = torch.where(turned, length.unsqueeze(1) - counts[bags], counts[bags]).long()
        p = torch.where(turned.unsqueeze(1), 1 - padded, padded).transpose(1, 2)  # (bag, column, place)
        chance, posteriors = _group(p.contiguous(), length, k, posterior)
        log_p[bags] = chance.log()
        if posterior:
            posteriors = torch.where(turned.unsqueeze(2), 1 - posteriors, posteriors)
            after[rows] = posteriors.transpose(1, 2)[inside]
    return log_p, after


def _by_size(sizes: Tensor, columns: int) -> Iterator[Tensor]:
    """Bags by falling size, cut wherever the size has halved or the memory would grow large."""
    order = sizes.argsort(descending=True, stable=True)
    doublings = (sizes[order] - 1).clamp(min=0).double().add(1).log2().ceil()
    for group in order.split(torch.unique_consecutive(doublings, return_counts=True)[1].tolist()):
        largest = int(sizes[group[0]])
        yield from group.split(max(1, CELLS_AT_ONCE // (columns * (largest + 1) * (largest // 2 + 1))))


def _group(p: Tensor, length: Tensor, k: Tensor, posterior: bool) -> tuple[Tensor, Tensor]:
    """P(count = k) (bag, column) and the posteriors (bag, column, place) of bags by falling size."""
    bags, columns, places = p.shape
    width = int(k.max()) + 1
    active = (length.unsqueeze(1) > torch.arange(places, device=p.device)).sum(0).tolist()  # bags with a sentence here
    # so_far[i, bag, column, j] = P(j of the first i sentences are 1)
    so_far = p.new_zeros(places + 1 if posterior else 1, bags, columns, width)
    so_far[0, ..., 0] = 1.0
    ended = so_far[0]
    for i in range(places):
        some, one = ended[: active[i]], p[: active[i], :, i : i + 1]
        grown = some * (1 - one)
        grown[..., 1:] += some[..., :-1] * one
        if posterior:
            so_far[i + 1, : active[i]] = grown
            so_far[i + 1, active[i] :] = ended[active[i] :]
            ended = so_far[i + 1]
        else:
            ended[: active[i]] = grown
    chance = ended.gather(2, k.unsqueeze(2)).squeeze(2)
    if not posterior:
        return chance, p[..., :0]
    posteriors = torch.zeros_like(p)
    # to_come[bag, column, j] = P(the sentences from here on bring j up to k)
    to_come = torch.zeros_like(ended).scatter_(2, k.unsqueeze(2), 1.0)
    for i in reversed(range(places)):
        some, one, rest = so_far[i, : active[i]], p[: active[i], :, i : i + 1], to_come[: active[i]]
        posteriors[: active[i], :, i] = one.squeeze(2) * _steady_sum(some[..., :-1] * rest[..., 1:])
        grown = rest * (1 - one)
        grown[..., :-1] += rest[..., 1:] * one
        to_come[: active[i]] = grown
    return chance, (posteriors / chance.unsqueeze(2)).clamp(0, 1)


def _steady_sum(values: Tensor) -> Tensor:
    """Add up the last axis in one order, so that zeros behind, of which other bags ask for some, change no bit."""
    return values.cumsum(-1)[..., -1] if values.shape[-1] else values.sum(-1)


class _CountLikelihood(torch.autograd.Function):
    """The gradient of log P(count) by a log-odds is what the count says of the sentence beyond its score."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, offsets: Tensor, counts: Tensor) -> Tensor:
        log_p, after = poisson_binomial(logits, offsets, counts, posterior=ctx.needs_input_grad[0])
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(after - logits.sigmoid(), offsets)
        return log_p

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        surplus, offsets = ctx.saved_tensors
        return lift(grads[0], offsets, len(surplus)) * surplus, None, None


def count_log_likelihood(logits: Tensor, offsets: Tensor, counts: Tensor) -> Tensor:
    """Return log P(count) of independent sentences: (bag, …), with its gradient."""
    log_p: Tensor = _CountLikelihood.apply(logits, offsets, counts)
    return log_p
