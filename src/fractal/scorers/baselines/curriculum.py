"""Curriculum labelling: self-training on the surest guesses first, every round from a fresh start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.self_training import most_certain
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES
from fractal.scorers.baselines.networks import NetworkBaseline, response_cost, train


@BASELINES.register("curriculum")
@dataclass
class Curriculum(NetworkBaseline):
    """Rounds of self-training that admit guesses by percentile of confidence, with a restart each round."""

    by_thresholds: ClassVar[bool] = False

    shares: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the guesses, the surest first, that each round sees

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn from response labels, then from more and more guesses that agree with them."""
        bags, fold = self.training_bags(block, corpus)
        network = self.fresh_network(bags)
        first = network

        def cost(batch: Bags) -> Tensor:
            return response_cost(self.logits(first, batch), batch, form)

        train(first, bags, fold, cost, self.seed, self.network_plan)
        for number, share in enumerate(self.shares, 1):
            with torch.inference_mode():
                scores = self.logits(network, bags).sigmoid()
            guesses = form.posterior(scores.unsqueeze(-1), bags.offsets, bags.labels).squeeze(-1)
            network = self.fresh_network(bags, number)
            self.train_on_beliefs(network, bags, most_certain(guesses.clone(), share), fold, number)
        self.network = network
