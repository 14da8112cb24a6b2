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
from fractal.ensemble.length_bias import length_offsets
from fractal.ensemble.prior import InitialLogits
from fractal.ensemble.specs import ExpertSpec
from fractal.ensemble.tensors import build_bags
from fractal.features import prior_similarity
from fractal.features.pipeline import FeaturePipeline
from fractal.mil.bags import Bags
from fractal.mil.objectives.base import Term
from fractal.mil.objectives.priors import ColumnPrior, CorrelationPrior, pairwise_similarity
from fractal.mil.training.plan import TrainingPlan
from fractal.records.corpus import Corpus

__all__ = ["ExpertData", "build_training_sets"]


@dataclass(frozen=True, eq=False)
class ExpertData:
    """The bags of one expert's columns, and what is needed to lay others alike."""

    spec: ExpertSpec
    bags: Bags
    columns: FeaturePipeline
    similarity: NDArray[np.float32]
    initial: InitialLogits = field(default_factory=InitialLogits)

    def starting_at(self, initial: InitialLogits) -> Self:
        """Return the same bags for a head that starts elsewhere."""
        return replace(
            self, initial=initial, bags=replace(self.bags, initial_logits=torch.from_numpy(initial(self.similarity)))
        )

    def with_pseudo_labels(self, guesses: Tensor) -> Self:
        """Return the same bags with guessed sentence labels."""
        return replace(self, bags=self.bags.with_targets(pseudo=guesses))


def build_training_sets(
    block: EncodedBlock,
    corpus: Corpus,
    specs: Sequence[ExpertSpec],
    *,
    priors: Sequence[Term],
    directions: int,
    plan: TrainingPlan,
) -> list[ExpertData]:
    """Lay the bags of each expert, with what the priors read."""
    similarity = prior_similarity(block)
    own = [term.column for term in priors if isinstance(term, ColumnPrior)]
    lengths_told = plan.length_control and len(corpus.pairs) > 0
    length_offset = length_offsets(corpus.responses, corpus.pairs) if lengths_told else None
    correlated = any(isinstance(term, CorrelationPrior) for term in priors)
    read: dict[tuple[tuple[str, ...], int], tuple[Bags, FeaturePipeline]] = {}
    wanted = [(spec.features, spec.kept(directions)) for spec in specs]
    for features, kept in dict.fromkeys(wanted):
        columns, table = FeaturePipeline.fit(block, features, kept, plan.seed)
        bags = build_bags(
            block,
            table,
            InitialLogits(),
            corpus=corpus,
            columns=own,
            members=plan.members,
            folds=plan.folds,
            seed=plan.seed,
            length_offset=length_offset,
        )
        if correlated:
            bags = replace(
                bags, sentence_pairs=pairwise_similarity(replace(bags, vectors=torch.from_numpy(block.sentences)))
            )
        read[features, kept] = bags, columns
    return [ExpertData(spec, *read[key], similarity) for spec, key in zip(specs, wanted, strict=True)]
