"""Curriculum labelling: self-training on the surest guesses first, every round from a fresh start."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.self_training import most_certain
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES
from fractal.scorers.baselines.networks import Learned, Perceptron, cross_entropy, per_bag, response_cost, train

__all__ = ["Curriculum"]


@BASELINES.register("curriculum")
@dataclass
class Curriculum(Learned):
    """Rounds of self-training that admit guesses by percentile of confidence, with a restart each round."""

    hidden: int = 64
    shares: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the guesses, the surest first, that each round sees

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn from response labels, then from more and more guesses that agree with them."""
        bags, fold = self.laid(block, corpus)
        network = self._fresh(bags, 0)
        first = network

        def cost(batch: Bags) -> Tensor:
            return response_cost(self.logits(first, batch), batch, form)

        train(first, bags, fold, cost, self.seed, self.network_plan)
        for number, share in enumerate(self.shares, 1):
            with torch.inference_mode():
                scores = self.logits(network, bags).sigmoid()
            guesses = form.posterior(scores.unsqueeze(-1), bags.offsets, bags.labels).squeeze(-1)
            told = replace(bags, targets={"guess": most_certain(guesses.clone(), share)})
            network = self._fresh(bags, number)
            self._learn_guesses(network, told, fold, number)
        self.network = network

    def _learn_guesses(self, network: Perceptron, told: Bags, fold: Tensor, number: int) -> None:
        def cost(batch: Bags) -> Tensor:
            return per_bag(cross_entropy(self.logits(network, batch), batch.targets["guess"]), batch.offsets)

        train(network, told, fold, cost, self.seed + number, self.network_plan)

    def _fresh(self, bags: Bags, number: int) -> Perceptron:
        return Perceptron((bags.features.shape[1], self.hidden, 1), self.generator(number))
