"""Gated attention: a response's log-odds are a weighted mean of its sentences', the weights learned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal.encoders.block import EncodedBlock
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.segments import lift, segment_softmax, segment_sum
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES
from fractal.scorers.baselines.networks import NetworkBaseline, cross_entropy, perceptron, train


@BASELINES.register("attention")
@dataclass
class Attention(NetworkBaseline):
    """Gated attention over the sentences; a sentence's score is what it adds to the response's log-odds."""

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn weights and log-odds from response labels alone; the form plays no part."""
        bags, fold = self.training_bags(block, corpus)
        network = _Gated(bags.features.shape[1], self.hidden, self.generator())

        def cost(batch: Bags) -> Tensor:
            parts = network(batch.features, batch.offsets)
            return cross_entropy(segment_sum(parts, batch.offsets), batch.labels)

        train(network, bags, fold, cost, self.seed, self.network_plan)
        self.network = network

    def logits(self, network: nn.Module, bags: Bags) -> Tensor:
        """Return each sentence's part in the response's log-odds, as if all of it were like this sentence."""
        parts: Tensor = network(bags.features, bags.offsets)
        return parts * lift(bags.offsets.diff().to(parts.dtype), bags.offsets, len(parts))


class _Gated(nn.Module):
    """Weights that add up to 1 in each response, times the log-odds of each sentence: (sentence,)."""

    def __init__(self, columns: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.enter = perceptron((columns, hidden), generator)
        self.what, self.gate = (perceptron((hidden, hidden // 2), generator) for _ in range(2))
        self.weigh = perceptron((hidden // 2, 1), generator)
        self.judge = perceptron((hidden, 1), generator)

    def forward(self, rows: Tensor, offsets: Tensor) -> Tensor:
        inner = F.gelu(self.enter(rows))
        heed = self.weigh(torch.tanh(self.what(inner)) * torch.sigmoid(self.gate(inner)))
        judged: Tensor = self.judge(inner)
        return segment_softmax(heed.squeeze(-1), offsets) * judged.squeeze(-1)
