"""Columns and bags for each expert to come; experts that read the same columns share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.length_bias import length_advantage
from fractal.ensemble.prior import Prior
from fractal.ensemble.specs import Sketch
from fractal.ensemble.tensors import lay_bags
from fractal.features import prior_similarity
from fractal.features.pipeline import Columns
from fractal.mil.bags import Bags
from fractal.mil.objectives.base import Term
from fractal.mil.objectives.priors import ColumnPrior, CorrelationPrior, relate
from fractal.mil.training.plan import TrainingPlan
from fractal.records.corpus import Corpus

__all__ = ["Laid", "lay_experts"]


@dataclass(frozen=True, eq=False)
class Laid:
    """The bags of one expert's columns, and what is needed to lay others alike."""

    sketch: Sketch
    bags: Bags
    columns: Columns
    similarity: NDArray[np.float32]
    prior: Prior = field(default_factory=Prior)

    def starting_at(self, prior: Prior) -> Self:
        """Return the same bags for a head that starts at a prior."""
        return replace(self, prior=prior, bags=replace(self.bags, prior=torch.from_numpy(prior(self.similarity))))

    def told(self, guesses: Tensor) -> Self:
        """Return the same bags with guessed sentence labels."""
        return replace(self, bags=self.bags.with_targets(pseudo=guesses))


def lay_experts(
    block: EncodedBlock,
    corpus: Corpus,
    sketches: Sequence[Sketch],
    *,
    priors: Sequence[Term],
    directions: int,
    plan: TrainingPlan,
) -> list[Laid]:
    """Lay the bags of each expert, with what the priors read."""
    similarity = prior_similarity(block)
    own = [term.column for term in priors if isinstance(term, ColumnPrior)]
    lengths_told = plan.length_control and len(corpus.pairs) > 0
    advantage = length_advantage(corpus.responses, corpus.pairs) if lengths_told else None
    correlated = any(isinstance(term, CorrelationPrior) for term in priors)
    read: dict[tuple[tuple[str, ...], int], tuple[Bags, Columns]] = {}
    wanted = [(sketch.features, sketch.kept(directions)) for sketch in sketches]
    for features, kept in dict.fromkeys(wanted):
        columns, table = Columns.fit(block, features, kept, plan.seed)
        bags = lay_bags(
            block,
            table,
            Prior(),
            corpus=corpus,
            columns=own,
            members=plan.members,
            folds=plan.folds,
            seed=plan.seed,
            advantage=advantage,
        )
        if correlated:
            bags = replace(bags, relations=relate(replace(bags, vectors=torch.from_numpy(block.sentences))))
        read[features, kept] = bags, columns
    return [Laid(sketch, *read[key], similarity) for sketch, key in zip(sketches, wanted, strict=True)]
