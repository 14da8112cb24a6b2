"""What each expert trains on: its columns as bags, with labels, pairs and folds; equal columns are built once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.config import FitConfig
from fractal.ensemble.control import preference_offset, rating_offset
from fractal.ensemble.initialisation import InitialLogits
from fractal.ensemble.specs import ExpertSpec
from fractal.ensemble.tensors import build_bags, sentence_targets
from fractal.evaluation.folds import member_weights
from fractal.features import FeatureTable, prior_similarity
from fractal.features.pipeline import FeaturePipeline
from fractal.mil.bags import Bags
from fractal.mil.objectives.priors import TEACHER, ColumnPrior, CorrelationPrior, HybridPrior, pairwise_similarity
from fractal.records.corpus import Corpus

Inputs = tuple[tuple[str, ...], int]  # features, and how many directions of their vectors

__all__ = ["ExpertData", "build_training_sets"]


@dataclass(frozen=True, eq=False)
class ExpertData:
    """The bags that one expert trains on, and what is needed to build those of other responses alike."""

    spec: ExpertSpec
    bags: Bags
    pipeline: FeaturePipeline
    similarity: NDArray[np.float32]
    initial: InitialLogits = field(default_factory=InitialLogits)

    def starting_at(self, initial: InitialLogits) -> Self:
        """Return the same bags for a head that starts elsewhere."""
        if initial == self.initial:
            return self
        logits = torch.from_numpy(initial(self.similarity))
        return replace(self, initial=initial, bags=replace(self.bags, initial_logits=logits))

    def with_pseudo_labels(self, labels: Tensor) -> Self:
        """Return the same bags with pseudo-labels (sentence,)."""
        return replace(self, bags=self.bags.with_targets(pseudo=labels))


def build_training_sets(
    block: EncodedBlock, corpus: Corpus, specs: Sequence[ExpertSpec], config: FitConfig
) -> list[ExpertData]:
    """Build the bags of each expert, with what the priors read."""
    pairwise = any(isinstance(term, CorrelationPrior) for term in config.priors)
    built: dict[Inputs, tuple[Bags, FeaturePipeline]] = {}
    inputs = [(spec.features, spec.kept_directions(config.directions)) for spec in specs]
    columns = _columns(block, specs, inputs, config)  # first, as processes that lay them say the similarity as well
    similarity, labels = prior_similarity(block), _labels(block, corpus, config)
    for key, (pipeline, table) in columns.items():
        bags = build_bags(block, table, InitialLogits(), **labels)
        if pairwise:
            vectors = replace(bags, vectors=torch.from_numpy(block.sentences))
            bags = replace(bags, sentence_pairs=pairwise_similarity(vectors))
        built[key] = bags, pipeline
    return [ExpertData(spec, *built[used], similarity) for spec, used in zip(specs, inputs, strict=True)]


def _columns(
    block: EncodedBlock, specs: Sequence[ExpertSpec], inputs: Sequence[Inputs], config: FitConfig
) -> dict[Inputs, tuple[FeaturePipeline, FeatureTable]]:
    """Return the columns of each kind that experts read, fitted on the block, or those of the earlier ensemble."""
    if config.warm is not None:
        earlier = [config.warm.expert(spec, config.plan, config.directions) for spec in specs]
        pipelines = {key: expert.pipeline for key, expert in zip(inputs, earlier, strict=True) if expert}
        return {key: (pipeline, pipeline(block)) for key, pipeline in pipelines.items()}
    distinct = list(dict.fromkeys(inputs))
    return dict(zip(distinct, FeaturePipeline.fit_several(block, distinct, config.plan.seed), strict=True))


def _labels(block: EncodedBlock, corpus: Corpus, config: FitConfig) -> dict[str, Any]:
    """Return what all experts learn from, as tensors: labels, targets of sentences, pairs, and who holds out what."""
    plan, pairs = config.plan, corpus.pairs
    columns = [term.column for term in config.priors if isinstance(term, ColumnPrior)]
    columns += [TEACHER for term in config.priors if isinstance(term, HybridPrior)]
    targets = {name: torch.from_numpy(values) for name, values in sentence_targets(block, columns).items()}
    if not config.gold_weight and not config.supervised:
        targets["gold"] = torch.full_like(targets["gold"], torch.nan)
    deal = member_weights if config.warm is None else config.warm.weights
    weights = deal(corpus.groups, corpus.labels, plan.members, plan.folds, plan.seed)
    return {
        "labels": torch.from_numpy(corpus.label_columns.astype(np.float32)),
        "targets": targets,
        "pairs": torch.from_numpy(pairs) if len(pairs) else None,
        "weights": torch.from_numpy(weights),
        "preference_offset": preference_offset(corpus, config, weights),
        "rating_offset": rating_offset(corpus, config, weights),
    }
