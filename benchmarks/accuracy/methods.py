"""Every method under one interface: what it learns from, and the scores it gives to test sentences."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from benchmarks.accuracy.data import RealSet
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Preference, Response, ScoredResponse
from fractal.scorers.baselines import BASELINES
from fractal.scorers.sentence import SentenceScorer

ENCODER = os.environ.get("FRACTAL_BENCH_ENCODER", "minilm")  # of every method
Method = Callable[[RealSet, int], dict[str, list[ScoredResponse]]]


def default(
    data: RealSet, seed: int, gold: float = 0.0, aggregation: str | None = None
) -> dict[str, list[ScoredResponse]]:
    """Return our default's scores in both settings; `gold` is the share of responses with sentence labels shown."""
    rule = aggregation or data.aggregation
    scorer = SentenceScorer(aggregation=rule, encoder=ENCODER, plan=TrainingPlan(seed=seed))
    scorer.fit(some_gold(data, gold, seed) if gold else data.bare())
    return {"score": scorer.score_responses(_unlabelled(data.test)), "disaggregate": _disaggregated(scorer, data.test)}


def baseline(name: str, **options: object) -> Method:
    """Return a registered baseline as a method; only the supervised one sees sentence labels."""

    def run(data: RealSet, seed: int) -> dict[str, list[ScoredResponse]]:
        made = BASELINES[name](aggregation=data.aggregation, seed=seed, encoder=ENCODER, **options)
        made.fit(data.train if name == "supervised" else data.bare())
        scored = made.score_responses(_unlabelled(data.test))
        return {"score": scored, "disaggregate": _times_label(scored, data.test)}

    return run


def copied(data: RealSet, seed: int) -> dict[str, list[ScoredResponse]]:
    """Return the response's own label for every sentence: nothing is known of new responses."""
    told = [0.5 if response.label is None else response.label for response in data.test]
    alike = {"score": [0.5] * len(told), "disaggregate": told}
    return {
        setting: [
            ScoredResponse(response.without_labels(), (float(value),) * len(response.sentences), float(value))
            for response, value in zip(data.test, values, strict=True)
        ]
        for setting, values in alike.items()
    }


def learned_baseline(name: str) -> Method:
    """Return a registered baseline as a method; it learns from ratings, so not from preferences."""

    def run(data: RealSet, seed: int) -> dict[str, list[ScoredResponse]]:
        made = BASELINES[name](aggregation=data.aggregation, seed=seed, encoder=ENCODER).fit(data.bare())
        scored = made.score_responses(_unlabelled(data.test))
        return {"score": scored, "disaggregate": _times_label(scored, data.test)}

    return run


METHODS: dict[str, Method] = {
    "default": default,
    "auto": lambda data, seed: default(data, seed, aggregation="auto"),
    "default, 2% gold": lambda data, seed: default(data, seed, 0.02),
    "default, 10% gold": lambda data, seed: default(data, seed, 0.10),
    "supervised": baseline("supervised"),
    "cosine": baseline("cosine"),
    "inherit": baseline("inherit"),
    "response level": baseline("response_level"),
    "bag loss only": baseline("bag_only"),
    "paper": baseline("paper"),
    "paper, no PsLab": baseline("paper", rounds=0),
    "paper, bag loss only": baseline("paper", rounds=0, prior_weight=0.0),
    "attention": learned_baseline("attention"),
    "shortcut": baseline("shortcut"),
    "copy": copied,
}


NEEDS_SENTENCE_LABELS = {"supervised", "default, 2% gold", "default, 10% gold"}
NEEDS_RATINGS = {"attention"}
SEEDS = {"cosine": 1, "copy": 1, "attention": 2, "paper, no PsLab": 2, "paper, bag loss only": 2}  # that are enough


def _unlabelled(responses: list[Response]) -> list[Response]:
    return [response.without_labels() for response in responses]


def _disaggregated(scorer: SentenceScorer, test: list[Response]) -> list[ScoredResponse]:
    return scorer.disaggregate([dataclasses.replace(r.without_labels(), label=r.label) for r in test])


def _times_label(scored: list[ScoredResponse], test: list[Response]) -> list[ScoredResponse]:
    """Copying: the response's label, by which the method's scores are multiplied (cosine × label, for one)."""
    found = []
    for one, response in zip(scored, test, strict=True):
        label = 1.0 if response.label is None else response.label
        found.append(dataclasses.replace(one, sentence_scores=tuple(label * s for s in one.sentence_scores)))
    return found


def some_gold(data: RealSet, share: float, seed: int) -> list[Response | Preference]:
    """Show the sentence labels of a share of the responses that have any; hide all others."""
    rng = np.random.default_rng(seed + 7)
    bare = data.bare()
    known = [
        i for i, record in enumerate(data.train) if any(s.label is not None for r in _both(record) for s in r.sentences)
    ]
    for i in rng.permutation(known)[: max(2, round(share * len(known)))]:
        bare[i] = data.train[i]
    return bare


def _both(record: Response | Preference) -> tuple[Response, ...]:
    return (record.better, record.worse) if isinstance(record, Preference) else (record,)
