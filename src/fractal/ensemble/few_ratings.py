"""Few ratings: similarity alone as one more expert, and weights of experts trusted less, until labels speak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.datasets import ExpertData
from fractal.ensemble.initialisation import InitialLogits, similarity_logits
from fractal.ensemble.specs import ExpertSpec
from fractal.ensemble.weighting import SHRINKAGE
from fractal.features.pipeline import FeaturePipeline
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.head import Head, HeadShape
from fractal.mil.objectives.base import Scores
from fractal.mil.objectives.losses import ResponseLoss
from fractal.mil.optimise import minimise

__all__ = ["SIMILARITY", "fitted_lines", "shrinkage_of", "similarity_expert", "target_weights"]

SIMILARITY = ExpertSpec(("cosine",), linear=True)
ENOUGH = 500  # ratings from which on they alone decide
WORTH = 50  # ratings at which similarity counts as much as all that was learned
SLOPE, SPREAD = 0.5, 0.5  # of log-odds by a standard deviation of similarity: what is believed before any label
LEAST_SLOPE = 0.05  # below, similarity says nothing
RIDGE = 1e-4
STEPS = 50


def shrinkage_of(ratings: int) -> float:
    """Return how strongly weights of experts are drawn to those that are expected: more with few ratings."""
    return SHRINKAGE * max(1.0, ENOUGH / max(ratings, 1))


def target_weights(experts: Sequence[ExpertSpec], ratings: int) -> tuple[float, ...]:
    """Return the weights that are expected: similarity counts as `WORTH` ratings, the learned experts share the rest.

    All are equal where similarity is not among them.
    """
    share = WORTH / (WORTH + ratings) if SIMILARITY in experts else 0.0
    learned = sum(spec != SIMILARITY for spec in experts)
    return tuple(share if spec == SIMILARITY else (1 - share) / learned for spec in experts)


def similarity_expert(
    block: EncodedBlock, learned: Sequence[ExpertData], aggregation: Aggregation, seed: int
) -> tuple[ExpertData, Head] | None:
    """Return an expert that reads similarity alone, by a line a member; nothing where it would say nothing.

    It is made where few responses are rated, no pair is given, and the learned experts compare sentences with their
    context or query. `learned` holds the data of these experts, from whose bags come labels and folds.
    """
    bags, similarity = learned[0].bags, learned[0].similarity
    rated = int((~bags.labels.isnan()).sum())
    compares = any("cosine" in data.spec.features for data in learned)
    has_pairs = bags.pairs is not None and len(bags.pairs) > 0
    if not (0 < rated < ENOUGH and compares) or has_pairs or bool(np.isnan(similarity).all()):
        return None
    start = _standardised(similarity)
    initial = torch.from_numpy(start(similarity))
    slopes, heights = fitted_lines(initial, bags, aggregation)
    if bool((slopes < LEAST_SLOPE).all()):
        return None
    pipeline, table = FeaturePipeline.fit(block, SIMILARITY.features, 0, seed)
    columns = torch.from_numpy(table.dense)
    shape = HeadShape(columns.shape[1], (), len(slopes), (), aggregation.thresholds)
    head = Head(shape)
    with torch.no_grad():
        head.scale.copy_(slopes)
        head.shift.copy_(heights.expand_as(head.shift))
    read = replace(bags, features=columns, shared=(), initial_logits=initial)
    return ExpertData(SIMILARITY, read, pipeline, similarity, start), head.eval()


def _standardised(similarity: NDArray[np.float32]) -> InitialLogits:
    logits = similarity_logits(similarity)
    return InitialLogits(1 / (float(np.nanstd(logits)) or 1.0), float(np.nanmean(logits)))


def fitted_lines(initial: Tensor, bags: Bags, aggregation: Aggregation) -> tuple[Tensor, Tensor]:
    """Return each member's slope, at least 0, and height of the log-odds (sentence,): the likeliest by what it sees.

    Before any label a slope is near `SLOPE`; as ratings come that belief counts less.
    """
    levels = (1,) * (aggregation.thresholds > 1)
    loss, seen = ResponseLoss(), ((bags.weights > 0) & ~bags.labels.isnan().unsqueeze(1)).sum(0).clamp(min=1)

    def cost(slopes: Tensor, heights: Tensor) -> Tensor:
        logits = (initial.unsqueeze(1) * slopes + heights).view(-1, *levels, len(slopes))
        logits = logits.expand(-1, aggregation.thresholds, -1) if levels else logits
        belief = (slopes - SLOPE).square() / (2 * SPREAD**2 * seen)
        return (loss(Scores(logits, bags.offsets, aggregation), bags) + belief + RIDGE * heights.square()).sum()

    members = bags.weights.shape[1]
    slopes, heights = minimise([torch.full((members,), SLOPE), torch.zeros(members)], cost, STEPS)
    return slopes.clamp(min=0), heights
