"""Terms that read labels: of responses, of pairs of responses, of sentences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fractal.mil.aggregations import shifted
from fractal.mil.bags import Bags
from fractal.mil.objectives.base import EDGE, Scores, Term, check_kind, distance, mean_over_bags, weighted_mean
from fractal.mil.segments import segment_mean
from fractal.registry import Registry

__all__ = ["LOSSES", "PreferenceLoss", "ResponseLoss", "SentenceLoss"]

LOSSES: Registry[Term] = Registry("loss")


@LOSSES.register("response")
@dataclass(frozen=True)
class ResponseLoss(Term):
    """The aggregated score should explain the response's label: exact likelihood, or bce, mae, mse, msle of the score.

    What is known of single sentences (`observed`) is taken as it is: the response's label then tells of the others.
    Where it contradicts the response's label, that label says nothing.
    """

    weight: float = 1.0
    kind: str = "likelihood"
    observed: str = ""  # the column of targets that holds sentence labels
    good_share: float = 0.5  # of the labels: good and bad ones weigh as if they were equally many

    def __post_init__(self) -> None:
        check_kind(self.kind, ("likelihood", "bce", "mae", "mse", "msle"))
        if not 0.0 < self.good_share < 1.0:
            raise ValueError(f"good_share={self.good_share}: give a share between 0 and 1")

    def __call__(self, scores: Scores, bags: Bags) -> Tensor:
        observed = bags.targets.get(self.observed)
        if observed is not None and bool(observed.isnan().all()):
            observed = None  # as in most batches where few sentences have labels: nothing is to be weighed
        scores = scores.with_observed(observed)
        labelled = ~bags.labels.isnan()  # (bag,)
        if observed is not None:
            labelled = labelled & ~scores.aggregation.contradicted(bags.offsets, bags.labels, observed)
        labels = torch.where(labelled, bags.labels, 0.0)
        if self.kind == "likelihood":
            cost = -scores.aggregation.log_likelihood(scores.logits, bags.offsets, labels, bags.rating_offset)
        else:
            cost = distance(self.kind, self._log_odds(scores, bags.rating_offset), labels.unsqueeze(-1))
        weights = bags.weights * labelled.unsqueeze(-1)
        if self.good_share != 0.5:
            classes = labels / self.good_share + (1 - labels) / (1 - self.good_share)
            weights = weights * classes.unsqueeze(-1)
        return weighted_mean(cost, weights)

    def _log_odds(self, scores: Scores, controlled: Tensor | None) -> Tensor:
        """Level forms have log-odds a threshold; their mean probability is the expected level: (bag, member)."""
        logits = shifted(scores.response_logits, controlled)
        return logits if logits.dim() == 2 else torch.logit(torch.sigmoid(logits).mean(1), eps=EDGE)


@LOSSES.register("preference")
@dataclass(frozen=True)
class PreferenceLoss(Term):
    """The better of two responses should be the stronger: Bradley–Terry on mean scores (ratio) or log-odds (logit)."""

    weight: float = 1.0
    kind: str = "ratio"
    observed: str = ""  # the column of targets that holds sentence labels: taken as they are, as in the response loss

    def __post_init__(self) -> None:
        check_kind(self.kind, ("ratio", "logit"))

    def __call__(self, scores: Scores, bags: Bags) -> Tensor:
        members = scores.logits.shape[-1]
        if bags.pairs is None or len(bags.pairs) == 0:
            return scores.logits.sum() * torch.zeros(members, device=scores.logits.device)
        scores = scores.with_observed(bags.targets.get(self.observed))
        better, worse, tie = bags.pairs.unbind(1)  # (pair,) each
        # (bag, member), of which the winner's share is the sigmoid of the difference; a part is what is controlled
        strength = shifted(self._strength(scores), bags.preference_offset)
        lead = strength[better] - strength[worse]
        share = (1.0 - 0.5 * tie.to(lead.dtype)).unsqueeze(-1)  # 1 for a win, ½ for a tie
        cost = F.softplus(lead) - share * lead
        return weighted_mean(cost, bags.weights[better])

    def _strength(self, scores: Scores) -> Tensor:
        if self.kind == "logit":
            logits = scores.response_logits
            return logits if logits.dim() == 2 else logits.mean(1)
        # y₁ / (y₁ + y₂) = σ(log y₁ − log y₂)
        return segment_mean(scores.sentence, scores.offsets).clamp(min=EDGE).log()


@LOSSES.register("sentence")
@dataclass(frozen=True)
class SentenceLoss(Term):
    """Every sentence should have the score it is told to have: gold labels, a teacher's scores or guesses."""

    weight: float = 1.0
    target: str = "gold"
    kind: str = "bce"

    def __post_init__(self) -> None:
        check_kind(self.kind, ("bce", "mae", "mse"))

    def __call__(self, scores: Scores, bags: Bags) -> Tensor:
        return against_target(self.target, self.kind, scores, bags)


def against_target(name: str, kind: str, scores: Scores, bags: Bags) -> Tensor:
    """Distance of every sentence score from a column of targets, where the column knows one."""
    target = bags.targets.get(name)
    if target is None:
        return scores.logits.sum() * torch.zeros(scores.logits.shape[-1], device=scores.logits.device)
    labelled = ~target.isnan()  # (sentence,)
    cost = distance(kind, scores.sentence_logits, torch.where(labelled, target, 0.0).unsqueeze(-1))
    return mean_over_bags(cost, labelled, bags)
