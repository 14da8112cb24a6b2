"""A small network and the loop that trains it: all that the baselines with a network share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal.encoders.block import EncodedBlock
from fractal.errors import NotFitted
from fractal.evaluation.folds import deal_folds
from fractal.features import RECIPES, Standardiser, compute
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.segments import segment_mean
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import LearnedBaseline

Loss = Callable[[Bags], Tensor]  # a batch → the cost of each bag (bag,), nan where its label is unknown

HELD_OUT = 5  # one group in so many is held out, to stop by


@dataclass(frozen=True)
class NetworkPlan:
    """How a baseline's network is trained."""

    epochs: int = 40
    batch_size: int = 64  # responses
    learning_rate: float = 2e-3
    weight_decay: float = 3e-2
    patience: int = 8


def perceptron(widths: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Return layers with GELU between them, all drawn from one generator."""
    first, *others = (_linear(entries, exits, generator) for entries, exits in itertools.pairwise(widths))
    return nn.Sequential(first, *(layer for linear in others for layer in (nn.GELU(), linear)))


def _linear(entries: int, exits: int, generator: torch.Generator) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, entries, exits)
    bound = 1 / math.sqrt(entries)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer


def train(network: nn.Module, bags: Bags, fold: Tensor, loss: Loss, seed: int, network_plan: NetworkPlan) -> None:
    """Train on all folds but the first and keep the epoch that the first likes best."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=network_plan.learning_rate, weight_decay=network_plan.weight_decay
    )
    hidden, shown = (bags.take(places.nonzero().squeeze(1)) for places in (fold == 0, fold != 0))
    best, best_epoch, best_state = math.inf, 0, {name: value.clone() for name, value in network.state_dict().items()}
    for epoch in range(network_plan.epochs):
        for batch in shown.batches(network_plan.batch_size, generator):
            cost = loss(batch).nanmean()
            optimiser.zero_grad(set_to_none=True)
            if bool(cost.isfinite()):  # a batch without one label teaches nothing
                cost.backward()
                optimiser.step()
        with torch.inference_mode():
            now = float(loss(hidden).nanmean())
        if now < best:
            best, best_epoch = now, epoch
            best_state = {name: value.clone() for name, value in network.state_dict().items()}
        elif epoch - best_epoch >= network_plan.patience:
            break
    network.load_state_dict(best_state)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cost of log-odds against shares of belief, nan where the target is unknown."""
    labelled = ~targets.isnan()
    cost = F.binary_cross_entropy_with_logits(logits, torch.where(labelled, targets, 0.5), reduction="none")
    return torch.where(labelled, cost, torch.nan)


def per_bag(costs: Tensor, offsets: Tensor) -> Tensor:
    """Mean over the sentences of each bag that have a cost: (sentence,) → (bag,), nan where none has."""
    labelled = ~costs.isnan()
    share = segment_mean(labelled.to(costs.dtype), offsets)
    mean = segment_mean(torch.where(labelled, costs, 0.0), offsets)
    return torch.where(share > 0, mean / share.clamp(min=1e-9), torch.nan)


@dataclass
class NetworkBaseline(LearnedBaseline):
    """A baseline whose network reads the columns of one sentence at a time."""

    hidden: int = 64
    network_plan: NetworkPlan = field(default=NetworkPlan(), repr=False)
    network: nn.Module | None = field(default=None, init=False, repr=False, compare=False)
    standardiser: Standardiser | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def recipe(self) -> tuple[str, ...]:
        """The columns: how the sentence stands to its context, and its own vector."""
        return (*RECIPES["own"], "sentence")

    def training_bags(self, block: EncodedBlock, corpus: Corpus) -> tuple[Bags, Tensor]:
        """Lay labelled bags and deal their groups into folds; the scale of the columns is learned here."""
        self.standardiser = None
        bags = self.bags(block)
        labels = torch.from_numpy(corpus.labels.astype(np.float32))
        fold = torch.from_numpy(deal_folds(corpus.groups, corpus.labels, HELD_OUT, self.seed))
        return replace(bags, labels=labels), fold

    def bags(self, block: EncodedBlock) -> Bags:
        """Lay bags without labels."""
        table = compute(block, self.recipe)
        self.standardiser = self.standardiser or Standardiser.fit(table)
        table = self.standardiser(table)
        return Bags.make(torch.from_numpy(table.dense).float().clamp(-8, 8), torch.from_numpy(block.offsets))

    def generator(self, number: int = 0) -> torch.Generator:
        """Return a generator of this baseline's seed."""
        return torch.Generator().manual_seed(self.seed + 1000 * number)

    def fresh_network(self, bags: Bags, number: int = 0) -> nn.Sequential:
        """Return a network of one hidden layer, untrained."""
        return perceptron((bags.features.shape[1], self.hidden, 1), self.generator(number))

    def train_on_beliefs(self, network: nn.Module, bags: Bags, beliefs: Tensor, fold: Tensor, number: int) -> None:
        """Teach a network shares of belief in each sentence, nan where there is none."""

        def cost(batch: Bags) -> Tensor:
            return per_bag(cross_entropy(self.logits(network, batch), batch.targets["belief"]), batch.offsets)

        train(network, replace(bags, targets={"belief": beliefs}), fold, cost, self.seed + number, self.network_plan)

    def scores(self, block: EncodedBlock) -> Tensor:
        """Return the network's probability for every sentence."""
        if self.network is None:
            raise NotFitted(f"the baseline {self.name!r} has no network yet: call fit with rated responses")
        return self.logits(self.network, self.bags(block)).sigmoid()

    def logits(self, network: nn.Module, bags: Bags) -> Tensor:
        """Return the log-odds of every sentence: (sentence,)."""
        logits: Tensor = network(bags.features)
        return logits.squeeze(-1)


def response_cost(logits: Tensor, bags: Bags, form: Aggregation) -> Tensor:
    """Minus the log-likelihood of each response's label: (bag,), nan where it is unknown."""
    cost = -form.log_likelihood(logits.unsqueeze(-1), bags.offsets, bags.labels).squeeze(-1)
    return torch.where(bags.labels.isnan(), torch.nan, cost)
