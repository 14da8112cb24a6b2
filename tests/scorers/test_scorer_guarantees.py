"""A scorer's promises: calibrated by what held responses out, saved with it, and gone with the next fit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fractal import AspectScorer, SentenceScorer, TrainingPlan, make_responses
from fractal.errors import BadFolder, BadSpec
from fractal.scorers.aspects import load_scorer
from fractal.scorers.runtime import load_runtime

PLAN = TrainingPlan(epochs=4, members=2, folds=2)
OPTIONS = {"encoder": "hashing(dim=32)", "recipe": "own", "plan": PLAN, "cache": False}
RATED = make_responses(160, task="summaries", seed=1)


@pytest.fixture(scope="module")
def scorer():
    return SentenceScorer(aggregation="product", **OPTIONS).fit(RATED)


def test_held_out_scores_are_those_of_the_heads_that_did_not_learn_from_the_response(scorer):
    scored = scorer.held_out_scores(RATED)
    assert [item.response for item in scored] == RATED
    bare = scorer.disaggregate([response.without_labels() for response in RATED])
    assert [item.sentence_scores for item in scored] == [item.sentence_scores for item in bare]
    new = make_responses(20, task="summaries", seed=2)
    plain = scorer.score_responses(new)
    for one, other in zip(scorer.held_out_scores(new), plain, strict=True):
        assert one.sentence_scores == pytest.approx(other.sentence_scores, abs=1e-6)
    # labels must not leak into what is held against them
    turned = [dataclasses.replace(response, label=1 - response.label) for response in RATED]
    assert [i.sentence_scores for i in scorer.held_out_scores(turned)] == [i.sentence_scores for i in scored]


def test_a_promise_is_saved_read_and_said_on_the_card(scorer, tmp_path):
    promise = scorer.guarantee(RATED, false_alarms=0.2)
    assert promise.cross_fitted == len(RATED)
    assert scorer.guarantee(make_responses(160, task="summaries", seed=3), false_alarms=0.2).cross_fitted == 0
    promise = scorer.guarantee(RATED, false_alarms=0.2)
    folder = scorer.save_pretrained(tmp_path / "scorer")
    assert str(promise) in (folder / "README.md").read_text()
    assert SentenceScorer.from_pretrained(folder).guarantees_ == {"": promise}
    assert load_runtime(folder).guarantees_ == {"": promise}
    again = SentenceScorer.from_pretrained(folder).save_pretrained(tmp_path / "again")
    assert load_scorer(again).guarantees_ == {"": promise}
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"direction": "min"', '"direction": "odd"'))
    with pytest.raises(BadFolder, match="no promise"):
        SentenceScorer.from_pretrained(folder)


def test_a_new_fit_takes_the_promise_away(scorer):
    other = SentenceScorer(aggregation="product", **OPTIONS).fit(RATED)
    other.guarantee(RATED, misses=0.5, confidence=None)
    assert other.guarantees_
    assert other.fit(RATED).guarantees_ == {}


def test_under_a_mean_nothing_is_promised():
    scorer = SentenceScorer(aggregation="mean", **OPTIONS).fit(RATED)
    with pytest.raises(BadSpec, match="only under a minimum or a maximum"):
        scorer.guarantee(RATED, false_alarms=0.1)


def test_each_aspect_has_a_promise_of_its_own(tmp_path):
    rng = np.random.default_rng(0)
    rated = [
        dataclasses.replace(r, label=None, aspects={"sound": r.label, "kind": float(rng.random() < 0.5)}) for r in RATED
    ]
    scorer = AspectScorer({"sound": "product", "kind": "noisy_or"}, SentenceScorer(**OPTIONS)).fit(rated)
    sound = scorer.guarantee(rated, false_alarms=0.2, aspect="sound")
    kind = scorer.guarantee(rated, false_alarms=0.2, aspect="kind")
    assert (sound.direction, kind.direction) == ("min", "max")
    assert sound.cross_fitted == kind.cross_fitted == len(rated)
    folder = scorer.save_pretrained(tmp_path / "scorer")
    assert load_scorer(folder).guarantees_ == load_runtime(folder).guarantees_ == {"sound": sound, "kind": kind}
