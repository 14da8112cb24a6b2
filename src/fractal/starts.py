"""Where a head may start: at even odds, or at what similarity alone says once it is calibrated on response labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from fractal.aggregations import Aggregation
from fractal.bags import Bags
from fractal.losses import PreferenceLoss, ResponseLoss, SentenceLoss
from fractal.preparation import Prior, prior_logits
from fractal.terms import Scores, Term

__all__ = ["calibrated_prior", "label_terms", "labels_cost", "starts"]


def label_terms(bags: Bags, gold_weight: float = 0.0) -> tuple[Term, ...]:
    """What reads labels: preferences where there are some, ratings where there are some, and known sentence labels.

    A sentence's label weighs as much as a response's: n labels in one response as much as n responses that are rated,
    or n differences that pairs tell. What a response's label tells is then told of the sentences that have none.
    """
    rated = bool((~bags.labels.isnan()).any())
    known = int((~bags.targets["gold"].isnan()).sum()) if "gold" in bags.targets and gold_weight > 0 else 0
    given = "gold" if known else ""
    terms: list[Term] = []
    if bags.pairs is not None and len(bags.pairs):
        terms.append(PreferenceLoss(kind="logit", given=given))
    if not terms or rated:
        terms.append(ResponseLoss(given=given))
    if known:
        terms.append(SentenceLoss(weight=gold_weight * known / max(_told(bags), 1)))
    return tuple(terms)


def _told(bags: Bags) -> int:
    """How much labels of responses tell: each rating one thing, all pairs among k responses k − 1 differences."""
    rated = ~bags.labels.isnan()
    if bags.pairs is None or not len(bags.pairs):
        return int(rated.sum())
    ends, compared = bags.pairs[:, :2].cpu().numpy().T, bags.pairs[:, :2].unique()
    joined = coo_array((np.ones(len(bags.pairs)), tuple(ends)), shape=(len(bags), len(bags)))
    parts = connected_components(joined, directed=False, return_labels=False) - (len(bags) - len(compared))
    both = rated.clone()
    both[compared] = True
    return min(int(rated.sum()) + len(compared) - int(parts), int(both.sum()))


def starts(start: str, similarity: NDArray[np.float32], bags: Bags, aggregation: Aggregation) -> Mapping[str, Prior]:
    """Where a head may start: at even odds, or at the calibrated similarity to what the response answers to."""
    even = {"even odds": Prior()}
    if start == "even" or bool(np.isnan(similarity).all()):
        return even
    prior = calibrated_prior(similarity, bags, aggregation)
    if prior.scale <= 0:
        return even  # the similarity points the wrong way, or nowhere
    return {"prior": prior} if start == "prior" else {**even, "prior": prior}


def calibrated_prior(similarity: NDArray[np.float32], bags: Bags, aggregation: Aggregation) -> Prior:
    """Return the scale and centre under which the similarity alone explains the response labels best."""
    known = prior_logits(similarity)
    middle, spread = float(np.nanmean(known)), float(np.nanstd(known)) or 1.0
    given = torch.from_numpy(np.nan_to_num((known - middle) / spread)).float().unsqueeze(-1)
    given = given if aggregation.thresholds == 1 else given.unsqueeze(-1).expand(-1, aggregation.thresholds, 1)
    flat = replace(bags, weights=torch.ones(len(bags), 1))
    slope, height = _best_line(labels_cost(flat, aggregation), given)
    if not (np.isfinite(slope) and np.isfinite(height)) or slope <= 0:
        return Prior()
    return Prior(scale=slope / spread, centre=middle - height * spread / slope)


def labels_cost(bags: Bags, aggregation: Aggregation, gold_weight: float = 0.0) -> Callable[[Tensor], Tensor]:
    """Return what all labels cost under given log-odds of sentences (sentence, [level − 1,] 1)."""
    terms = label_terms(bags, gold_weight)

    def cost(logits: Tensor) -> Tensor:
        scores = Scores(logits, bags.offsets, aggregation)
        return torch.stack([term.weight * term(scores, bags) for term in terms]).sum()

    return cost


def _best_line(cost_of: Callable[[Tensor], Tensor], given: Tensor) -> tuple[float, float]:
    line = torch.zeros(2, requires_grad=True)  # slope, height
    optimiser = torch.optim.LBFGS([line], max_iter=50, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        optimiser.zero_grad()
        total = cost_of(given * line[0] + line[1]) + 1e-4 * line.square().sum()
        total.backward()
        return total

    optimiser.step(cost)
    slope, height = line.detach().tolist()
    return slope, height
