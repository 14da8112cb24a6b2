"""One head for several labels of a response: every aspect reads its own outputs, its own labels and its own rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fractal.mil.aggregations import Aggregation
from fractal.mil.aggregations.base import Direction
from fractal.mil.bags import Bags
from fractal.mil.objectives.base import Scores, Term
from fractal.mil.objectives.losses import ResponseLoss
from fractal.mil.outputs import Outputs, read_outputs

__all__ = ["Aspect", "AspectTerm", "MeanTerm", "MultiAspect", "held_out_by_aspect"]


@dataclass(frozen=True)
class Aspect:
    """One of several labels: which column of the labels it is, which outputs of the head, and how sentences make it."""

    name: str
    aggregation: Aggregation
    column: int
    outputs: Outputs


@dataclass(frozen=True)
class MultiAspect(Aggregation):
    """Several rules side by side, each over outputs of its own: the shape of a head that aspects share.

    Labels are read by one `AspectTerm` an aspect; here are only what all aspects have in common.
    """

    aspects: tuple[Aspect, ...]

    @classmethod
    def of(cls, parts: Sequence[tuple[str, int, Aggregation]]) -> MultiAspect:
        """Give every name, with its column of the labels and its rule, the next outputs of the head."""
        aspects: list[Aspect] = []
        for name, column, form in parts:
            first = aspects[-1].outputs[1] if aspects else 0
            aspects.append(Aspect(name, form, column, (first, first + form.thresholds)))
        return cls(tuple(aspects))

    @property
    def thresholds(self) -> int:
        return self.aspects[-1].outputs[1]

    @property
    def direction(self) -> Direction:
        """The rule of the first aspect; every aspect goes back by its own."""
        return self.aspects[0].aggregation.direction

    def pair(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        parts = [
            aspect.aggregation.pair(scores[:, slice(*aspect.outputs)], complements[:, slice(*aspect.outputs)], offsets)
            for aspect in self.aspects
        ]
        return torch.cat([score for score, _ in parts], 1), torch.cat([complement for _, complement in parts], 1)

    def from_logits(self, logits: Tensor, offsets: Tensor) -> Tensor:
        """Return the log-odds of every response, aspect behind aspect: (sentence, output, …) → (bag, output, …)."""
        response_logits = [a.aggregation.from_logits(logits[:, slice(*a.outputs)], offsets) for a in self.aspects]
        return torch.cat(response_logits, 1)


@dataclass(frozen=True)
class AspectTerm(Term):
    """A term as one aspect sees it; of the bags' labels (bag, aspect) it reads one column."""

    name: str
    weight: float
    term: Term
    aspect: Aspect

    @classmethod
    def of(cls, term: Term, aspect: Aspect) -> AspectTerm:
        """Let a term read one aspect only."""
        return cls(f"{term.name} {aspect.name}", term.weight, term, aspect)

    def __call__(self, scores: Scores, bags: Bags) -> Tensor:
        logits = read_outputs(scores.logits, self.aspect.outputs)
        of_aspect = Scores(logits, scores.offsets, self.aspect.aggregation)
        return self.term(of_aspect, bags.of_aspect(self.aspect.column))


@dataclass(frozen=True)
class MeanTerm(Term):
    """The mean of several terms, each counted alike."""

    terms: tuple[Term, ...]
    name: str = "mean"
    weight: float = 1.0

    def __call__(self, scores: Scores, bags: Bags) -> Tensor:
        return torch.stack([term(scores, bags) for term in self.terms]).mean(0)


def held_out_by_aspect(aspects: Sequence[Aspect]) -> Term:
    """Return what stops a training that aspects share: the cost of held-out labels, every aspect counted alike."""
    return MeanTerm(tuple(AspectTerm.of(ResponseLoss(), aspect) for aspect in aspects))
