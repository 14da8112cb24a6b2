"""Belief propagation: guesses from a Gibbs distribution over a graph of similar sentences, then a network on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal.encoders.block import EncodedBlock
from fractal.errors import BadSpec
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES
from fractal.scorers.baselines.gibbs import label_potentials, marginals, nearest_neighbours
from fractal.scorers.baselines.networks import NetworkBaseline, response_cost


@BASELINES.register("belief_propagation")
@dataclass
class BeliefPropagation(NetworkBaseline):
    """Similar sentences agree and responses match their labels: marginals of that teach a network, in rounds.

    With `refinements`, so many rounds more at most, whose neighbours are near in the network's own embedding, for as
    long as the labels of a fifth of the groups, which beliefs are not told, are foretold better each time.
    """

    neighbours: int = 10
    strength: float = 0.5  # with which the most similar sentences agree
    label_strength: float = 1.0
    rounds: int = 2  # from the second on, the network's own log-odds are where beliefs start
    refinements: int = 0
    held_out_costs: tuple[float, ...] = field(default=(), init=False, repr=False, compare=False)  # by round

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("refinements", 0)):
            if getattr(self, name) < least:
                raise BadSpec(f"{name}={getattr(self, name)}: give at least {least}")

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Alternate between beliefs and a fresh network that learns them."""
        bags, fold = self.training_bags(block, corpus)
        shown = torch.where(fold == 0, torch.nan, bags.labels) if self.refinements else bags.labels
        potentials = label_potentials(form.direction, bags.offsets, shown, self.label_strength)
        graph = nearest_neighbours(_places(block, bags), self.neighbours, self.strength)
        start = torch.zeros(len(bags.features))
        costs: list[float] = []
        for number in range(self.rounds + self.refinements):
            if number >= self.rounds:
                graph = nearest_neighbours(self._embedding(bags), self.neighbours, self.strength)
            beliefs = marginals(start, potentials, graph).sigmoid()
            network = self.fresh_network(bags, number)
            self.train_on_beliefs(network, bags, beliefs, fold, number)
            with torch.inference_mode():
                logits = self.logits(network, bags).clone()
            cost = _held_out_cost(logits, bags, fold, form)
            if number >= self.rounds and not cost < costs[-1]:
                break
            costs.append(cost)
            self.network, start = network, logits.clamp(-3, 3)
        self.held_out_costs = tuple(costs)

    def _embedding(self, bags: Bags) -> Tensor:
        """Where sentences lie in the network's hidden layer, as directions."""
        layers = cast(nn.Sequential, self.network)
        with torch.inference_mode():
            return F.normalize(layers[:-1](bags.features), dim=1).clone()


def _held_out_cost(logits: Tensor, bags: Bags, fold: Tensor, form: Aggregation) -> float:
    """Return the mean cost of the responses' labels of the fold that networks are not trained on."""
    held_out = replace(bags, labels=torch.where(fold == 0, bags.labels, torch.nan))
    cost = float(response_cost(logits, held_out, form).nanmean())
    return math.inf if math.isnan(cost) else cost


def _places(block: EncodedBlock, bags: Bags) -> Tensor:
    """Where sentences lie for the graph: by their vectors, and as much by how they stand to their context."""
    dim = block.sentences.shape[1]
    sentence_pairs = F.normalize(bags.features[:, :-dim], dim=1)
    return F.normalize(torch.cat([torch.from_numpy(block.sentences), sentence_pairs], 1), dim=1)
