"""Pooled log-odds: a response's are those of its extreme sentences, by softmax weights or by the k most extreme."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.segments import bag_index, segment_mean, segment_rank, segment_softmax, segment_sum
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES
from fractal.scorers.baselines.networks import NetworkBaseline, cross_entropy, train

SIGNS = {"min": -1.0, "max": 1.0, "mean": 0.0}  # towards which end sentences weigh


@BASELINES.register("softmax_pooling")
@dataclass
class SoftmaxPooling(NetworkBaseline):
    """A response's log-odds are its sentences', weighed by a softmax towards the end that decides.

    As LCA does (arXiv 2606.27739): under a minimum the lowest weigh most, under a mean all alike.
    """

    temperature: float = 1.0

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn from pooled log-odds."""
        bags, fold = self.training_bags(block, corpus)
        network = self.fresh_network(bags)
        sharpness = SIGNS[form.direction] / self.temperature

        def cost(batch: Bags) -> Tensor:
            logits = self.logits(network, batch)
            weights = segment_softmax(sharpness * logits, batch.offsets)
            return cross_entropy(segment_sum(weights * logits, batch.offsets), batch.labels)

        train(network, bags, fold, cost, self.seed, self.network_plan)
        self.network = network


@BASELINES.register("top_k")
@dataclass
class TopK(NetworkBaseline):
    """A response's log-odds are the mean of its k most extreme sentences', and neighbours score alike.

    As HaMI does over token states (arXiv 2504.07863); k is a share of the sentences, at least one.
    """

    share: float = 0.2
    smoothness: float = 0.1

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn from the most extreme sentences, under a mean from all."""
        bags, fold = self.training_bags(block, corpus)
        network = self.fresh_network(bags)
        sign = SIGNS[form.direction]

        def cost(batch: Bags) -> Tensor:
            logits = self.logits(network, batch)
            sizes = batch.offsets.diff()
            bag = bag_index(batch.offsets, len(logits))
            count = (sizes * self.share).ceil().clamp(min=1) if sign else sizes
            chosen = segment_rank((sign or 1.0) * logits, batch.offsets) < count[bag]
            pooled = segment_sum(torch.where(chosen, logits, 0.0), batch.offsets) / count
            jump = (logits.sigmoid()[1:] - logits.sigmoid()[:-1]).square() * (bag[1:] == bag[:-1])
            rough = segment_mean(torch.cat([jump, jump.new_zeros(1)]), batch.offsets)
            return cross_entropy(pooled, batch.labels) + self.smoothness * rough

        train(network, bags, fold, cost, self.seed, self.network_plan)
        self.network = network
