"""DLLP: a network whose mean over the response is matched to the label, read as a proportion."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fractal.encoders.block import EncodedBlock
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.segments import segment_mean
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES
from fractal.scorers.baselines.networks import NetworkBaseline, cross_entropy, train


@BASELINES.register("dllp")
@dataclass
class Dllp(NetworkBaseline):
    """Deep learning from label proportions: the mean score is pulled to the label, whatever the aggregation."""

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Match means."""
        bags, fold = self.training_bags(block, corpus)
        network = self.fresh_network(bags)

        def cost(batch: Bags) -> torch.Tensor:
            share = segment_mean(self.logits(network, batch).sigmoid(), batch.offsets)
            return cross_entropy(torch.logit(share, eps=1e-6), batch.labels)

        train(network, bags, fold, cost, self.seed, self.network_plan)
        self.network = network
