"""Which terms read the labels there are, and what these cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from fractal.ensemble.config import FitConfig
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.objectives.aspects import AspectTerm, MultiAspect, held_out_by_aspect
from fractal.mil.objectives.base import Scores, Term
from fractal.mil.objectives.losses import PreferenceLoss, ResponseLoss, SentenceLoss
from fractal.mil.training.plan import Objective

__all__ = ["gold_cost", "label_terms", "labels_cost", "objective_of"]


def objective_of(
    aspects: Mapping[str, Aggregation], columns: Sequence[str], bags: Bags, config: FitConfig
) -> Objective:
    """Return what a head trains on: the labels there are, or those of several aspects beside each other, and priors.

    `columns` names the columns of the labels, where these are of several aspects.
    """
    if bags.labels.dim() > 1:
        shared = MultiAspect.of([(name, columns.index(name), rule) for name, rule in aspects.items()])
        kind = "likelihood" if config.loss == "auto" else config.loss
        losses = [_response_loss(bags.labels[:, a.column], kind, config.class_weights) for a in shared.aspects]
        each = [AspectTerm.of(loss, a) for loss, a in zip(losses, shared.aspects, strict=True)]
        each += [AspectTerm.of(term, a) for term in config.priors for a in shared.aspects]
        validation, count = held_out_by_aspect(shared.aspects), len(shared.aspects)
        return Objective(tuple(each), shared, config.plan.curriculum, validation, reads_labels=count)
    aggregation = next(iter(aspects.values()))
    if config.supervised:
        return Objective((SentenceLoss(),), aggregation, validation_loss="gold")
    terms = label_terms(bags, config.gold_weight, config.loss, config.class_weights)
    return Objective((*terms, *config.priors), aggregation, config.plan.curriculum, reads_labels=len(terms))


def label_terms(
    bags: Bags, gold_weight: float = 0.0, loss: str = "auto", class_weights: str | float = "none"
) -> tuple[Term, ...]:
    """What reads labels: preferences where there are some, ratings where there are some, and known sentence labels.

    A sentence's label weighs as much as a response's: n labels in one response as much as n responses that are rated,
    or n differences that pairs tell. What a response's label tells is then told of the sentences that have none.
    """
    rated = bool((~bags.labels.isnan()).any())
    labelled = int((~bags.targets["gold"].isnan()).sum()) if "gold" in bags.targets and gold_weight > 0 else 0
    observed = "gold" if labelled else ""
    terms: list[Term] = []
    if bags.pairs is not None and len(bags.pairs):
        terms.append(PreferenceLoss(kind="ratio" if loss == "ratio" else "logit", observed=observed))
    if not terms or rated:
        kind = "likelihood" if loss in ("auto", "ratio") else loss
        terms.append(_response_loss(bags.labels, kind, class_weights, observed))
    if labelled:
        terms.append(SentenceLoss(weight=gold_weight * labelled / max(_label_count(bags), 1)))
    return tuple(terms)


def _response_loss(labels: Tensor, kind: str, class_weights: str | float, observed: str = "") -> ResponseLoss:
    """Return the loss on labels of responses; balanced, good and bad ones weigh as if they were equally many.

    A number stands for the share of good ones where the responses at hand are not drawn as those to come.
    """
    shares = {"none": 0.5, "balanced": float(labels[~labels.isnan()].mean())}
    share = shares[class_weights] if isinstance(class_weights, str) else class_weights
    return ResponseLoss(kind=kind, observed=observed, good_share=min(max(share, 1e-3), 1 - 1e-3))


def _label_count(bags: Bags) -> int:
    """How much labels of responses tell: each rating counts one, all pairs among k responses k − 1 differences."""
    rated = ~bags.labels.isnan()
    if bags.pairs is None or not len(bags.pairs):
        return int(rated.sum())
    ends, compared = bags.pairs[:, :2].cpu().numpy().T, bags.pairs[:, :2].unique()
    joined = coo_array((np.ones(len(bags.pairs)), tuple(ends)), shape=(len(bags), len(bags)))
    parts = connected_components(joined, directed=False, return_labels=False) - (len(bags) - len(compared))
    both = rated.clone()
    both[compared] = True
    return min(int(rated.sum()) + len(compared) - int(parts), int(both.sum()))


def labels_cost(bags: Bags, aggregation: Aggregation, gold_weight: float = 0.0) -> Callable[[Tensor], Tensor]:
    """Return what all labels cost under given log-odds of sentences (sentence, [level − 1,] 1)."""
    terms = label_terms(bags, gold_weight)

    def cost(logits: Tensor) -> Tensor:
        scores = Scores(logits, bags.offsets, aggregation)
        return torch.stack([term.weight * term(scores, bags) for term in terms]).sum()

    return cost


def gold_cost(bags: Bags, aggregation: Aggregation) -> Callable[[Tensor], Tensor]:
    """Return what sentence labels cost under given log-odds of sentences."""

    def cost(logits: Tensor) -> Tensor:
        return SentenceLoss()(Scores(logits, bags.offsets, aggregation), bags).sum()

    return cost
