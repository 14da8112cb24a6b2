"""What every school can do: learn from rated responses, and score every sentence of new ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fractal.aggregations import AGGREGATIONS, FORMS, Aggregation
from fractal.checks.linear import Compared
from fractal.encoded import EncodedBlock
from fractal.errors import BadData, NotFitted
from fractal.preparation import Corpus, gather
from fractal.records import Preference, Response, ScoredResponse
from fractal.registry import Registry
from fractal.rival import Data, Rival
from fractal.scoring import records

__all__ = ["SCHOOLS", "School"]

SCHOOLS: Registry[School] = Registry("school")


@dataclass
class School(Rival):
    """A way from response labels to sentence scores that is not the one of SentenceScorer."""

    form: Aggregation | None = field(default=None, init=False, repr=False, compare=False)  # known once fitted

    def fit(self, X: Data) -> Self:
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

    def _form(self, block: EncodedBlock, corpus: Corpus) -> Aggregation:
        """The aggregation given, else the one that the labels allow, of several what explains held-out labels best."""
        chosen = self.aggregation
        if chosen == "auto":
            forms = {FORMS[direction]: FORMS[direction] for direction in corpus.directions}
            chosen = Compared.of(block, corpus, forms, self.seed).best(forms) if len(forms) > 1 else next(iter(forms))
        form: Aggregation = AGGREGATIONS.build(chosen)
        return form
