"""What is trained and how: the objective and the plan."""

from __future__ import annotations

from dataclasses import dataclass

from fractal.mil.aggregations import Aggregation
from fractal.mil.objectives.base import Term

__all__ = ["Objective", "TrainingPlan"]

STEPS, BATCHES = 48, (32, 256)  # steps an epoch that a batch leaves if it may, and the responses of one


@dataclass(frozen=True)
class Objective:
    """What training makes small: the sum of its terms, by weight, under one aggregation."""

    terms: tuple[Term, ...]
    aggregation: Aggregation
    curriculum: int = 0  # move the priors' weight to the labels, a step every so many epochs; 0 never
    validation_loss: str | Term = "response"  # held-out labels stop it: of responses, of a sentence target, or a term's
    reads_labels: int = 1  # so many first terms read labels; those after them are priors

    def weights(self, epoch: int, epochs: int) -> tuple[float, ...]:
        """Return each term's weight in an epoch: with a curriculum the first term takes over what the priors lose."""
        weights = [term.weight for term in self.terms]
        if not self.curriculum:
            return tuple(weights)
        passed = (epoch // self.curriculum * self.curriculum) / max(epochs, 1)  # held between the steps
        first, *labels = weights[: self.reads_labels]
        priors = weights[self.reads_labels :]
        return (first + passed * sum(priors), *labels, *(weight * (1.0 - passed) for weight in priors))


@dataclass(frozen=True)
class TrainingPlan:
    """How a head is trained: every number that is not learned."""

    epochs: int = 60
    batch_size: int = 0  # responses; 0: as many as make STEPS steps an epoch, within BATCHES
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    patience: int = 10
    hidden: tuple[int, ...] = (64,)
    dropout: float = 0.1
    members: int = 5
    folds: int = 5
    from_initial: bool = True
    curriculum: int = 0  # move the priors' weight to the labels, a step every so many epochs; 0 never
    length_control: bool = True  # of preferences: what length alone explains, sentences need not
    topic_control: bool = True  # of preferences alone: what both answers to a question share counts less
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"  # 'fp32', 'bf16', or 'auto': bf16 where it is native and pays

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "members"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1")
        if self.batch_size < 0:
            raise ValueError(f"batch_size={self.batch_size}: give a number of responses, or 0 for one that suits them")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout={self.dropout}: give a share in [0, 1)")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden={self.hidden}: give widths of at least 1, or () for a linear head")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate}: give a number above 0")

    def batch_of(self, responses: int) -> int:
        """Return how many of so many responses are in a batch: few responses need small ones, to take enough steps."""
        return self.batch_size or min(max(responses // STEPS, BATCHES[0]), BATCHES[1])
