"""Noisy copy: every sentence inherits its response's label through a learned matrix of errors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fractal.encoders.block import EncodedBlock
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.segments import bag_index
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES
from fractal.scorers.baselines.networks import NetworkBaseline, cross_entropy, per_bag, train


@BASELINES.register("noisy_copy")
@dataclass
class NoisyCopy(NetworkBaseline):
    """The response's label is a noisy copy of each sentence's; how noisy is learned beside the scores."""

    pull: float = 0.02  # towards the noisiest matrix that explains the copies, which makes the scores reach out

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn the scores and the matrix together."""
        bags, fold = self.training_bags(block, corpus)
        network = _Copying(self.fresh_network(bags), form.direction)

        def cost(batch: Bags) -> Tensor:
            true_rate, false_rate = network.rates()
            chance = false_rate + (true_rate - false_rate) * self.logits(network, batch).sigmoid()
            copies = batch.labels[bag_index(batch.offsets, len(batch.features))]
            costs = cross_entropy(torch.logit(chance, eps=1e-6), copies)
            return per_bag(costs, batch.offsets) + self.pull * (true_rate - false_rate).log()

        train(network, bags, fold, cost, self.seed, self.network_plan)
        self.network = network


class _Copying(nn.Module):
    """Scores and the two rates at which a sentence's label 1, or 0, is seen as a response label 1.

    Under `min` a bad sentence never stands in a good response, under `max` a good one never in a bad one: that rate is
    known, the other is learned.
    """

    def __init__(self, scores: nn.Sequential, direction: str) -> None:
        super().__init__()
        self.scores, self.direction = scores, direction
        self.free = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, rows: Tensor) -> Tensor:
        logits: Tensor = self.scores(rows)
        return logits

    def rates(self) -> tuple[Tensor, Tensor]:
        high, low = 0.5 + 0.5 * self.free[0].sigmoid(), 0.5 * self.free[1].sigmoid()
        one, none = torch.ones_like(high), torch.zeros_like(high)
        return (one if self.direction == "max" else high), (none if self.direction == "min" else low)
