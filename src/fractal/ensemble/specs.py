"""What each expert of a blend is before it is trained: the columns it reads, and whether it has a hidden layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from fractal.features import RECIPE_SUMMARIES, RECIPES, feature_specs
from fractal.mil.training.plan import TrainingPlan

__all__ = ["MEAN_EXPERTS", "PSEUDO_LABEL_EXPERTS", "RESPONSE_EXPERTS", "ExpertSpec"]

LINEAR_STEP = 3.0  # what the learning rate is multiplied by where there is no hidden layer


@dataclass(frozen=True)
class ExpertSpec:
    """One expert before it is trained. A linear one errs otherwise than one with a hidden layer: an ensemble gains."""

    features: tuple[str, ...]
    linear: bool = False
    directions: int | None = None  # of its vectors, 0: the vectors as they are; None: what the settings say

    @classmethod
    def of(cls, recipe: str | Sequence[str], *, linear: bool = False, directions: int | None = None) -> Self:
        """Return the sketch of a recipe, or of features joined by `+`."""
        return cls(feature_specs(recipe), linear, directions)

    def plan(self, plan: TrainingPlan) -> TrainingPlan:
        """Return how this expert is trained, where `plan` says how the others are."""
        if not self.linear:
            return plan
        return replace(plan, hidden=(), dropout=0.0, learning_rate=plan.learning_rate * LINEAR_STEP)

    def kept_directions(self, directions: int) -> int:
        """Return how many principal directions of its vectors are kept, where others keep so many."""
        return directions if self.directions is None else self.directions

    def __str__(self) -> str:
        named = next((name for name, features in RECIPES.items() if features == self.features), None)
        features = (
            f"{self.features[0]} … {self.features[-1]}" if len(self.features) > 1 else f"{self.features[0]} feature"
        )
        return f"{RECIPE_SUMMARIES[named] if named else features}{', linear' if self.linear else ''}"


def _experts(readers: str) -> tuple[ExpertSpec, ...]:
    return (
        ExpertSpec.of(readers),
        ExpertSpec.of(readers, linear=True),
        ExpertSpec.of("sentence", directions=0),
        ExpertSpec.of("default"),
    )


RESPONSE_EXPERTS = _experts("own")  # what recipe='auto' trains on the labels of responses
MEAN_EXPERTS = _experts(
    "relational"
)  # on means and on labels of sentences: no column satisfies them without the sentences
PSEUDO_LABEL_EXPERTS = (ExpertSpec.of("relational"), ExpertSpec.of("default"))  # on pseudo-labels
