"""Corrections never leak into the evaluation that is shown: heads that judge a response have not learned from it."""

from __future__ import annotations

import dataclasses
import random

import pytest

from fractal import SentenceScorer, make_responses
from fractal.server.training import _measures


@pytest.mark.slow
def test_random_corrections_are_learned_but_do_not_look_good():
    chance = random.Random(5)
    responses = []
    for response in make_responses(120, task="summaries", seed=4):
        sentences = tuple(dataclasses.replace(s, label=float(chance.random() < 0.5)) for s in response.sentences)
        responses.append(dataclasses.replace(response, sentences=sentences))
    scorer = SentenceScorer(encoder="hashing", aggregation="product", cache=False)
    scorer.set_params(plan__epochs=25).fit(responses)
    bare = [response.without_labels() for response in responses]
    held_out = _measures(responses, scorer.disaggregate(bare))["sentences"]
    learned_by_heart = _measures(responses, scorer.score_responses(bare))["sentences"]
    assert learned_by_heart["auc"] > 0.7
    assert held_out["low"] < 0.5 < held_out["high"] + 0.02
    assert held_out["auc"] < 0.56
