"""What every school can do: learn from rated responses, and score every sentence of new ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from fractal.aggregations import AGGREGATIONS, Aggregation
from fractal.checks.linear import Compared
from fractal.embedding import embed
from fractal.encoded import EncodedBlock
from fractal.encoders import ENCODERS, EmbeddingCache
from fractal.errors import BadData, NotFitted
from fractal.preparation import Corpus, gather
from fractal.records import Preference, Response, ScoredResponse
from fractal.registry import Registry
from fractal.scoring import records

__all__ = ["SCHOOLS", "School"]

SCHOOLS: Registry[School] = Registry("school")

FORMS = {"min": "product", "max": "noisy_or", "mean": "mean", "avg": "mean"}


@dataclass
class School(ABC):
    """A way from response labels to sentence scores; `fit` and `score_responses` as SentenceScorer has them."""

    name: ClassVar[str]

    aggregation: str = "auto"
    encoder: str = "minilm"
    seed: int = 0
    cache: str | bool = True
    form: Aggregation | None = field(default=None, init=False, repr=False, compare=False)  # known once fitted

    def fit(self, X: Sequence[Response | Preference]) -> Self:
        """Learn from rated responses."""
        if any(isinstance(record, Preference) for record in X):
            raise BadData(f"the school {self.name!r} learns from rated responses, not from preferences: rate them")
        corpus = gather(X)
        labels = corpus.labels[~np.isnan(corpus.labels)]
        if not len(labels) or labels.min() == labels.max():
            raise BadData("there is nothing to tell apart: give responses with different labels", field="label")
        block = self.embedded(corpus.responses)
        form = self._form(block, corpus)
        self.learn(block, corpus, form)
        self.form = form
        return self

    def score_responses(self, X: Iterable[Response]) -> list[ScoredResponse]:
        """Return a score for every sentence, and the response score that the scores imply."""
        if self.form is None:
            raise NotFitted(f"the school {self.name!r} has not learned anything yet: call fit with rated responses")
        responses = list(X)
        if not responses:
            return []
        block = self.embedded(responses)
        with torch.inference_mode():
            scores = self.scores(block).float().clamp(0, 1)
            implied = self.form(scores.unsqueeze(-1), torch.from_numpy(block.offsets)).squeeze(-1)
        return list(records(responses, block.offsets, scores, implied.double().numpy()))

    @abstractmethod
    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn from responses whose labels the form makes of their sentences'."""

    @abstractmethod
    def scores(self, block: EncodedBlock) -> Tensor:
        """Return the score of every sentence of a block: (sentence,)."""

    def embedded(self, responses: Sequence[Response]) -> EncodedBlock:
        """Encode responses, through the cache where one is wanted."""
        return embed(responses, ENCODERS.build(self.encoder), EmbeddingCache.at(self.cache))

    def _form(self, block: EncodedBlock, corpus: Corpus) -> Aggregation:
        """The aggregation given, else what the data say, else what explains held-out labels best."""
        form: Aggregation
        if self.aggregation != "auto":
            form = AGGREGATIONS.build(self.aggregation)
            return form
        said = {str(response.extra.get("aggregation", "")) for response in corpus.responses}
        labels = corpus.labels[~np.isnan(corpus.labels)]
        if len(said) == 1 and said <= FORMS.keys():
            chosen = FORMS[said.pop()]
        elif not np.isin(labels, (0.0, 1.0)).all():
            chosen = "mean"
        else:
            forms = {name: name for name in ("product", "noisy_or", "mean")}
            chosen = Compared.of(block, corpus, forms, self.seed).best(forms)
        form = AGGREGATIONS.build(chosen)
        return form
