"""Runs whose steps stand in order: the first wrong step that no later one mends fails them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fractal.mil.aggregations.base import AGGREGATIONS
from fractal.mil.aggregations.logodds import log_ratio, tame, widened
from fractal.mil.aggregations.soft import Product
from fractal.mil.segments import bag_index, lift, segment_first, segment_max, segment_running_sum, segment_sum

__all__ = ["FirstError", "blame_of_order", "first_error_chances"]


@AGGREGATIONS.register("first_error")
@dataclass(frozen=True)
class FirstError(Product):
    """The product, where in a bad response one step is to blame: the first wrong one; what follows is not judged.

    A score is 1 − the hazard of its step: the chance that a run which was right so far goes wrong there. With a
    `recovery`, each later step that is right mends an earlier error with that chance, and the step to blame is the
    first error that none mended.
    """

    recovery: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.recovery < 1:
            raise ValueError(f"recovery={self.recovery}: give a chance from 0 to below 1, such as 0.1")

    def lowest(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return P(the run is right after its last step), and 1 − it."""
        if not self.recovery:
            return super().lowest(scores, complements, offsets)
        right, wrong = _states(scores, complements, offsets, self.recovery)
        return right[-1], wrong[-1]

    def lowest_log_odds(self, logits: Tensor, offsets: Tensor) -> Tensor:
        if not self.recovery:
            return super().lowest_log_odds(logits, offsets)
        tamed = tame(widened(logits))
        return log_ratio(*self.lowest(tamed.sigmoid(), (-tamed).sigmoid(), offsets))

    def _posterior(self, scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
        """1 − P(this step is to blame | label): (sentence, …)."""
        return blame_of_order(self._blame(scores, offsets), scores, offsets, labels)

    def _most_likely(self, scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
        """0 for the step of a bad response that is likeliest to blame and 1 for every other step."""
        return most_blamed(self._blame(scores, offsets), scores, offsets, labels)

    def _blame(self, scores: Tensor, offsets: Tensor) -> Tensor:
        if not self.recovery:
            return first_error_chances(scores, offsets)
        return lasting_error_chances(scores, offsets, self.recovery)


def blame_of_order(blame: Tensor, scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
    """Return 1 − the share of blame (sentence, …) that a response's label leaves each step."""
    label = lift(labels, offsets, len(scores))
    return torch.where(label.isnan(), scores, 1 - (1 - label) * blame)


def most_blamed(blame: Tensor, scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
    """Return 0 for the step of a bad response with most blame, 1 for every other: (sentence, …)."""
    label = lift(labels, offsets, len(scores))
    worst = segment_first(blame == lift(segment_max(blame, offsets), offsets, len(scores)), offsets)
    hard = torch.where(label > 0.5, torch.ones_like(worst), ~worst)
    return torch.where(label.isnan(), scores > 0.5, hard).to(scores.dtype)


def first_error_chances(scores: Tensor, offsets: Tensor) -> Tensor:
    """P(step t is wrong, none before it | some step is wrong); equal shares where every score is 1: (sentence, …)."""
    logs = scores.clamp(min=1e-300 if scores.dtype == torch.float64 else 1e-38).log()
    passed = (segment_running_sum(logs, offsets) - logs).exp()  # of all steps before
    total = -torch.expm1(segment_sum(logs, offsets))
    return shares_of(passed * (1 - scores), total, offsets)


def lasting_error_chances(scores: Tensor, offsets: Tensor, recovery: float) -> Tensor:
    """P(step t is wrong after a right state, and no later step mends it | the run ends wrong): (sentence, …)."""
    right, wrong = _states(scores, 1 - scores, offsets, recovery)
    bags = bag_index(offsets, len(scores))
    places = torch.arange(len(scores), device=scores.device) - offsets[:-1][bags]
    before = right[places, bags]  # the first state is the one before any step
    logs = torch.log1p(-recovery * scores)  # that a step mends nothing
    later = lift(segment_sum(logs, offsets), offsets, len(scores)) - segment_running_sum(logs, offsets)
    return shares_of(before * (1 - scores) * later.exp(), wrong[-1], offsets)


def shares_of(parts: Tensor, total: Tensor, offsets: Tensor) -> Tensor:
    """Return each step's part (sentence, …) of a total (bag, …); equal shares where there is nothing to share."""
    whole = lift(total, offsets, len(parts))
    count = lift(offsets.diff().to(parts.dtype).reshape(-1, *(1,) * (parts.ndim - 1)), offsets, len(parts))
    shares = parts / torch.where(whole > 0, whole, 1.0)
    return torch.where(whole > 0, shares, (1 / count).expand_as(parts)).clamp(max=1)


def _states(scores: Tensor, complements: Tensor, offsets: Tensor, recovery: float) -> tuple[Tensor, Tensor]:
    """P(right) and P(wrong) before any step and after each: (step + 1, bag, …); a run stays as its last step left it.

    A right step keeps a right run right, and mends a wrong one with the chance of recovery; a wrong one makes it wrong.
    """
    sizes, last = offsets.diff(), len(scores) - 1
    right = [torch.ones_like(scores[offsets[:-1]])]
    wrong = [torch.zeros_like(right[0])]
    for place in range(int(sizes.max())):
        rows = (offsets[:-1] + place).clamp(max=last)
        score, complement = scores.index_select(0, rows), complements.index_select(0, rows)
        active = (place < sizes).reshape(-1, *(1,) * (scores.ndim - 1))
        right.append(torch.where(active, score * (right[-1] + recovery * wrong[-1]), right[-1]))
        wrong.append(torch.where(active, complement + score * (1 - recovery) * wrong[-1], wrong[-1]))
    return torch.stack(right), torch.stack(wrong)
