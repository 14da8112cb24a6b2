"""Options of the training plan as options of the scorer itself: `plan__learning_rate` and the like."""

from __future__ import annotations

import dataclasses
from abc import ABC
from typing import Any, Self

from fractal.mil.training.plan import TrainingPlan
from fractal.scorers.base import Scorer

__all__ = ["PlanOptions"]


class PlanOptions(Scorer, ABC):
    """A scorer with a plan, whose single options can be read and set, in a grid search too."""

    plan: TrainingPlan | None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the options, those of the plan too when deep."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            plan = self.plan or TrainingPlan()
            params |= {f"plan__{field.name}": getattr(plan, field.name) for field in dataclasses.fields(plan)}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set options by name."""
        inner = {name.removeprefix("plan__"): params.pop(name) for name in list(params) if name.startswith("plan__")}
        super().set_params(**params)
        if inner:
            self.plan = dataclasses.replace(self.plan or TrainingPlan(), **inner)
        return self
