"""What a label makes certain: sentences of good responses are good, those of bad ones are open to doubt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal.encoders.block import EncodedBlock
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.segments import bag_index, segment_mean
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES
from fractal.scorers.baselines.networks import NetworkBaseline, perceptron, train


@BASELINES.register("positive_unlabelled")
@dataclass
class PositiveUnlabelled(NetworkBaseline):
    """Sentences of good responses are certain positives, all others unlabelled: non-negative risk of such data.

    Under a maximum it is turned round: sentences of responses without anything are the certain ones. Under a mean no
    label is certain, and those of the better half are taken for it.
    """

    prior: float = 0.0  # share of certain labels among the unlabelled; 0: all but one sentence of each response

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn by the non-negative risk of each batch, which each of its responses carries alike."""
        bags, fold = self.training_bags(block, corpus)
        network = self.fresh_network(bags)
        sign = -1.0 if form.direction == "max" else 1.0
        prior = self.prior or 1 - 1 / float(bags.offsets.diff().float().mean().clamp(min=1.25))

        def cost(batch: Bags) -> Tensor:
            logits = sign * self.logits(network, batch)
            labels = batch.labels[bag_index(batch.offsets, len(logits))]
            certain = (labels < 0.5) if sign < 0 else (labels > 0.5)
            open_ones = ~certain & ~labels.isnan()
            if not bool(certain.any()) or not bool(open_ones.any()):
                return torch.full_like(batch.labels, torch.nan)
            good, bad = F.softplus(-logits), F.softplus(logits)  # costs of calling a sentence bad, or good, wrongly
            risk = prior * good[certain].mean() + (bad[open_ones].mean() - prior * bad[certain].mean()).clamp(min=0)
            return torch.where(batch.labels.isnan(), torch.nan, risk)

        train(network, bags, fold, cost, self.seed, self.network_plan)
        self.network = network


@BASELINES.register("buffer_class")
@dataclass
class BufferClass(NetworkBaseline):
    """Every sentence inherits its response's label, or is put into a third class that takes up the noise of that.

    As FreePRM does (arXiv 2506.03570). The buffer costs a little, and is closed where a label makes sentences certain.
    """

    buffer_cost: float = 0.5

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn three classes from copied labels."""
        bags, fold = self.training_bags(block, corpus)
        network = perceptron((bags.features.shape[1], self.hidden, 3), self.generator())

        def cost(batch: Bags) -> Tensor:
            good, bad, buffer = network(batch.features).softmax(-1).unbind(-1)
            labels = batch.labels[bag_index(batch.offsets, len(good))]
            certain = (labels * (form.direction == "min") + (1 - labels) * (form.direction == "max")).nan_to_num(0.0)
            taken = buffer * (1 - certain)
            log_likelihood = (
                labels * (good + taken).clamp(min=1e-6).log() + (1 - labels) * (bad + taken).clamp(min=1e-6).log()
            )
            return segment_mean(self.buffer_cost * buffer - log_likelihood, batch.offsets)

        train(network, bags, fold, cost, self.seed, self.network_plan)
        self.network = network

    def logits(self, network: nn.Module, bags: Bags) -> Tensor:
        """Return the log-odds of good against bad, the buffer left out."""
        classes: Tensor = network(bags.features)
        return classes[:, 0] - classes[:, 1]
