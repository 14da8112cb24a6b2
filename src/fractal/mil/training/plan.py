"""What is trained and how: the objective and the plan."""

from __future__ import annotations

from dataclasses import dataclass

from fractal.mil.aggregations import Aggregation
from fractal.mil.objectives.base import Term

__all__ = ["Objective", "TrainingPlan"]

WIDEST, MOST_LAYERS, LARGEST_SEED = 65_536, 64, 2**32 - 1
STEPS, BATCHES = 48, (32, 256)  # steps an epoch that a batch leaves if it may, and the responses of one


@dataclass(frozen=True)
class Objective:
    """What training makes small: the sum of its terms, by weight, under one aggregation.

    Attributes:
        terms: losses that read labels, then priors that read none, each with its weight.
        aggregation: how the scores of sentences make the score of their response.
        curriculum: move the priors' weight to the first loss, a step every so many epochs; 0: never.
        validation_loss: the held-out labels that stop training: of responses ("response"), of a sentence target (its
            name), or those that a term reads.
        reads_labels: how many of the first terms read labels; those after them are priors.

    """

    terms: tuple[Term, ...]
    aggregation: Aggregation
    curriculum: int = 0
    validation_loss: str | Term = "response"
    reads_labels: int = 1

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
    """How a head is trained: every number that is not learned.

    Attributes:
        epochs: the most passes over the responses.
        batch_size: responses in a batch; 0: as many as leave about 48 steps an epoch, from 32 to 256.
        learning_rate: step size of AdamW.
        weight_decay: decay of the weights of AdamW; biases and the scale of the initial logits do not decay.
        patience: stop after so many epochs in which no member came to a lower held-out loss.
        hidden: widths of the hidden layers; () for a linear head.
        dropout: share of the hidden values that is dropped in training.
        members: heads trained side by side on other folds, whose logits are averaged.
        folds: parts that the responses are dealt into; each member holds one out, to stop by; below 2 none does.
        from_initial: start at the initial logits, the network's last layer at zero, rather than at random.
        curriculum: move the priors' weight to the loss on labels, a step every so many epochs; 0: never.
        length_control: let what the lengths of two answers explain of a preference not count for their sentences.
        topic_control: of preferences alone: shrink what the sentences of all answers to one question share.
        shrink: draw sentence scores to their response's mean by nothing, a quarter or a half, as held-out ratings ask.
        few_ratings: below 500 rated responses: trust weights of experts less, and let similarity count beside them.
        so_far: of 500 rated responses and more, cut into steps: one more expert reads the means of columns up to each.
        seed: deals the folds, draws the first weights, the batches and what is dropped.
        device: 'cpu', 'cuda', 'mps', …, or 'auto': a GPU where there is one.
        precision: of the products: 'fp32', 'bf16', or 'auto': bf16 where it is native and the columns are many enough.

    """

    epochs: int = 60
    batch_size: int = 0
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    patience: int = 10
    hidden: tuple[int, ...] = (64,)
    dropout: float = 0.1
    members: int = 5
    folds: int = 5
    from_initial: bool = True
    curriculum: int = 0
    length_control: bool = True
    topic_control: bool = True
    shrink: bool = True
    few_ratings: bool = True
    so_far: bool = True
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

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
        if any(width > WIDEST for width in self.hidden) or len(self.hidden) > MOST_LAYERS:
            raise ValueError(f"hidden={self.hidden}: give at most {MOST_LAYERS} widths of at most {WIDEST:,}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"seed={self.seed}: give a whole number from 0 to {LARGEST_SEED:,}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate}: give a number above 0")

    def batch_of(self, responses: int) -> int:
        """Return how many of so many responses are in a batch: few responses need small ones, to take enough steps."""
        return self.batch_size or min(max(responses // STEPS, BATCHES[0]), BATCHES[1])
