"""What failed in a run of an agent: a step, or something that passed runs did and this one did not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features.test_passed_runs import tasks
from fractal import SentenceScorer, TrainingPlan, make_responses
from fractal.errors import BadData
from fractal.records import Response
from fractal.scorers.runs import run_verdicts
from fractal.scorers.runtime import load_runtime

QUICK = {"encoder": "hashing(dim=32)", "cache": False, "plan": TrainingPlan(epochs=6, members=2, folds=2)}


def without_write(run):
    """The same run without its one call that matters."""
    steps = [sentence.text for place, sentence in enumerate(run.sentences) if place != 2]
    return Response.from_sentences(f"{run.id}-short", steps, label=0.0, group=run.group)


@pytest.fixture(scope="module")
def runs():
    made = tasks(14)
    lacking = [without_write(run) for run in made if run.label == 1][::6]
    return [replace(run, extra={"aggregation": "min"}) for run in [*made, *lacking]]


@pytest.fixture(scope="module")
def scorer(runs):
    return SentenceScorer(**QUICK).fit(runs)


def test_a_wrong_step_is_named_and_what_is_missing_is_an_answer_of_its_own(runs, scorer):
    scored = scorer.disaggregate(runs)
    steps = []
    for item, verdict in zip(scored, run_verdicts(scorer, scored), strict=True):
        if item.response.id.endswith("-short"):
            assert verdict.missing == "write"
            assert "nothing wrong is seen" in str(verdict)
        elif item.response.label == 0:
            assert verdict.missing == ""
            assert str(verdict).endswith(f"step {verdict.step + 1}")
            steps.append(verdict.step)
    assert steps.count(2) > 0.8 * len(steps)


def test_scoring_without_torch_compares_with_the_same_passed_runs(runs, tmp_path):
    plain = SentenceScorer(aggregation="product", recipe="runs", **QUICK).fit(runs)
    plain.save_pretrained(tmp_path / "scorer")
    again = load_runtime(tmp_path / "scorer", cache=False).score_responses(runs)
    for first, second in zip(plain.score_responses(runs), again, strict=True):
        np.testing.assert_allclose(first.sentence_scores, second.sentence_scores, atol=1e-5)


def test_a_scorer_of_text_has_no_verdicts_on_runs():
    responses = make_responses(30, task="summaries", seed=0)
    scorer = SentenceScorer(recipe="own", **QUICK).fit(responses)
    with pytest.raises(BadData, match="not fitted on runs of agents"):
        run_verdicts(scorer, scorer.score_responses(responses))
