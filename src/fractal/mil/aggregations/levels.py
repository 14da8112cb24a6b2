"""Levels 0 … K − 1: the response has the highest, or the lowest, level of its independent sentences.

The head gives a sentence K − 1 numbers: under `max_levels` the log-odds that it has level c, given that it has at most
c, for c = 1 … K − 1; under `min_levels` that it has at least c, given that it has at least c − 1. Whatever the numbers
are, they are a distribution, and the response's own distribution is written in the same numbers, each of them the
noisy-or (the product) of the sentences': the exact likelihood has no difference of nearly equal numbers in it.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fractal.errors import BadData
from fractal.mil.aggregations.base import AGGREGATIONS, Aggregation, Direction, align, shifted
from fractal.mil.aggregations.disaggregation import posterior_minimum
from fractal.mil.aggregations.logodds import SATURATED, TINY, log_odds_of_log, tame, widened
from fractal.mil.aggregations.soft import all_good
from fractal.mil.segments import lift, segment_first, segment_max, segment_min, segment_prod

__all__ = ["Levels", "MaxLevels", "MinLevels"]


@dataclass(frozen=True)
class Levels(Aggregation):
    """What both directions share: written for the highest level; the lowest is its mirror."""

    bounded: ClassVar[bool] = False  # the expected highest level lies above every expected level

    levels: int = 4

    def __post_init__(self) -> None:
        if not (isinstance(self.levels, int) and self.levels >= 3):
            raise ValueError(
                f"levels={self.levels!r}: give a whole number from 3; two levels are 0 and 1, as in max and noisy_or"
            )

    @property
    def thresholds(self) -> int:
        return self.levels - 1

    @abstractmethod
    def mirrored(self, numbers: Tensor) -> Tensor:
        """Turn the head's numbers, or back, so that the response has the highest level."""

    @abstractmethod
    def reversed(self, classes: Tensor) -> Tensor:
        """Turn levels, along the second axis, so that the response has the highest."""

    @abstractmethod
    def top(self, labels: Tensor) -> Tensor:
        """Turn a level so that the response has the highest."""

    def response_distribution(self, logits: Tensor, offsets: Tensor) -> Tensor:
        """Return the log-probability of every level of the response: (bag, level, …)."""
        return self.reversed(_distribution(self._of_response(logits, offsets)))

    def _of_response(self, logits: Tensor, offsets: Tensor) -> Tensor:
        return -all_good(-self.mirrored(widened(logits)), offsets)

    def from_logits(self, logits: Tensor, offsets: Tensor) -> Tensor:
        """Return the log-odds that the response has at least level k, for k = 1 … K − 1: (bag, level − 1, …)."""
        tamed = tame(self._of_response(logits, offsets), -SATURATED, torch.inf)
        return self.mirrored(-log_odds_of_log(_log_at_most(tamed)))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return P(sentence has at least level k), for k = 1 … K − 1: (sentence, level − 1, …)."""
        below = _log_at_most(self.mirrored(widened(logits)))
        return -torch.expm1(below) if self.direction == "max" else below.exp().flip(1)

    def sentence_scores(self, logits: Tensor) -> Tensor:
        """Return the expected level of every sentence / (K − 1): (sentence, member)."""
        return self.probabilities(logits).mean(1)

    def response_scores(self, logits: Tensor, offsets: Tensor) -> Tensor:
        """Return the expected level of every response / (K − 1): (bag, member)."""
        return self.from_logits(logits, offsets).sigmoid().mean(1)

    def __call__(self, scores: Tensor, offsets: Tensor) -> Tensor:
        """Return the expected level of the response / (K − 1) from P(level ≥ k), given as (sentence, level − 1, …).

        Scores of one or two axes have no thresholds: of them the hard rule's extreme is taken, as of levels.
        """
        scores = widened(scores)
        if scores.ndim > 2:
            return self.pair(scores, 1 - scores, offsets)[0].mean(1).clamp(0, 1)
        return segment_max(scores, offsets) if self.direction == "max" else segment_min(scores, offsets)

    def pair(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        if self.direction == "min":
            value = segment_prod(scores, offsets)
            return value, 1 - value
        complement = segment_prod(complements, offsets)
        return 1 - complement, complement

    def log_likelihood(
        self, logits: Tensor, offsets: Tensor, labels: Tensor, controlled: Tensor | None = None
    ) -> Tensor:
        """Return the log-likelihood of the label's level: (bag, …); 0, and no gradient, where it is unknown.

        A label between two levels is the weighted mean of the log-likelihoods of both. What is `controlled` moves the
        log-odds of every level alike.
        """
        if controlled is None:
            log_p = self.response_distribution(logits, offsets)  # (bag, level, …)
        else:
            log_p = _distribution_of_thresholds(shifted(self.from_logits(logits, offsets), controlled))
        low, high, share = self._between(align(labels, log_p[:, 0]))
        least = log_p.take_along_dim(low.unsqueeze(1), 1).squeeze(1)
        most = log_p.take_along_dim(high.unsqueeze(1), 1).squeeze(1)
        return torch.where(share.isnan(), 0.0, least + torch.nan_to_num(share) * (most - least))

    def _between(self, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The levels on either side of a label, and how far it is from the lower to the higher (nan: unknown)."""
        exact = labels * (self.levels - 1)
        exact = torch.where((exact - exact.round()).abs() < 1e-3, exact.round(), exact)
        low = torch.nan_to_num(exact).floor().long()
        return low, torch.nan_to_num(exact).ceil().long(), exact - low

    def most_likely_labels(
        self, scores: Tensor, offsets: Tensor, labels: Tensor, sentence_labels: Tensor | None = None
    ) -> Tensor:
        """Return each sentence's likeliest level / (K − 1), such that their extreme is the label: (sentence, …).

        Scores are P(level ≥ k), as `probabilities` gives them: (sentence, level − 1, …). A label between two levels
        goes to the nearer one; an unknown one leaves every sentence its likeliest level. Labels of sentences are kept.
        """
        p = self._classes(scores)  # (sentence, level, …), highest wins
        labels = align(labels, p[:, 0])
        if sentence_labels is None:
            return self._likeliest(p, offsets, labels)
        evidence = self.evidence(offsets, labels, sentence_labels)
        p = self.with_beliefs(p, sentence_labels)
        return evidence.around(self._likeliest, p, sentence_labels, highest=evidence.highest)

    def _likeliest(self, p: Tensor, offsets: Tensor, labels: Tensor, highest: Tensor | None = None) -> Tensor:
        """Choose the likeliest level of each sentence; `highest` (bag, …) are levels that others reach already."""
        log_p = p.clamp(min=TINY).log()
        level = self.top((torch.nan_to_num(labels, 1.0) * (self.levels - 1) + 0.5).floor())
        level = torch.where(labels.isnan(), float(self.levels - 1), level)
        wanted = lift(level, offsets, len(p)).long().expand_as(log_p[:, 0])
        idle = labels.isnan() if highest is None else labels.isnan() | (highest == level)
        idle = lift(idle, offsets, len(p))
        best, guess = _allowed(log_p, wanted).max(1)
        # the response's level must be met: where no sentence has it, the one that it costs least gets it
        cost = best - log_p.take_along_dim(wanted.unsqueeze(1), 1).squeeze(1)  # 0 where it is met
        met = segment_first(cost == lift(segment_min(cost, offsets), offsets, len(p)), offsets)
        guess = self.top(torch.where(met & ~idle, wanted, guess))
        return guess.to(log_p.dtype) / (self.levels - 1)

    def level_posterior(self, scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
        """Return P(sentence has level k | the response's level), from P(level ≥ k): (sentence, level, …)."""
        p = self._classes(scores)
        return self._level_posterior(p, offsets, align(labels, p[:, 0]))

    def _level_posterior(self, p: Tensor, offsets: Tensor, labels: Tensor, highest: Tensor | None = None) -> Tensor:
        low, high, share = self._between(labels)
        posterior = _posterior(p, offsets, self.top(low), highest)
        share = lift(share, offsets, len(p)).unsqueeze(1)
        if bool((low != high).any()):
            posterior = torch.lerp(posterior, _posterior(p, offsets, self.top(high), highest), torch.nan_to_num(share))
        return self.reversed(torch.where(share.isnan(), p, posterior))

    def posterior(
        self, scores: Tensor, offsets: Tensor, labels: Tensor, sentence_labels: Tensor | None = None
    ) -> Tensor:
        """Return the expected level of each sentence given the response's, and those of sentences, / (K − 1)."""
        p = self._classes(scores)
        labels = align(labels, p[:, 0])
        if sentence_labels is None:
            return self._expected(p, offsets, labels)
        evidence = self.evidence(offsets, labels, sentence_labels)
        p = self.with_beliefs(p, sentence_labels)
        return evidence.around(self._expected, p, sentence_labels, highest=evidence.highest)

    def _expected(self, p: Tensor, offsets: Tensor, labels: Tensor, highest: Tensor | None = None) -> Tensor:
        p = self._level_posterior(p, offsets, labels, highest)
        level = torch.linspace(0, 1, self.levels, dtype=p.dtype, device=p.device)
        return (p * level.reshape(-1, *(1,) * (p.ndim - 2))).sum(1)

    def observed_logits(self, labels: Tensor, edge: float) -> Tensor:
        """Return the head's numbers for sentences of these levels: (sentence, level − 1, 1)."""
        steps = torch.arange(1, self.levels, device=labels.device)
        at = self.top(labels * (self.levels - 1)).unsqueeze(1)  # (sentence, 1)
        numbers = torch.logit((at - steps + 1).clamp(0, 1), eps=edge)  # of the level, given that it is no higher
        return self.mirrored(torch.where(steps < at.floor(), 0.0, numbers).unsqueeze(-1))

    def with_beliefs(self, p: Tensor, sentence_labels: Tensor) -> Tensor:
        """Put labels of sentences in the place of the probabilities of their levels, highest wins."""
        at = align(self.top(sentence_labels * (self.levels - 1)), p[:, 0]).unsqueeze(1)
        levels = torch.arange(self.levels, device=p.device).reshape(1, -1, *(1,) * (p.ndim - 2))
        return torch.where(at.isnan(), p, (1 - (at - levels).abs()).clamp(min=0))

    def _classes(self, scores: Tensor) -> Tensor:
        """Return the probability of every level, turned so that the highest wins: (sentence, level, …)."""
        if scores.ndim < 2 or scores.shape[1] != self.thresholds:
            raise BadData(
                f"scores of shape {tuple(scores.shape)}: for {self.levels} levels give P(level ≥ k) as "
                f"(sentence, {self.thresholds}, …), as `probabilities` makes them from the head's logits"
            )
        scores = widened(scores)
        edge = scores[:, :1]
        steps = torch.cat([torch.ones_like(edge), scores, torch.zeros_like(edge)], dim=1)
        return self.reversed(-steps.diff(dim=1)).clamp(min=0)


@AGGREGATIONS.register("max_levels")
@dataclass(frozen=True)
class MaxLevels(Levels):
    """Levels 0 … K − 1, of which the response has the highest of its sentences'; exact likelihood."""

    direction: ClassVar[Direction] = "max"

    def mirrored(self, numbers: Tensor) -> Tensor:
        return numbers

    def reversed(self, classes: Tensor) -> Tensor:
        return classes

    def top(self, labels: Tensor) -> Tensor:
        return labels


@AGGREGATIONS.register("min_levels")
@dataclass(frozen=True)
class MinLevels(Levels):
    """Levels 0 … K − 1, of which the response has the lowest of its sentences'; exact likelihood."""

    direction: ClassVar[Direction] = "min"

    def mirrored(self, numbers: Tensor) -> Tensor:
        return -numbers.flip(1)

    def reversed(self, classes: Tensor) -> Tensor:
        return classes.flip(1)

    def top(self, labels: Tensor) -> Tensor:
        return self.levels - 1 - labels


def _log_at_most(numbers: Tensor) -> Tensor:
    """Log P(level < c) = Σ_{j ≥ c} log P(level < j | level ≤ j), for c = 1 … K − 1: (row, level − 1, …)."""
    return -F.softplus(numbers).flip(1).cumsum(1).flip(1)


def _distribution(numbers: Tensor) -> Tensor:
    """Log P(level = c) = log P(level ≤ c) + log P(level = c | level ≤ c): (row, level, …)."""
    below = _log_at_most(numbers)
    at_most = torch.cat([below, torch.zeros_like(below[:, :1])], dim=1)
    return at_most + torch.cat([torch.zeros_like(below[:, :1]), F.logsigmoid(numbers)], dim=1)


def _distribution_of_thresholds(logits: Tensor) -> Tensor:
    """Log P(level = c) = log (P(level ≥ c) − P(level ≥ c + 1)), from the log-odds of each: (row, level, …)."""
    gap = (logits[:, :-1] - logits[:, 1:]).clamp(min=TINY)
    between = F.logsigmoid(logits[:, :-1]) + F.logsigmoid(-logits[:, 1:]) + torch.log(-torch.expm1(-gap))
    return torch.cat([F.logsigmoid(-logits[:, :1]), between, F.logsigmoid(logits[:, -1:])], dim=1)


def _allowed(log_p: Tensor, wanted: Tensor) -> Tensor:
    """Forbid every level above the wanted one."""
    level = torch.arange(log_p.shape[1], device=log_p.device).reshape(1, -1, *(1,) * (wanted.ndim - 1))
    return torch.where(level <= wanted.unsqueeze(1), log_p, -torch.inf)


def _posterior(p: Tensor, offsets: Tensor, level: Tensor, highest: Tensor | None = None) -> Tensor:
    """P(sentence's level | the highest is this): no sentence lies above it, and at least one has it.

    Where others have it already (`highest`) these sentences need only stay below.
    """
    wanted = lift(level, offsets, len(p)).expand_as(p[:, 0]).unsqueeze(1)  # (sentence, 1, …)
    steps = torch.arange(p.shape[1], device=p.device).reshape(1, -1, *(1,) * (p.ndim - 2))
    there = p.take_along_dim(wanted, 1)
    under = torch.where(steps < wanted, p, 0.0)  # (sentence, level, …)
    fewer = under.sum(1, keepdim=True)
    allowed = (there + fewer).clamp(min=TINY)
    lost = there + fewer <= 0  # surely above the level, against the label: as near to it as the label permits
    hit = torch.where(lost, 1.0, there / allowed).squeeze(1)
    miss = torch.where(lost, 0.0, fewer / allowed).squeeze(1)
    spared = posterior_minimum(miss, hit, offsets, torch.zeros_like(level, dtype=p.dtype)).unsqueeze(1)
    if highest is not None:
        spared = torch.where(lift(highest == level, offsets, len(p)).unsqueeze(1), miss.unsqueeze(1), spared)
    onto = torch.zeros_like(p).scatter_(1, wanted, 1.0)
    floor = torch.zeros_like(p).scatter_(1, (wanted - 1).clamp(min=0), 1.0)
    return onto * (1 - spared) + spared * torch.where(fewer > 0, under / fewer.clamp(min=TINY), floor)
