"""PsLab: sentence labels that agree with the response labels, to train fresh heads on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fractal.mil.aggregations import Aggregation, labels_given
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
        alone: let fresh heads stand in place of those before them, as in the paper; if not, both count.
        always: keep every round; if not, only those by which held-out response labels gain.

    """

    rounds: int = 0
    soft: bool = True
    shares: tuple[float, ...] = (1.0,)
    alone: bool = False
    always: bool = False

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
    gold = bags.targets.get("gold", torch.full((len(bags.features),), torch.nan))
    scores = aggregation.probabilities(logits)
    guesses, impossible = labels_given(aggregation, scores, bags.offsets, bags.labels, bags.pairs, gold, soft=soft)
    said = ~bags.labels.isnan() & ~aggregation.contradicted(bags.offsets, bags.labels, gold)
    if bags.pairs is not None:
        compared = torch.zeros(len(bags), dtype=torch.bool)
        compared[bags.pairs[bags.pairs[:, 2] == 0][:, :2].flatten()] = True
        said = said | (compared & ~impossible)
    guesses = torch.where(said[bags.sentence_bag], guesses.to(torch.float32), torch.nan)
    return torch.where(gold.isnan(), guesses, gold)


def most_certain(guesses: Tensor, share: float) -> Tensor:
    """Keep the share of guesses at either end, the rest unlabelled: what lies between is what a head still mixes up."""
    if share >= 1.0:
        return guesses
    order = guesses[~guesses.isnan()].sort().values
    count = max(1, round(len(order) * share / 2))
    low, high = order[count - 1], order[-count]
    return torch.where((guesses <= low) | (guesses >= high), guesses, torch.nan)
