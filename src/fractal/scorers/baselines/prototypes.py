"""Prototypes: sentences are pulled together by contrast, and labelled by the class prototype nearest to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal.encoders.block import EncodedBlock
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.segments import bag_index
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES
from fractal.scorers.baselines.networks import NetworkBaseline, cross_entropy, per_bag, perceptron, response_cost, train

MOST_CONTRASTED = 512  # sentences of a batch that are compared with each other


@BASELINES.register("prototypes")
@dataclass
class Prototypes(NetworkBaseline):
    """Instance-level learning: contrast between guessed classes, guesses drawn to the nearest class prototype."""

    by_thresholds: ClassVar[bool] = False

    dim: int = 32
    temperature: float = 0.1
    contrast: float = 0.3  # weight of the contrast beside the guesses and the response labels
    momentum: float = 0.9  # with which guesses and prototypes follow

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn embedding, classes and prototypes together; what a response label makes certain is never doubted."""
        bags, fold = self.training_bags(block, corpus)
        network = _Space(bags.features.shape[1], self.hidden, self.dim, self.generator())
        rated = ~bags.labels.isnan()
        labels = torch.where(rated, bags.labels, 0.5)
        even = torch.full((len(bags.features), 1), 0.5)
        certain = form.posterior(even, bags.offsets, labels).squeeze(-1)  # 0 or 1 where the label alone decides
        guesses = certain.clone()
        row = torch.arange(len(bags.features), dtype=torch.float32)

        def cost(batch: Bags) -> Tensor:
            rows = batch.targets["row"].long()
            places, logits = network(batch.features)
            if torch.is_grad_enabled():
                self._follow(network, places.detach(), logits.detach(), rows, guesses, certain)
            guess_costs = per_bag(cross_entropy(logits, guesses[rows]), batch.offsets)
            apart = self._contrast(places, guesses[rows], batch.offsets)
            return guess_costs + response_cost(logits, batch, form) + self.contrast * apart

        train(network, replace(bags, targets={"row": row}), fold, cost, self.seed, self.network_plan)
        self.network = network

    def logits(self, network: nn.Module, bags: Bags) -> Tensor:
        """Return the classifier's log-odds."""
        logits: Tensor = network(bags.features)[1]
        return logits

    def _follow(
        self, network: _Space, places: Tensor, logits: Tensor, rows: Tensor, guesses: Tensor, certain: Tensor
    ) -> None:
        """Move prototypes to the sentences that look like their class, and guesses to the nearest prototype."""
        open_ = (certain[rows] > 0) & (certain[rows] < 1)
        looks = torch.where(open_, (logits > 0).float(), certain[rows])
        for number in (0, 1):
            members = places[looks == number]
            if len(members):
                moved = self.momentum * network.prototypes[number] + (1 - self.momentum) * members.mean(0)
                network.prototypes[number] = F.normalize(moved, dim=0)
        near = (places @ network.prototypes.T).argmax(1).float()
        followed = self.momentum * guesses[rows] + (1 - self.momentum) * near
        guesses[rows] = torch.where(open_, followed, certain[rows])

    def _contrast(self, places: Tensor, guesses: Tensor, offsets: Tensor) -> Tensor:
        """Cost of telling each sentence's own class among the others of the batch: (bag,)."""
        places, like = places[:MOST_CONTRASTED], guesses[:MOST_CONTRASTED] > 0.5
        alone = torch.eye(len(places), dtype=torch.bool)
        closeness = (places @ places.T / self.temperature).masked_fill(alone, -torch.inf)
        logs = closeness.log_softmax(1).masked_fill(alone, 0.0)
        same = (like.unsqueeze(0) == like.unsqueeze(1)) & ~alone
        costs = -(logs * same).sum(1) / same.sum(1).clamp(min=1)
        every = costs.new_zeros(int(offsets[-1]))
        every[: len(costs)] = costs
        return every.new_zeros(len(offsets) - 1).index_add(0, bag_index(offsets), every) / offsets.diff()


class _Space(nn.Module):
    """Where sentences lie on the unit sphere, and their log-odds; the prototypes are the classes' directions."""

    prototypes: Tensor  # (class, dim)

    def __init__(self, columns: int, hidden: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.enter = perceptron((columns, hidden), generator)
        self.place, self.judge = perceptron((hidden, dim), generator), perceptron((hidden, 1), generator)
        self.register_buffer("prototypes", F.normalize(torch.randn(2, dim, generator=generator), dim=1))

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        inner = F.gelu(self.enter(rows))
        return F.normalize(self.place(inner), dim=1), self.judge(inner).squeeze(-1)
