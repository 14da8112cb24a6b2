"""What FRACTAL must beat: each way to sentence scores that a user would otherwise try, under one interface."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from fractal.encoders import ENCODERS
from fractal.ensemble.self_training import SelfTraining
from fractal.features import prior_similarity
from fractal.mil.aggregations import AGGREGATIONS, Aggregation
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Preference, Response, ScoredResponse, Sentence
from fractal.records.corpus import gather
from fractal.scorers.baselines.base import BASELINES, Baseline, Data
from fractal.scorers.output import records
from fractal.scorers.sentence import SentenceScorer


@dataclass
class ScorerVariant(Baseline):
    """What is a SentenceScorer with parts left out or put in."""

    epochs: int = TrainingPlan.epochs
    scorer: SentenceScorer | None = field(default=None, repr=False)

    @abstractmethod
    def make(self) -> SentenceScorer:
        """Return the scorer that is this baseline."""

    def shown(self, X: Data) -> Data:
        """What of the data the baseline learns from."""
        return X

    def fit(self, X: Data) -> Self:
        """Learn from rated responses."""
        self.scorer = self.make().fit(self.shown(X))
        return self

    def score_responses(self, X: Iterable[Response]) -> list[ScoredResponse]:
        """Score every sentence of new responses."""
        return (self.scorer or self.make()).score_responses(X)

    def plain(self, **options: Any) -> SentenceScorer:
        """Return a scorer that starts at even odds and does not train itself, changed as told."""
        settings: dict[str, Any] = {
            "start": "even",
            "self_training": SelfTraining(rounds=0),
            "plan": TrainingPlan(seed=self.seed, epochs=self.epochs),
        }
        shared = {"aggregation": self.aggregation, "encoder": self.encoder, "cache": self.cache}
        return SentenceScorer(**{**shared, **settings, **options})


@BASELINES.register("cosine")
@dataclass
class Cosine(Baseline):
    """Nothing is learned: a sentence is as good as it is similar to its context, else to its query."""

    def fit(self, X: Data) -> Self:
        """Learn nothing."""
        return self

    def score_responses(self, X: Iterable[Response]) -> list[ScoredResponse]:
        """Return (1 + cosine) / 2, and ½ where there is nothing to compare with."""
        responses = list(X)
        block = self.embedded(responses, late=False)
        scores = torch.from_numpy(np.nan_to_num(prior_similarity(block), nan=0.5)).float()
        aggregation: Aggregation = AGGREGATIONS.build("mean" if self.aggregation == "auto" else self.aggregation)
        implied = aggregation(scores.unsqueeze(-1), torch.from_numpy(block.offsets)).squeeze(-1)
        return list(records(responses, block.offsets, scores, implied.double().numpy(), aggregation=aggregation))


@BASELINES.register("inherit")
@dataclass
class Inherit(ScorerVariant):
    """Every sentence is taught its response's own label, as if the whole response were one judgement of it."""

    def make(self) -> SentenceScorer:
        """Return a scorer supervised by sentence labels."""
        return self.plain(learn_from="sentences")

    def shown(self, X: Data) -> Data:
        """Copy each response's label to its sentences; a response's share of won preferences stands for a label."""
        corpus = gather(X)
        labels = corpus.labels
        if len(corpus.pairs):
            labels = _won(corpus.pairs, labels)
        return [_relabelled(response, label) for response, label in zip(corpus.responses, labels, strict=True)]


@BASELINES.register("response_level")
@dataclass
class ResponseLevel(ScorerVariant):
    """A model of whole responses, each read as one long sentence, is applied to single sentences."""

    def make(self) -> SentenceScorer:
        """Return a scorer of whole texts."""
        return self.plain()

    def shown(self, X: Data) -> Data:
        """Turn every response into one of a single sentence."""
        return [
            replace(record, better=_whole(record.better), worse=_whole(record.worse))
            if isinstance(record, Preference)
            else _whole(record)
            for record in X
        ]

    def score_responses(self, X: Iterable[Response]) -> list[ScoredResponse]:
        """Score every sentence as a response of its own."""
        responses = list(X)
        whole = super().score_responses([_whole(response) for response in responses])
        scored_parts = iter(super().score_responses([part for response in responses for part in _parts(response)]))
        return [
            ScoredResponse(
                response,
                tuple(next(scored_parts).sentence_scores[0] for _ in response.sentences),
                long.response_score,
                aggregation=long.aggregation,
                relative=long.relative,
            )
            for response, long in zip(responses, whole, strict=True)
        ]


