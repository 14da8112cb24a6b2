"""Latent label shift: good and bad responses mix the same two kinds of sentences in other proportions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fractal.encoders.block import EncodedBlock
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.segments import bag_index
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES
from fractal.scorers.baselines.networks import NetworkBaseline, per_bag, perceptron, train

Floats = NDArray[np.float64]

STEPS = 300  # of the factorisation
RARE = 1e-3  # of a class, below which a cell says nothing of it
STEEPNESS = 4.0  # of scores at one half, where they rise as the share of the good class does
BAD_SHARES = {"min": (0.5, 0.0), "max": (1.0, 0.5), "mean": (0.9, 0.1)}  # in bad and good domains, at the start


@BASELINES.register("label_shift")
@dataclass
class LabelShift(NetworkBaseline):
    """Domains are good and bad responses, and a network tells them apart by single sentences.

    Its forecasts, cut into cells, times domains are factorised into two latent classes, and each forecast is taken
    apart into what the classes would give, as DDFA does (arXiv 2207.13179). Where a label makes all sentences of a
    response certain, its domain holds one class alone. Domains cut by size, too, are more than the two that classes
    need, but where columns tell of the size, sizes are learned in place of classes.
    """

    by_thresholds: ClassVar[bool] = False

    cells: int = 20  # of forecasts
    sizes: int = 1  # parts into which good and bad responses are cut by their number of sentences
    by_class: Tensor = field(default_factory=lambda: torch.empty(2, 0), init=False, repr=False, compare=False)

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn domains, then the two classes that they mix."""
        bags, fold = self.training_bags(block, corpus)
        domains, good = domains_of(
            bags.labels.double().numpy(), bags.offsets.diff().numpy(), self.sizes, form.direction
        )
        network = perceptron((bags.features.shape[1], self.hidden, len(good)), self.generator())
        targets = torch.from_numpy(domains)[bag_index(bags.offsets, len(bags.features))]  # (sentence,)

        def cost(batch: Bags) -> Tensor:
            domain = batch.targets["domain"]
            rated = ~domain.isnan()
            costs = F.cross_entropy(network(batch.features), domain.nan_to_num(0.0).long(), reduction="none")
            return per_bag(torch.where(rated, costs, torch.nan), batch.offsets)

        labelled = Bags.make(bags.features, bags.offsets, labels=bags.labels, targets={"domain": targets.float()})
        train(network, labelled, fold, cost, self.seed, self.network_plan)
        self.network = network
        rated = ~targets.isnan()  # (sentence,)
        with torch.inference_mode():
            forecasts = network(bags.features[rated]).softmax(-1).double().numpy()
        places = targets[rated].long().numpy()
        counts = table_of(forecasts, places, len(good), self.cells, self.seed)
        shares = factorised(counts, first_shares(good, form.direction))
        by_class = shares * counts.sum(0)
        self.by_class = torch.from_numpy(by_class / np.maximum(by_class.sum(1, keepdims=True), 1e-12))

    def logits(self, network: nn.Module, bags: Bags) -> Tensor:
        """Return log-odds that rise with the share of the good class in what is forecast of a sentence."""
        forecasts = network(bags.features).softmax(-1).double()
        bad, good = self.by_class  # P(domain | class)
        apart = good - bad
        share = (forecasts - bad) @ apart / apart.square().sum().clamp(min=1e-12)
        logits: Tensor = STEEPNESS * (share - 0.5)
        return logits.float()


def domains_of(
    labels: Floats, sizes: NDArray[np.int64], parts: int, direction: str
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the domain of each response, nan where it is not rated, and which domains are of good ones.

    Good is above one half; under a mean, above the middle label.
    """
    middle = float(np.nanmedian(labels)) if direction == "mean" else 0.5
    middle = middle if (labels > middle).any() else float(np.nanmean(labels))
    good = labels > middle
    cuts = np.quantile(sizes, np.arange(1, parts) / parts)
    rated = ~np.isnan(labels)
    code = np.where(rated, good * parts + np.searchsorted(cuts, sizes, side="left"), -1)
    there, place = np.unique(code[rated], return_inverse=True)
    domains = np.full(len(labels), np.nan)
    domains[rated] = place
    return domains, there >= parts


def table_of(forecasts: Floats, domains: NDArray[np.int64], count: int, cells: int, seed: int) -> Floats:
    """Return how many sentences of each domain lie in each cell of forecasts: (cell, domain)."""
    from sklearn.cluster import KMeans

    cells = min(cells, len(np.unique(forecasts.round(6), axis=0)))
    cell = KMeans(cells, n_init=4, random_state=seed).fit_predict(forecasts)
    table = np.zeros((cells, count))
    np.add.at(table, (cell, domains), 1.0)
    return table


def first_shares(good: NDArray[np.bool_], direction: str) -> Floats:
    """Return the shares of the bad and the good class in each domain at the start; 0 is certain: (2, domain)."""
    in_bad, in_good = BAD_SHARES[direction]
    bad_share = np.where(good, in_good, in_bad)
    return np.stack([bad_share, 1 - bad_share])


def factorised(counts: Floats, shares: Floats) -> Floats:
    """Return the shares of latent classes in each domain under which the table (cell, domain) is likeliest.

    P(cell | domain) = Σ P(cell | class) P(class | domain), by expectation–maximisation from given shares (class,
    domain): those that are 0 stay so. A class that no domain holds alone is then taken to be as unlike the other as the
    cells allow: much of what is common to both would explain the table as well.
    """
    weights = counts / np.maximum(counts.sum(0), 1)
    of_class = weights @ shares.T  # (cell, class)
    of_class /= np.maximum(of_class.sum(0), 1e-12)
    for _ in range(STEPS):
        ratio = counts / np.maximum(of_class @ shares, 1e-12)  # (cell, domain)
        stronger = of_class * (ratio @ shares.T)
        shares = shares * (of_class.T @ ratio)
        shares /= np.maximum(shares.sum(0), 1e-12)
        of_class = stronger / np.maximum(stronger.sum(0), 1e-12)
    for one, other in ((0, 1), (1, 0)):
        if not (shares[other] == 0).any():  # no domain holds it alone
            there = of_class[:, other] > RARE
            common = min(float((of_class[there, one] / of_class[there, other]).min(initial=1.0)), 1 - RARE)
            of_class[:, one] = (of_class[:, one] - common * of_class[:, other]) / (1 - common)
            shares[other] += common * shares[one]
            shares[one] *= 1 - common
    return shares
