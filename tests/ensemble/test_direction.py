"""The direction of labels: how sure it is, what risks least while it is open, and what decides it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.datasets.synthetic import make_responses
from fractal.ensemble.direction import (
    RISK,
    direction_confidence,
    gold_evidence,
    least_risk,
    open_question,
)
from fractal.ensemble.screening import FormComparison
from fractal.mil.aggregations import FORMS
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Response
from fractal.scorers.sentence import SentenceScorer


def comparison(**gains: float) -> FormComparison:
    """Costs of 300 held-out labels that a direction lowers by so much on average, with the noise of real ones."""
    noise = np.random.default_rng(0)
    shared = noise.gamma(2.0, 0.3, 300)
    costs = {name: shared - gains.get(name, 0.0) + 0.1 * noise.standard_normal(300) for name in FORMS}
    return FormComparison(costs, np.arange(300), 0)


def test_a_clear_gain_is_sure_and_a_toss_is_open() -> None:
    sure = direction_confidence(comparison(max=0.1), FORMS, [], doubt_mean=True)
    assert sure["max"] > 0.99
    assert open_question(sure, "max") == ""
    toss = direction_confidence(comparison(), ("min", "max"), [], doubt_mean=True)
    assert max(toss.values()) < 0.99
    shaky = {"min": 0.45, "max": 0.55}
    assert "one bad sentence" in open_question(shaky, "min")


def test_while_min_and_max_are_a_toss_the_mean_is_taken_which_turns_no_order_round() -> None:
    assert least_risk({"min": 0.5, "max": 0.5}) == "mean"
    assert least_risk({"min": 0.8, "max": 0.2, "mean": 0.0}) == "min"
    assert least_risk({"min": 0.05, "max": 0.95, "mean": 0.0}) == "max"
    assert least_risk({"min": 0.4, "max": 0.0, "mean": 0.6}) == "min"


@given(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3))
def test_no_form_risks_less_than_the_one_taken(weights: list[float]) -> None:
    confidence = dict(zip(FORMS, (np.array(weights) / sum(weights)).tolist(), strict=True))
    risks = {form: sum(confidence[true] * RISK[true][form] for true in FORMS) for form in FORMS}
    assert risks[least_risk(confidence)] == pytest.approx(min(risks.values()))


def test_doubt_makes_a_mean_of_all_or_nothing_labels_prove_itself() -> None:
    slight = comparison(mean=0.005)
    trusted = direction_confidence(slight, FORMS, [], doubt_mean=False)["mean"]
    assert direction_confidence(slight, FORMS, [], doubt_mean=True)["mean"] < trusted


def responses_under(direction: str, count: int) -> list[Response]:
    return make_responses(count, task="summaries", aggregation=direction, seed=5)


@pytest.mark.parametrize("direction", ["min", "max"])
def test_sentence_labels_decide_the_direction(direction: str) -> None:
    evidence = gold_evidence(responses_under(direction, 20))
    assert max(evidence, key=lambda name: evidence[name]) == direction
    settled = direction_confidence(comparison(), FORMS, responses_under(direction, 20), doubt_mean=True)
    assert settled[direction] > 0.9
    bare = [response.without_labels() for response in responses_under(direction, 20)]
    assert set(gold_evidence(bare).values()) == {0.0}


def test_an_open_direction_is_said_by_the_check_and_by_the_choice() -> None:
    noise = np.random.default_rng(3)
    rated = [
        Response.from_sentences(str(n), [f"It has {noise.integers(99)} rooms.", "It opened late."], label=float(n % 2))
        for n in range(160)
    ]
    plan = TrainingPlan(epochs=3, members=2, folds=2, hidden=(8,))
    scorer = SentenceScorer(encoder="hashing(dim=16)", recipe="own", cache=False, plan=plan).fit(rated)
    choice = next(choice for choice in scorer.choices_ if choice.about == "aggregation")
    check = next(finding for finding in scorer.checks_ if finding.name == "aggregation")
    assert "The direction is open" in choice.why
    assert check.verdict == "warn"
    assert "label 20 sentences" in check.sentence