@BASELINES.register("bag_only")
@dataclass
class BagOnly(ScorerVariant):
    """The response loss alone, and one head on all columns: what a first attempt looks like."""

    def make(self) -> SentenceScorer:
        """Return a scorer of one head."""
        return self.plain(recipe="default")


@BASELINES.register("paper")
@dataclass
class Paper(ScorerVariant):
    """The paper's recipe: raw vectors, the best chunk, widths d/2 and d/4, hard aggregation, priors, a hard round."""

    prior_weight: float = 0.1  # of each of two priors; the labels have the rest of 1
    rounds: int = 1

    def make(self) -> SentenceScorer:
        """Return a scorer with the paper's head, objective and retraining."""
        dim = ENCODERS.build(self.encoder).dim
        hard = {"product": "min", "noisy_or": "max", "count": "mean"}
        plan = TrainingPlan(
            hidden=(dim // 2, dim // 4),
            learning_rate=1e-3,
            weight_decay=0.0,
            dropout=0.0,
            from_initial=False,
            length_control=False,
            topic_control=False,
            shrink=False,
            few_ratings=False,
            seed=self.seed,
            epochs=self.epochs,
        )
        w = self.prior_weight / (1 - 2 * self.prior_weight)  # beside labels of weight 1
        return self.plain(
            aggregation=hard.get(self.aggregation, self.aggregation),
            recipe="paper",
            directions=0,
            priors=(f"cosine(weight={w})", f"correlation(weight={w})") if w else (),
            self_training=SelfTraining(rounds=self.rounds, soft=False, alone=True),
            plan=plan,
        )


@BASELINES.register("shortcut")
@dataclass
class Shortcut(ScorerVariant):
    """Position and length alone: what a data set gives away without its text."""

    def make(self) -> SentenceScorer:
        """Return a scorer that sees no words."""
        return self.plain(recipe="position + length")


@BASELINES.register("supervised")
@dataclass
class Supervised(ScorerVariant):
    """Full supervision: the default's features and heads, taught every sentence label: the ceiling."""

    recipe: str = "auto"

    def make(self) -> SentenceScorer:
        """Return a scorer taught by sentence labels."""
        return self.plain(recipe=self.recipe, learn_from="sentences")


def _relabelled(response: Response, label: float) -> Response:
    value = None if np.isnan(label) else float(label)
    return replace(
        response, sentences=tuple(replace(sentence, label=value) for sentence in response.sentences), label=value
    )


def _won(pairs: NDArray[np.int64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of its comparisons that each response won, a tie counting half; else its label."""
    won, met = np.zeros(len(labels)), np.zeros(len(labels))
    np.add.at(won, pairs[:, 0], 1 - 0.5 * pairs[:, 2])
    np.add.at(won, pairs[:, 1], 0.5 * pairs[:, 2])
    np.add.at(met, pairs[:, 0], 1)
    np.add.at(met, pairs[:, 1], 1)
    return np.where(met > 0, won / np.maximum(met, 1), labels)


def _whole(response: Response) -> Response:
    """Return the response as one long sentence."""
    text = response.text.strip()
    start = response.text.index(text)
    return replace(response, sentences=(Sentence(text, start, start + len(text)),), columns={})


def _parts(response: Response) -> Iterable[Response]:
    """Return each sentence as a response of its own."""
    for number, sentence in enumerate(response.sentences):
        alone = Sentence(sentence.text, 0, len(sentence.text))
        yield replace(
            response, id=f"{response.id}.{number}", sentences=(alone,), text=sentence.text, columns={}, label=None
        )
