"""How experts are weighed, and what labels cost under their log-odds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.segments import segment_mean

__all__ = ["ensemble_weights", "pair_similarity", "response_cost", "sentence_cost", "without_common"]

SHRINKAGE = 0.02  # how strongly blending weights are drawn to equal shares, in units of the cost


def without_common(logits: Tensor, offsets: Tensor, share: float) -> Tensor:
    """Take a share of their mean off the log-odds of a response's sentences: (sentence, …, member)."""
    if not share:
        return logits
    return logits - share * segment_mean(logits, offsets).repeat_interleave(offsets.diff().to(logits.device), dim=0)


def pair_similarity(logits: Tensor, offsets: Tensor, pairs: Tensor) -> float:
    """How alike the two responses of a pair are beside other responses: the correlation of their means, at least 0."""
    means = segment_mean(logits, offsets)[pairs[:, :2]]  # (pair, 2, …, 1)
    apart = means - means.mean()
    spread = float(apart.square().mean())
    return max(float(apart.prod(1).mean()) / spread, 0.0) if spread > 0 else 0.0


def sentence_cost(logits: Tensor, bags: Bags, aggregation: Aggregation) -> float:
    """What known sentence labels cost under these log-odds, scaled and shifted as suits them best."""
    scores = aggregation.sentence_scores(logits).squeeze(-1)
    known = ~bags.targets["gold"].isnan()
    return _refined(torch.logit(scores[known], eps=1e-6), bags.targets["gold"][known], shift=True)


def response_cost(logits: Tensor, bags: Bags, aggregation: Aggregation) -> float:
    """What known response labels or preferences cost under these log-odds of sentences (sentence, [level − 1,] 1).

    The log-odds of the response are first scaled and shifted as suits the labels best: forms of aggregation differ in
    how sure they are, and are here compared by how well they tell responses apart.
    """
    found = aggregation.from_logits(logits, bags.offsets).squeeze(-1)
    found = found if found.dim() == 1 else found.mean(1)
    if bags.pairs is not None and len(bags.pairs):
        strength = segment_mean(logits.squeeze(-1), bags.offsets)
        better, worse, tie = bags.pairs.unbind(1)
        known = bags.length_offset[better] - bags.length_offset[worse]
        return _refined(strength[better] - strength[worse], 1.0 - 0.5 * tie.float(), shift=False, known=known)
    known = ~bags.labels.isnan()
    return _refined(found[known], bags.labels[known], shift=True)


def _refined(lead: Tensor, target: Tensor, *, shift: bool, known: Tensor | None = None) -> float:
    """Cross-entropy of the best line through the log-odds, by Newton's steps; a negative slope is not allowed.

    What is `known` already is added to the line as it is.
    """
    lead, target = lead.double(), target.double()
    known = torch.zeros_like(lead) if known is None else known.double()
    lead = lead.clamp(-30, 30)
    columns = torch.stack([lead, torch.ones_like(lead)], 1) if shift else lead.unsqueeze(1)
    line = columns.new_zeros(columns.shape[1])
    for _ in range(25):
        chance = torch.sigmoid(columns @ line + known)
        slope = columns.T @ (chance - target) / len(lead) + 1e-4 * line
        bend = (columns * (chance * (1 - chance)).unsqueeze(1)).T @ columns / len(lead)
        step = torch.linalg.solve(bend + 1e-4 * torch.eye(len(line), dtype=bend.dtype), slope)
        line = line - step.clamp(-2, 2)
    if line[0] < 0:  # pointing the wrong way is no better than saying nothing
        line[0] = 0.0
        if shift:
            line[1] = torch.logit(target.mean(), eps=1e-6)
    fitted = columns @ line + known
    return float((F.softplus(fitted) - target * fitted).mean())


def ensemble_weights(
    held_out: Sequence[Tensor], cost_of: Callable[[Tensor], Tensor]
) -> tuple[tuple[float, ...], float]:
    """Choose how much each expert counts, and a shift, by what held-out labels cost: (weights of at least 0, shift).

    Few labels cannot tell weights apart, so all are drawn a little to equal shares.
    """
    stacked = torch.stack([logits.detach() for logits in held_out])  # (expert, sentence, …, 1)
    equal = 1 / len(stacked)
    weights = torch.full((len(stacked),), equal, requires_grad=True)
    shift = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, shift], max_iter=60, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        optimiser.zero_grad()
        blended = (stacked * weights.clamp(min=0).view(-1, *(1,) * (stacked.dim() - 1))).sum(0) + shift
        total = cost_of(blended) + SHRINKAGE * (weights - equal).square().sum()
        total.backward()
        return total

    optimiser.step(cost)
    found = weights.detach().clamp(min=0)
    if not bool(found.isfinite().all() & shift.isfinite().all()) or float(found.sum()) == 0:
        return (equal,) * len(stacked), 0.0
    return tuple(found.tolist()), float(shift.detach())
