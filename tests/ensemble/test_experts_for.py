"""Which experts `recipe="auto"` takes for which data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fractal import SentenceScorer, TrainingPlan, make_responses
from fractal.ensemble.specs import RESPONSE_EXPERTS, STEP_EXPERTS, experts_for
from fractal.records import Response

QUICK = {"encoder": "hashing(dim=32)", "cache": False}


def test_plain_responses_have_the_experts_of_text():
    choice = experts_for(make_responses(5, task="summaries", seed=0))
    assert choice.experts == RESPONSE_EXPERTS
    assert choice.why == ""


def test_runs_of_agents_have_experts_of_their_own():
    run = Response.from_sentences("r", ["User: Hi.\nAgent: Hello.", "Agent: Bye."], label=1.0)
    choice = experts_for([run])
    assert choice.experts == STEP_EXPERTS
    assert "runs of agents" in choice.why
    assert experts_for([run, *make_responses(5, task="summaries", seed=0)]).experts == RESPONSE_EXPERTS


def test_own_columns_are_read_without_being_asked_for():
    """Sentences differ in nothing but a column of the user's, which alone tells the bad ones."""
    rng = np.random.default_rng(0)
    runs = []
    for number in range(120):
        bad = rng.random(4) < 0.15
        fields = {"label": float(not bad.any()), "columns": {"checked": tuple(map(float, ~bad))}}
        runs.append(
            Response.from_sentences(f"r{number}", ["The same words."] * 4, **fields, extra={"bad": bad.tolist()})
        )
    scorer = SentenceScorer(aggregation="product", plan=TrainingPlan(epochs=15, members=2, folds=2), **QUICK).fit(runs)
    scores = np.concatenate([scored.sentence_scores for scored in scorer.score_responses(runs)])
    bad = np.concatenate([run.extra["bad"] for run in runs])
    assert scores[bad].max() < scores[~bad].min()
    assert any("checked" in choice.why for choice in scorer.choices_)


def test_a_scorer_of_runs_marks_the_step_and_comes_back_from_its_folder(tmp_path):
    from features.test_passed_runs import tasks

    runs = tasks(12)
    scorer = SentenceScorer(plan=TrainingPlan(epochs=6, members=2, folds=2), **QUICK)
    scorer.fit([replace(run, extra={"aggregation": "min"}) for run in runs])
    assert scorer.aggregation_ == "product"
    labelled = scorer.disaggregate(runs)
    failed = [scored for scored in labelled if scored.response.label == 0]
    assert all(np.argmin(scored.sentence_scores) == 2 for scored in failed)
    assert all(scored.sentence_labels[2] == 0 for scored in failed)
    scorer.save_pretrained(tmp_path / "scorer")
    again = SentenceScorer.from_pretrained(tmp_path / "scorer").disaggregate(runs)
    assert [scored.sentence_scores for scored in again] == [scored.sentence_scores for scored in labelled]
