"""What every aggregation can do: sentence scores to a response score, the likelihood of a label, and the way back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fractal.mil.aggregations.disaggregation import hard_counts, hard_minimum, posterior_counts, posterior_minimum
from fractal.mil.aggregations.evidence import Evidence, weigh_evidence
from fractal.mil.aggregations.logodds import log_ratio, tame, widened
from fractal.registry import Registry

__all__ = ["AGGREGATIONS", "Aggregation", "align", "shifted"]

Direction = Literal["min", "max", "mean"]


class Aggregation(ABC):
    """A rule by which the scores of sentences make the score of their response.

    Every form takes its way back from the hard rule that it stands for: `min` (one bad sentence makes the response
    bad), `max` (one good one makes it good) or `mean` (the share of good ones).
    """

    name: ClassVar[str]
    bounded: ClassVar[bool] = True  # whether the result lies between the smallest and the largest score
    can_be_shifted: ClassVar[bool] = True  # whether its likelihood takes what is controlled

    @property
    @abstractmethod
    def direction(self) -> Direction:
        """The hard rule that this form stands for."""

    @property
    def thresholds(self) -> int:
        """How many outputs the head gives for a sentence."""
        return 1

    @abstractmethod
    def pair(self, scores: Tensor, complements: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the response score and 1 − it, from the scores and 1 − them, each exact where the other is near 1."""

    def __call__(self, scores: Tensor, offsets: Tensor) -> Tensor:
        """Return the score of every response: (sentence, …) → (bag, …), in [0, 1]."""
        scores = widened(scores)
        return self.pair(scores, 1 - scores, offsets)[0].clamp(0, 1)

    def from_logits(self, logits: Tensor, offsets: Tensor) -> Tensor:
        """Return the log-odds of every response, stable where scores are as good as 0 or 1."""
        tamed = tame(widened(logits))
        return log_ratio(*self.pair(tamed.sigmoid(), (-tamed).sigmoid(), offsets))

    def log_likelihood(
        self, logits: Tensor, offsets: Tensor, labels: Tensor, controlled: Tensor | None = None
    ) -> Tensor:
        """Return the log-likelihood of the labels: (bag, …); 0, and no gradient, where a label is unknown.

        A label between 0 and 1 is a share of belief: the weighted mean of the log-likelihoods of 1 and of 0. What is
        `controlled` (bag, 1 | member) is added to the log-odds of the responses.
        """
        response_logits = shifted(self.from_logits(logits, offsets), controlled)
        labels = align(labels, response_logits)
        labelled = ~labels.isnan()
        cost = F.binary_cross_entropy_with_logits(
            response_logits, torch.where(labelled, labels, 0.5).expand_as(response_logits), reduction="none"
        )
        return torch.where(labelled, -cost, 0.0)

    def response_scores(self, logits: Tensor, offsets: Tensor) -> Tensor:
        """Return the response score that the logits imply: (bag, member), in [0, 1]."""
        return self.from_logits(logits, offsets).sigmoid()

    def sentence_scores(self, logits: Tensor) -> Tensor:
        """Return the score of every sentence: (sentence, member), in [0, 1]."""
        return logits.sigmoid()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return what the ways back read: here the sentence scores; level forms: P(level ≥ k)."""
        return logits.sigmoid()

    def most_likely_labels(
        self, scores: Tensor, offsets: Tensor, labels: Tensor, sentence_labels: Tensor | None = None
    ) -> Tensor:
        """Return the likeliest labels that agree with the response's: (sentence, …), 0 or 1.

        They aggregate to the label, for min and max to the nearer of 0 and 1, for the mean to the nearest share that
        the number of sentences permits. Where the label is unknown every score is rounded. Labels of sentences
        (sentence,), nan where unknown, are kept; where they contradict the response's, it counts as unknown.
        """
        scores = widened(scores)
        labels = align(labels, scores)
        if sentence_labels is None:
            return self._most_likely(scores, offsets, labels)
        evidence = self.evidence(offsets, labels, sentence_labels)
        return evidence.around(self._most_likely, self.with_beliefs(scores, sentence_labels), sentence_labels)

    def posterior(
        self, scores: Tensor, offsets: Tensor, labels: Tensor, sentence_labels: Tensor | None = None
    ) -> Tensor:
        """Return P(sentence = 1 | label) for independent sentences under the hard rule: (sentence, …).

        A label between 0 and 1 mixes the posteriors of 0 and of 1. An unknown label leaves the score as it is. Labels
        of sentences (sentence,), nan where unknown, are given too; where they contradict the response's, it counts as
        unknown.
        """
        scores = widened(scores)
        labels = align(labels, scores)
        if sentence_labels is None:
            return self._posterior(scores, offsets, labels)
        evidence = self.evidence(offsets, labels, sentence_labels)
        return evidence.around(self._posterior, self.with_beliefs(scores, sentence_labels), sentence_labels)

    def evidence(self, offsets: Tensor, labels: Tensor, sentence_labels: Tensor) -> Evidence:
        """Return what labels of sentences leave open of the labels of responses."""
        return weigh_evidence(self.direction, self.thresholds + 1, labels, offsets, sentence_labels)

    def contradicted(self, offsets: Tensor, labels: Tensor, sentence_labels: Tensor) -> Tensor:
        """Say of which responses the label cannot be, given the labels of their sentences: (bag,)."""
        return self.evidence(offsets, labels, sentence_labels).contradicted

    def observed_logits(self, labels: Tensor, edge: float) -> Tensor:
        """Return the head's numbers for sentences of these labels (sentence,), each wrong by the chance `edge`."""
        return torch.logit(labels, eps=edge).unsqueeze(-1)

    def with_beliefs(self, scores: Tensor, sentence_labels: Tensor) -> Tensor:
        """Put labels of sentences in the place of their scores."""
        labels = align(sentence_labels, scores)
        return torch.where(labels.isnan(), scores, labels)

    def _most_likely(self, scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
        if self.direction == "mean":
            return hard_counts(scores, offsets, labels)
        if self.direction == "min":
            return hard_minimum(scores, offsets, labels)
        return 1 - hard_minimum(1 - scores, offsets, 1 - labels)

    def _posterior(self, scores: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
        if self.direction == "mean":
            return posterior_counts(scores, offsets, labels, mixed=True)
        if self.direction == "min":
            return posterior_minimum(scores, 1 - scores, offsets, labels)
        return 1 - posterior_minimum(1 - scores, scores, offsets, 1 - labels)


def shifted(logits: Tensor, offset: Tensor | None) -> Tensor:
    """Add an offset (bag, 1 | member) to log-odds of responses (bag, [level − 1,] member), to every level alike."""
    if offset is None:
        return logits
    offset = offset.to(logits.dtype)
    return logits + (offset.unsqueeze(1) if logits.dim() > offset.dim() else offset)


def align(labels: Tensor, like: Tensor) -> Tensor:
    """Give labels (bag,) as many axes, and the type, of the tensor they are compared with."""
    return labels.to(like.dtype).reshape(labels.shape + (1,) * (like.ndim - labels.ndim))


AGGREGATIONS: Registry[Any] = Registry("aggregation")
