"""Belief propagation: guesses from a Gibbs distribution over a graph of similar sentences, then a network on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES
from fractal.scorers.baselines.gibbs import label_potentials, marginals, nearest_neighbours
from fractal.scorers.baselines.networks import NetworkBaseline


@BASELINES.register("belief_propagation")
@dataclass
class BeliefPropagation(NetworkBaseline):
    """Similar sentences agree and responses match their labels: marginals of that teach a network, in rounds."""

    neighbours: int = 10
    strength: float = 0.5  # with which the most similar sentences agree
    label_strength: float = 1.0
    rounds: int = 2  # from the second on, the network's own log-odds are where beliefs start

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Alternate between beliefs and a fresh network that learns them."""
        bags, fold = self.training_bags(block, corpus)
        potentials = label_potentials(form.direction, bags.offsets, bags.labels, self.label_strength)
        graph = nearest_neighbours(_places(block, bags), self.neighbours, self.strength)
        start = torch.zeros(len(bags.features))
        for number in range(self.rounds):
            beliefs = marginals(start, potentials, graph).sigmoid()
            network = self.fresh_network(bags, number)
            self.train_on_beliefs(network, bags, beliefs, fold, number)
            with torch.inference_mode():
                start = self.logits(network, bags).clamp(-3, 3).clone()
            self.network = network


def _places(block: EncodedBlock, bags: Bags) -> Tensor:
    """Where sentences lie for the graph: by their vectors, and as much by how they stand to their context."""
    dim = block.sentences.shape[1]
    sentence_pairs = F.normalize(bags.features[:, :-dim], dim=1)
    return F.normalize(torch.cat([torch.from_numpy(block.sentences), sentence_pairs], 1), dim=1)
