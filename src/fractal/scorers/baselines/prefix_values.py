"""Values of prefixes: how likely a response ends well after each sentence; a sentence's score is what it changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal.encoders.block import EncodedBlock
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.segments import bag_index, segment_mean, segment_running_sum, segment_sum
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES
from fractal.scorers.baselines.networks import NetworkBaseline, cross_entropy, perceptron, train


def prefix_rows(bags: Bags) -> Tensor:
    """Return each sentence's columns beside their mean over the response up to it: (sentence, 2 columns)."""
    so_far = segment_running_sum(bags.features, bags.offsets)
    count = segment_running_sum(torch.ones(len(bags.features), 1), bags.offsets)
    return torch.cat([bags.features, so_far / count], 1)


def steps_of(values: Tensor, offsets: Tensor, start: Tensor) -> Tensor:
    """Return what each sentence adds to the value of the prefix before it: (sentence,)."""
    before = torch.cat([values[:1], values[:-1]])
    first = torch.zeros(len(values), dtype=torch.bool)
    first[offsets[:-1]] = True
    return values - torch.where(first, start, before)


class _Values(nn.Module):
    """The log-odds of a good end after each prefix, and before the first."""

    def __init__(self, columns: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = perceptron((2 * columns, hidden, 1), generator)
        self.start = nn.Parameter(torch.zeros(()))

    def forward(self, bags: Bags) -> Tensor:
        values: Tensor = self.inner(prefix_rows(bags)).squeeze(-1)
        return values


@dataclass
class PrefixBaseline(NetworkBaseline):
    """A baseline whose network reads a sentence and all before it."""

    def fresh_values(self, bags: Bags) -> _Values:
        """Return an untrained network of prefixes."""
        return _Values(bags.features.shape[1], self.hidden, self.generator())

    def logits(self, network: nn.Module, bags: Bags) -> Tensor:
        """Return by how much each sentence raises the log-odds of a good end."""
        values = cast(_Values, network)
        return steps_of(values(bags), bags.offsets, values.start)


@BASELINES.register("prefix_value")
@dataclass
class PrefixValue(PrefixBaseline):
    """The outcome is foretold after every sentence, each forecast drawn to the next; scores are their differences.

    As IPVRM does from outcomes alone (arXiv 2604.13197), on frozen columns in place of a language model.
    """

    consistency: float = 0.5  # of each value with the next one, which is not moved by it: temporal differences

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn the values of prefixes; the form plays no part."""
        bags, fold = self.training_bags(block, corpus)
        network = self.fresh_values(bags)

        def cost(batch: Bags) -> Tensor:
            values = network(batch)
            bag = bag_index(batch.offsets, len(values))
            start = cross_entropy(network.start.expand(len(batch.labels)), batch.labels)
            outcome = segment_mean(cross_entropy(values, batch.labels[bag]), batch.offsets)
            target = torch.cat([values[1:], values[-1:]]).detach()
            last = torch.zeros(len(values), dtype=torch.bool)
            last[batch.offsets[1:] - 1] = True
            gap = torch.where(last, 0.0, values.sigmoid() - target.sigmoid()).square()
            return outcome + 0.1 * start + self.consistency * segment_mean(gap, batch.offsets)

        train(network, bags, fold, cost, self.seed, self.network_plan)
        self.network = network


@BASELINES.register("prefix_ranking")
@dataclass
class PrefixRanking(PrefixBaseline):
    """Of every good and every bad response of a batch the good one's last prefix is to have the larger value.

    As SRM does from preferences (arXiv 2503.04793); here pairs are made of ratings.
    """

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn values from pairs; the form plays no part."""
        bags, fold = self.training_bags(block, corpus)
        network = self.fresh_values(bags)

        def cost(batch: Bags) -> Tensor:
            ends = network(batch)[batch.offsets[1:] - 1]  # (bag,)
            lead = batch.labels[:, None] - batch.labels[None, :]  # nan where a label is unknown
            gain = F.softplus(-(ends[:, None] - ends[None, :]) * lead.sign())
            return torch.where(lead.isnan() | (lead == 0), torch.nan, gain).nanmean(1)

        train(network, bags, fold, cost, self.seed, self.network_plan)
        self.network = network


@BASELINES.register("first_error_hazard")
@dataclass
class FirstErrorHazard(NetworkBaseline):
    """The chance that a response goes wrong at each sentence, if it has not before; it ends well where none strikes.

    As CRM does (arXiv 2509.26578). Under a maximum it is the first sentence that has what is looked for; under a mean
    the response's score is the mean of what each sentence leaves.
    """

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn hazards of the outcome from a sentence and all before it."""
        bags, fold = self.training_bags(block, corpus)
        network = perceptron((2 * bags.features.shape[1], self.hidden, 1), self.generator())

        def cost(batch: Bags) -> Tensor:
            logits = self.logits(network, batch)
            if form.direction == "mean":
                share = segment_mean(logits.sigmoid(), batch.offsets)
                return cross_entropy(torch.logit(share, eps=1e-6), batch.labels)
            sign = 1.0 if form.direction == "min" else -1.0
            survived = segment_sum(F.logsigmoid(sign * logits), batch.offsets).clamp(max=-1e-6)  # log Π (1 − hazard)
            odds = sign * (survived - torch.log(-torch.expm1(survived)))
            return cross_entropy(odds, batch.labels)

        train(network, bags, fold, cost, self.seed, self.network_plan)
        self.network = network

    def logits(self, network: nn.Module, bags: Bags) -> Tensor:
        """Return the log-odds that a sentence is good: that no hazard strikes at it."""
        values: Tensor = network(prefix_rows(bags)).squeeze(-1)
        return values
