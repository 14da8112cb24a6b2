"""What a fit may try and how."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fractal.ensemble.self_training import SelfTraining
from fractal.ensemble.specs import ExpertSpec
from fractal.errors import BadSpec
from fractal.features import reads_vectors
from fractal.mil.aggregations import Aggregation
from fractal.mil.objectives.base import Term
from fractal.mil.training.plan import TrainingPlan

if TYPE_CHECKING:
    from fractal.ensemble.control import Control
    from fractal.ensemble.warm import WarmStart

__all__ = ["FitConfig"]


LOSSES = ("auto", "bce", "mae", "mse", "msle", "ratio")


@dataclass(frozen=True)
class FitConfig:
    """What a fit may try and how: every choice that is not made by the labels."""

    experts: tuple[ExpertSpec, ...]
    mean_experts: tuple[ExpertSpec, ...] = ()  # under aggregations by the mean; as before if empty
    pseudo_label_experts: tuple[ExpertSpec, ...] = ()  # those that train on pseudo-labels; as before if empty
    why_experts: str = ""  # what of the data chose the experts
    priors: tuple[Term, ...] = ()
    try_priors: bool = False  # those that could serve, one by one: what priors='auto' means
    start: str = "even"  # 'even' odds, the 'prior' of similarity, or 'auto': what held-out labels prefer
    directions: int = 64
    self_training: SelfTraining = field(default_factory=SelfTraining)
    gold_weight: float = 1.0
    learn_from: str = "responses"  # 'sentences': full supervision, the ceiling that others are held against
    loss: str = "auto"  # kind of the loss on labels of responses; 'auto': the exact likelihood
    class_weights: str | float = "none"  # 'balanced' or the share of good ones: as if both were equally many
    plan: TrainingPlan = field(default_factory=TrainingPlan)
    control: Control | None = None  # covariates that are taken out of labels of responses
    warm: WarmStart | None = None  # an earlier ensemble from which the heads go on
    checkpoints: Path | None = None  # a folder: a fit that was killed goes on from there, to the same bits

    def __post_init__(self) -> None:
        if self.learn_from not in ("responses", "sentences"):
            raise BadSpec(f"learn_from={self.learn_from!r}: give 'responses' or 'sentences'")
        if self.loss not in LOSSES:
            raise BadSpec(f"loss={self.loss!r}: give {', '.join(map(repr, LOSSES))}")
        share = self.class_weights
        if not (0.0 < share < 1.0 if isinstance(share, int | float) else share in ("none", "balanced")):
            raise BadSpec(
                f"class_weights={share!r}: give 'none', 'balanced', or the share of good responses, between 0 and 1"
            )
        if self.supervised and (self.loss, self.class_weights) != ("auto", "none"):
            raise BadSpec(
                "loss and class_weights are of labels of responses: leave them out with learn_from='sentences'"
            )
        if self.start not in ("even", "prior", "auto"):
            raise BadSpec(f"start={self.start!r}: give 'even', 'prior' or 'auto'")

    def of_one_fit(self, **changes: Any) -> FitConfig:
        """Return what a fit inside another may try: what comes after all fits is left to the outer one."""
        return replace(self, **{"try_priors": False, "plan": replace(self.plan, shrink=False), **changes})

    def of_aspect(self, name: str) -> FitConfig:
        """Return the same for a fit that knows one aspect only, as the response's own label."""
        return replace(self, control=self.control.of_aspect(name)) if self.control else self

    @property
    def controlled(self) -> tuple[str, ...]:
        """The names of the covariates that were to be taken out of labels."""
        return self.control.names if self.control else ()

    @property
    def supervised(self) -> bool:
        """Whether sentence labels are what is learned from."""
        return self.learn_from == "sentences"

    @property
    def reads_vectors(self) -> bool:
        """Whether anything that learns may read vectors; where nothing does, no text need be encoded."""
        experts = (*self.experts, *self.mean_experts, *self.pseudo_label_experts)
        asked = self.priors or self.try_priors or self.start != "even"
        return bool(asked) or any(reads_vectors(spec.features) for spec in experts)

    def experts_for(self, aggregation: Aggregation, *, has_pairs: bool) -> tuple[ExpertSpec, ...]:
        """Return the first experts: they see of the rest of a response only where no shortcut leads over it."""
        by_mean = aggregation.direction == "mean" and not has_pairs
        return self.mean_experts if by_mean and self.mean_experts else self.experts
