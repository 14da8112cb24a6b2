"""How experts are weighed, and what labels cost under their log-odds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.evaluation.solvers import logistic_line, with_constant
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.optimise import minimise
from fractal.mil.segments import segment_mean

__all__ = [
    "SHRINKAGE",
    "ensemble_weights",
    "held_out_only",
    "of_unseen",
    "pair_similarity",
    "refined_log_loss",
    "response_cost",
    "sentence_cost",
    "without_common",
]

SHRINKAGE = 0.02  # how strongly ensemble weights are drawn to equal shares, in units of the cost
RIDGE = 1e-4


def without_common(logits: Tensor, offsets: Tensor, share: float) -> Tensor:
    """Take a share of their mean off the log-odds of a response's sentences: (sentence, …, member)."""
    if not share:
        return logits
    return logits - share * segment_mean(logits, offsets).repeat_interleave(offsets.diff().to(logits.device), dim=0)


def held_out_only(bags: Bags) -> Bags:
    """Return the bags with the labels and pairs alone that some member held out; all of them where none was.

    What is controlled is as the members saw it that held each bag out.
    """
    bags = bags.with_offsets(partial(of_unseen, weights=bags.weights))
    unseen = (bags.weights == 0).any(1)
    if bool(unseen.all()) or not bool((unseen & ~_unlabelled(bags)).any()):
        return bags
    sentences = unseen[bags.sentence_bag]
    labels = bags.labels.where(unseen if bags.labels.dim() == 1 else unseen.unsqueeze(1), torch.nan)
    targets = {name: values.where(sentences, torch.nan) for name, values in bags.targets.items()}
    pairs = None if bags.pairs is None else bags.pairs[unseen[bags.pairs[:, :2]].all(1)]
    return replace(bags, labels=labels, targets=targets, pairs=pairs)


def of_unseen(offset: Tensor, weights: Tensor) -> Tensor:
    """Return the mean offset by the members that held a bag out, by all where none did: (bag, [aspect,] 1)."""
    if offset.shape[-1] == 1:
        return offset
    unseen = weights == 0  # (bag, member)
    by = torch.where(unseen.any(1, keepdim=True), unseen, True).to(offset.dtype)
    by = by.view(len(by), *(1,) * (offset.dim() - 2), -1)
    return (offset * by).sum(-1, keepdim=True) / by.sum(-1, keepdim=True)


def _unlabelled(bags: Bags) -> Tensor:
    """Which bags tell nothing: no label of their own, none of a sentence, no pair (bag,)."""
    known = ~bags.labels.isnan() if bags.labels.dim() == 1 else ~bags.labels.isnan().all(1)
    known = known.clone()
    for values in bags.targets.values():
        known[bags.sentence_bag[~values.isnan()]] = True
    if bags.pairs is not None:
        known[bags.pairs[:, :2].flatten()] = True
    return ~known


def pair_similarity(logits: Tensor, offsets: Tensor, pairs: Tensor) -> float:
    """How alike the two responses of a pair are beside other responses: the correlation of their means, at least 0."""
    means = segment_mean(logits, offsets)[pairs[:, :2]]  # (pair, 2, …, 1)
    apart = means - means.mean()
    spread = float(apart.square().mean())
    return max(float(apart.prod(1).mean()) / spread, 0.0) if spread > 0 else 0.0


def sentence_cost(logits: Tensor, bags: Bags, aggregation: Aggregation) -> float:
    """What known sentence labels cost under these log-odds, scaled and shifted as suits them best."""
    gold = bags.targets["gold"]
    labelled = ~gold.isnan()
    scores = torch.logit(aggregation.sentence_scores(logits).squeeze(-1)[labelled], eps=1e-6)
    return float(refined_log_loss(scores, gold[labelled]).mean())


def response_cost(logits: Tensor, bags: Bags, aggregation: Aggregation) -> float:
    """What known response labels or preferences cost under these log-odds of sentences (sentence, [level − 1,] 1).

    The log-odds of the response are first scaled and shifted as suits the labels best: forms of aggregation differ in
    how sure they are, and are here compared by how well they tell responses apart.
    """
    if bags.pairs is not None and len(bags.pairs):
        strength = segment_mean(logits.squeeze(-1), bags.offsets)
        better, worse, tie = bags.pairs.unbind(1)
        lead, label = strength[better] - strength[worse], 1.0 - 0.5 * tie.float()
        offset = bags.preference_offset
        offset = None if offset is None else (offset[better] - offset[worse]).squeeze(-1)
        return float(refined_log_loss(lead, label, shift=False, offset=offset).mean())
    response_logits = aggregation.from_logits(logits, bags.offsets).squeeze(-1)
    response_logits = response_logits if response_logits.dim() == 1 else response_logits.mean(1)
    rated = ~bags.labels.isnan()
    offset = None if bags.rating_offset is None else bags.rating_offset[rated].squeeze(-1)
    return float(refined_log_loss(response_logits[rated], bags.labels[rated], offset=offset).mean())


def refined_log_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    shift: bool = True,
    offset: Tensor | None = None,
    beside: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Log-loss of each label under the best line through the log-odds; a negative slope is not allowed: (case,).

    An `offset` is added to the line as it is. What stands `beside` (case, column) explains labels too, by weights of
    its own.
    """
    truth = labels.double().numpy()
    fixed = np.zeros(len(truth)) if offset is None else offset.double().numpy()
    lead = logits.double().clamp(-30, 30).numpy()
    lead = lead[:, None] if beside is None else np.column_stack([lead, beside])
    columns = with_constant(lead) if shift else lead
    line = logistic_line(columns, truth, RIDGE, offset=fixed, steps=25, longest_step=2.0)
    if line[0] < 0:  # pointing the wrong way is no better than saying nothing
        line[0] = 0.0
        if beside is not None:
            line[1:] = logistic_line(columns[:, 1:], truth, RIDGE, offset=fixed, steps=25, longest_step=2.0)
        elif shift:
            line[1] = float(torch.logit(labels.double().mean(), eps=1e-6))
    fitted = columns @ line + fixed
    return np.logaddexp(0.0, fitted) - truth * fitted


def ensemble_weights(
    held_out: Sequence[Tensor],
    cost_of: Callable[[Tensor], Tensor],
    target: Sequence[float] | None = None,
    shrinkage: float = SHRINKAGE,
) -> tuple[tuple[float, ...], float]:
    """Choose how much each expert counts, and a shift, by what held-out labels cost: (weights of at least 0, shift).

    Few labels cannot tell weights apart, so all are drawn a little to a target, by default equal shares.
    """
    stacked = torch.stack([logits.detach() for logits in held_out])  # (expert, sentence, …, 1)
    target = (1 / len(stacked),) * len(stacked) if target is None else tuple(target)
    expected = torch.tensor(target)

    def cost(weights: Tensor, shift: Tensor) -> Tensor:
        logits = (stacked * weights.clamp(min=0).view(-1, *(1,) * (stacked.dim() - 1))).sum(0) + shift
        return cost_of(logits) + shrinkage * (weights - expected).square().sum()

    weights, shift = minimise([expected, torch.zeros(1)], cost, steps=60)
    weights = weights.clamp(min=0)
    if not bool(weights.isfinite().all() & shift.isfinite().all()) or float(weights.sum()) == 0:
        return target, 0.0
    return tuple(weights.tolist()), float(shift)
