"""One more expert where sentences are steps: there when it should be, saved and read again, and left out on request."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fractal import SentenceScorer, TrainingPlan, load_scorer, make_responses
from fractal.ensemble.specs import ENOUGH_STEPS, STEPS_IN_ORDER, are_solutions, experts_for, in_order
from fractal.records import Response
from fractal.scorers.runtime import load_runtime

RATED = make_responses(ENOUGH_STEPS, "summaries", seed=1)


def test_it_is_trained_on_steps_with_enough_ratings_alone():
    assert experts_for(RATED, "steps").experts[-1] == STEPS_IN_ORDER
    assert "what was said so far" in experts_for(RATED, "steps").why
    assert STEPS_IN_ORDER not in experts_for(RATED, "steps").mean_experts
    others = [
        experts_for(RATED),
        experts_for(RATED[1:], "steps"),
        experts_for(RATED, "steps", TrainingPlan(so_far=False)),
        experts_for(RATED, "steps", supervised=True),
        experts_for([dataclasses.replace(response, label=None) for response in RATED], "steps"),
    ]
    for choice in others:
        assert STEPS_IN_ORDER not in choice.experts


@pytest.mark.parametrize(
    ("text", "calculates"),
    [
        ("So $5p+e-3p-e=1.82-1.24$.", True),
        ("Then x = 3.", True),
        ("f(x)=\\frac{1}{2}", True),
        ("That makes 3 + 4 = 7 pencils.", True),
        ("See https://example.org/find?page=5&q=x.", False),
        ("It opened in 1999 and has 7 rooms.", False),
        ("== Heading ==", False),
    ],
)
def test_responses_that_calculate_are_solutions_made_of_steps(text, calculates):
    given = [Response.from_sentences(str(n), ["We count.", text if n % 3 else "We stop."]) for n in range(30)]
    assert are_solutions(given) == in_order("sentences", given) == calculates
    assert not are_solutions(given[::3])
    assert not are_solutions([])


def test_sentences_of_solutions_are_read_in_order_however_they_were_cut():
    solved = [
        Response.from_sentences(r.id, ["We have 3 + 4 = 7.", *(s.text for s in r.sentences)], label=r.label)
        for r in RATED
    ]
    choice = experts_for(solved)
    assert choice.experts[-1] == STEPS_IN_ORDER
    assert "most responses calculate" in choice.why


@pytest.fixture(scope="module")
def scorer():
    plan = TrainingPlan(epochs=2, members=2, folds=2, hidden=(4,))
    options = {"aggregation": "product", "encoder": "hashing(dim=16)", "splitter": "steps", "plan": plan}
    return SentenceScorer(**options, cache=False).fit(RATED)


def test_it_is_weighed_beside_the_others_and_said(scorer):
    assert len(scorer.ensemble_.experts) == 5
    assert any("steps in order" in choice.why for choice in scorer.choices_)
    without = SentenceScorer(**{**scorer.get_params(deep=False), "plan": TrainingPlan(epochs=2, members=2, folds=2)})
    plain = without.set_params(plan__so_far=False, plan__hidden=(4,)).fit(RATED)
    assert len(plain.ensemble_.experts) == 4


def test_it_scores_the_same_when_saved_with_and_without_torch(scorer, tmp_path):
    scorer.save_pretrained(tmp_path)
    new = make_responses(6, "summaries", seed=2)
    scores = [item.sentence_scores for item in scorer.score_responses(new)]
    again = [item.sentence_scores for item in load_scorer(tmp_path).score_responses(new)]
    assert again == scores
    alone = [item.sentence_scores for item in load_runtime(tmp_path).score_responses(new)]
    for one, other in zip(alone, scores, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
