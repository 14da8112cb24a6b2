"""A fit that goes on from an earlier one: it takes its columns, its folds and its heads, and trains them a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fractal.ensemble.experts import Ensemble, Expert
from fractal.ensemble.few_ratings import SIMILARITY
from fractal.ensemble.initialisation import InitialLogits
from fractal.ensemble.specs import ExpertSpec
from fractal.evaluation.folds import member_weights
from fractal.features import Projection
from fractal.mil.training.plan import TrainingPlan

__all__ = ["WarmStart"]

EPOCHS, PATIENCE = 12, 5  # of heads that go on; 8 and 3 lost .001 of AUC in a trial with many corrections
MOST_NEW = 0.5  # share of the responses, as the columns are those of the earlier ones; not measured


@dataclass(frozen=True, eq=False)
class WarmStart:
    """An earlier ensemble, and which of its members learned from the responses at hand.

    A member can be judged only by responses that it never learned from. So the earlier folds are kept, and new
    responses join the fold of their group, or are dealt where their group is new.
    """

    ensemble: Ensemble
    seen: NDArray[np.float32]  # (response, member): 0 where a member held it out, 1 where not, nan where it is new

    def expert(self, spec: ExpertSpec, plan: TrainingPlan, directions: int) -> Expert | None:
        """Return the earlier expert of a kind: the same columns, and heads of the same form."""
        form = (spec.features, spec.plan(plan).hidden, plan.members)
        for expert in self.ensemble.experts:
            shape = expert.head.shape
            alike = (expert.pipeline.recipe, shape.hidden, shape.members) == form
            if alike and _keeps(expert.pipeline.projection, spec.kept_directions(directions)):
                return expert
        return None

    def plan(self, plan: TrainingPlan) -> TrainingPlan:
        """Return how heads go on, where `plan` says how they would be trained afresh."""
        return replace(plan, epochs=min(plan.epochs, EPOCHS), patience=min(plan.patience, PATIENCE))

    def weights(
        self, groups: Sequence[str], labels: NDArray[np.floating], members: int, folds: int, seed: int = 0
    ) -> NDArray[np.float32]:
        """Return how much each member learns from each response, as `member_weights` does, the earlier folds kept."""
        weights = self.seen.copy()
        fold_of_group: dict[str, NDArray[np.float32]] = {}
        is_new = np.isnan(self.seen[:, 0])
        for row in np.flatnonzero(~is_new).tolist():
            fold_of_group.setdefault(groups[row], self.seen[row])
        for row in np.flatnonzero(is_new).tolist():
            weights[row] = fold_of_group.get(groups[row], np.nan)
        dealt = np.isnan(weights[:, 0])
        if dealt.any():
            fresh = [group for group, alone in zip(groups, dealt, strict=True) if alone]
            weights[dealt] = member_weights(fresh, labels[dealt], members, folds, seed)
        return weights

    def why_not(self, specs: Sequence[ExpertSpec], plan: TrainingPlan, directions: int) -> str:
        """Say why these experts cannot go on from the earlier ones; nothing where they can."""
        experts = [self.expert(spec, plan, directions) for spec in specs]
        learned = [one for one in self.ensemble.experts if one in experts or one.pipeline.recipe != SIMILARITY.features]
        if None in experts or len(learned) != len(specs):
            return "it has other experts, or other heads"
        if any(expert and expert.initial != InitialLogits() for expert in experts):
            return "its heads started at the similarity"
        share = float(np.isnan(self.seen[:, 0]).mean())
        return f"{share:.0%} of the responses are new" if share > MOST_NEW else ""


def _keeps(projection: Projection | None, directions: int) -> bool:
    """Whether a projection keeps so many directions, or all that there are; without vectors there is none to keep."""
    blocks = list(projection.blocks.values()) if projection else []
    return not blocks or max(basis.shape[1] for _, basis in blocks) == min(directions, len(blocks[0][0]))
