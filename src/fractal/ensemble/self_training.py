"""PsLab: sentence labels that agree with the response labels, to train fresh heads on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fractal.mil.aggregations import Aggregation, preferred_labels
from fractal.mil.bags import Bags

__all__ = ["SelfTraining", "most_certain", "pseudo_labels"]


@dataclass(frozen=True)
class SelfTraining:
    """How guesses are made and used: rounds of fresh heads, soft posteriors or hard labels, the surest first.

    No round by default: an ensemble that learned from response labels was as good without, at half the cost.

    Attributes:
        rounds: how often fresh heads learn what the ensemble before them guesses.
        soft: whether they learn probabilities given the response's label; if not, the most likely hard labels.
        shares: of the surest sentences that each round learns from; the last one is repeated.

    """

    rounds: int = 0
    soft: bool = True
    shares: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ValueError(f"rounds={self.rounds}: give 0 or more")
        if not self.shares or not all(0.0 < share <= 1.0 for share in self.shares):
            raise ValueError(f"shares={self.shares}: give shares in (0, 1], one a round")

    def share(self, number: int) -> float:
        """Return the share of sentences that a round learns from."""
        return self.shares[min(number, len(self.shares) - 1)]


def pseudo_labels(logits: Tensor, bags: Bags, aggregation: Aggregation, *, soft: bool) -> Tensor:
    """Return the sentence labels that known response labels make likely: (sentence,), nan where nothing is known.

    The log-odds (sentence, [level − 1,] 1) should come from heads that did not learn from the bag, so that no guess is
    a memory of training. Gold labels, where there are some, are never overruled.
    """
    scores, gold = aggregation.probabilities(logits), bags.targets.get("gold")
    if bags.pairs is not None and len(bags.pairs):
        guesses = preferred_labels(scores.squeeze(-1), bags.offsets, bags.pairs)
        paired = torch.zeros(len(bags), dtype=torch.bool)
        paired[bags.pairs[:, :2].flatten()] = True
        unlabelled = ~paired[bags.sentence_bag]
    else:
        way_back = aggregation.posterior if soft else aggregation.most_likely_labels
        guesses = way_back(scores, bags.offsets, bags.labels, gold).squeeze(-1)
        unlabelled = bags.labels.isnan()
        if gold is not None:
            unlabelled = unlabelled | aggregation.contradicted(bags.offsets, bags.labels, gold)
        unlabelled = unlabelled[bags.sentence_bag]
    guesses = torch.where(unlabelled, torch.nan, guesses.to(torch.float32))
    return guesses if gold is None else torch.where(gold.isnan(), guesses, gold)


def most_certain(guesses: Tensor, share: float) -> Tensor:
    """Keep the share of guesses at either end, the rest unlabelled: what lies between is what a head still mixes up."""
    if share >= 1.0:
        return guesses
    order = guesses[~guesses.isnan()].sort().values
    count = max(1, round(len(order) * share / 2))
    low, high = order[count - 1], order[-count]
    return torch.where((guesses <= low) | (guesses >= high), guesses, torch.nan)
