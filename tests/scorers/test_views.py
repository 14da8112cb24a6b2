"""Responses that are encoded once are scored as those that are encoded for every way of scoring, to the last bit."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("torch")

from fractal import SentenceScorer, TrainingPlan, make_responses
from fractal.ensemble.experts import Predictor
from fractal.records import Response, ScoredResponse
from fractal.scorers.views import Views

PLAN = TrainingPlan(epochs=3, members=3, folds=3, hidden=(8,))


def partly_labelled(count: int, seed: int) -> list[Response]:
    """Responses whose first sentence has a label in every third one, and in no other."""
    made = make_responses(count, task="summaries", seed=seed)
    parts = [
        [dataclasses.replace(s, label=None if at or number % 3 else s.label) for at, s in enumerate(r.sentences)]
        for number, r in enumerate(made)
    ]
    return [dataclasses.replace(r, sentences=tuple(part)) for r, part in zip(made, parts, strict=True)]


def plain_values(scored: list[ScoredResponse]) -> list[tuple[object, ...]]:
    return [
        (s.response, s.sentence_scores, s.response_score, s.sentence_spread, s.sentence_labels, s.aggregation)
        for s in scored
    ]


@pytest.mark.filterwarnings("ignore:.*that the labels of their sentences contradict")
@pytest.mark.parametrize(("recipe", "aggregation"), [("own", "mean"), ("auto", "auto")])
def test_what_is_encoded_once_is_scored_as_what_is_encoded_every_time(recipe: str, aggregation: str) -> None:
    rated, other = partly_labelled(60, 1), partly_labelled(30, 2)
    scorer = SentenceScorer(aggregation, recipe, encoder="hashing(dim=64)", plan=PLAN, cache=False)
    corpus, config = scorer.prepare(rated)
    block = scorer.embed_for_training(corpus.responses)
    scorer.fit_block(block, corpus, config)
    earlier = SentenceScorer("product", "own", encoder="hashing(dim=64)", plan=PLAN, cache=False).fit(other)
    views = Views(block, Predictor(block))
    bare = [response.without_labels() for response in block.responses]
    for one in (scorer, earlier):
        assert plain_values(views.labelled(one)) == plain_values(one.disaggregate(block.responses))
        assert plain_values(views.unseen(one)) == plain_values(one.disaggregate(bare))
        assert plain_values(views.plain(one)) == plain_values(one.score_responses(bare))


def test_a_fit_of_what_was_encoded_is_the_fit() -> None:
    rated = partly_labelled(60, 1)
    whole = SentenceScorer("product", "own", encoder="hashing(dim=64)", plan=PLAN, cache=False).fit(rated)
    parts = SentenceScorer("product", "own", encoder="hashing(dim=64)", plan=PLAN, cache=False)
    corpus, config = parts.prepare(rated)
    parts.fit_block(parts.embed_for_training(corpus.responses), corpus, config)
    assert plain_values(parts.score_responses(rated)) == plain_values(whole.score_responses(rated))
    assert parts.memory_ == whole.memory_
