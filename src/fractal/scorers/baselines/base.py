"""What every baseline has: it learns from rated responses and scores every sentence, as SentenceScorer does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from fractal.encoders import ENCODERS, EmbeddingCache
from fractal.encoders.block import EncodedBlock
from fractal.encoders.embedding import embed
from fractal.ensemble.screening import FormComparison, LinearProbe
from fractal.errors import BadData, BadSpec, NotFitted
from fractal.mil.aggregations import AGGREGATIONS, FORMS, Aggregation
from fractal.records import Preference, Response, ScoredResponse
from fractal.records.corpus import Corpus, all_or_nothing, gather
from fractal.registry import Registry
from fractal.scorers.output import records

Data = Sequence[Response | Preference]


@dataclass
class Baseline(ABC):
    """Learns from responses with labels and scores the sentences of others, by the methods that SentenceScorer has."""

    name: ClassVar[str]

    aggregation: str = "auto"
    encoder: str = "minilm"
    seed: int = 0
    cache: str | bool = True

    @abstractmethod
    def fit(self, X: Data) -> Self:
        """Learn from rated responses."""

    @abstractmethod
    def score_responses(self, X: Iterable[Response]) -> list[ScoredResponse]:
        """Return a score for every sentence of new responses, and the response score that these imply."""

    def embedded(self, responses: Sequence[Response], *, late: bool = True) -> EncodedBlock:
        """Encode responses, through the cache where one is wanted."""
        return embed(responses, ENCODERS.build(self.encoder), EmbeddingCache.at(self.cache), late=late)


BASELINES: Registry[Baseline] = Registry("baseline")


@dataclass
class LearnedBaseline(Baseline):
    """A way from response labels to sentence scores by a model that is not SentenceScorer's."""

    by_thresholds: ClassVar[bool] = True  # whether it can learn under levels, which ask several outputs of a sentence

    form: Aggregation | None = field(default=None, init=False, repr=False, compare=False)  # known once fitted

    def fit(self, X: Data) -> Self:
        """Learn from rated responses."""
        if any(isinstance(record, Preference) for record in X):
            raise BadData(f"the baseline {self.name!r} learns from rated responses, not from preferences: rate them")
        corpus = gather(X).in_canonical_order()
        labels = corpus.labels[~np.isnan(corpus.labels)]
        if not len(labels) or labels.min() == labels.max():
            raise BadData("there is nothing to tell apart: give responses with different labels", field="label")
        if (
            not self.by_thresholds
            and self.aggregation != "auto"
            and AGGREGATIONS.build(self.aggregation).thresholds > 1
        ):
            raise BadSpec(
                f"the baseline {self.name!r} has one output a sentence, and aggregation={self.aggregation!r} asks one "
                "a level: give 'max' or 'noisy_or', 'min' or 'product', under which graded labels are shares of belief"
            )
        block = self.embedded(corpus.responses)
        form = self._form(block, corpus)
        self.learn(block, corpus, form)
        self.form = form
        return self

    def score_responses(self, X: Iterable[Response]) -> list[ScoredResponse]:
        """Return a score for every sentence, and the response score that the scores imply."""
        if self.form is None:
            raise NotFitted(f"the baseline {self.name!r} has not learned anything yet: call fit with rated responses")
        responses = list(X)
        if not responses:
            return []
        block = self.embedded(responses)
        with torch.inference_mode():
            scores = self.scores(block).float().clamp(0, 1)
            implied = self.form(scores.unsqueeze(-1), torch.from_numpy(block.offsets)).squeeze(-1)
        return list(records(responses, block.offsets, scores, implied.double().numpy(), aggregation=self.form))

    @abstractmethod
    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn from responses whose labels the form makes of their sentences'."""

    @abstractmethod
    def scores(self, block: EncodedBlock) -> Tensor:
        """Return the score of every sentence of a block: (sentence,)."""

    def _form(self, block: EncodedBlock, corpus: Corpus) -> Aggregation:
        """The aggregation given, else the one that the labels allow, of several what explains held-out labels best."""
        chosen = self.aggregation
        if chosen == "auto":
            names = corpus.directions
            best = names[0]
            if len(names) > 1:
                comparison = FormComparison.of(LinearProbe.of(block, corpus, self.seed), FORMS)
                best = comparison.best(comparison.possible(names, graded=not all_or_nothing(corpus.labels)))
            chosen = FORMS[best]
        form: Aggregation = AGGREGATIONS.build(chosen)
        return form
