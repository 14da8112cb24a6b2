"""The direction of labels: how sure it is, how sentences are scored while it is open, and what decides it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.datasets.synthetic import make_responses
from fractal.ensemble.direction import (
    LEAST_SHARE,
    MEAN_SHARE,
    MOST_LENGTH,
    NO_BELIEF,
    belief_before,
    direction_confidence,
    gold_evidence,
    is_open,
    length_evidence,
    mixture_shares,
    open_question,
)
from fractal.ensemble.experts import Ensemble
from fractal.ensemble.result import FitResult
from fractal.ensemble.screening import FormComparison
from fractal.ensemble.selection import held_out_comparison
from fractal.ensemble.weighting import refined_log_loss
from fractal.mil.aggregations import AGGREGATIONS, FORMS
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Response
from fractal.records.corpus import gather
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
    assert open_question(sure) == ""
    toss = direction_confidence(comparison(), ("min", "max"), [], doubt_mean=True)
    assert max(toss.values()) < 0.99
    shaky = {"min": 0.45, "max": 0.55}
    assert "one bad sentence" in open_question(shaky)
    assert "scored by" not in open_question(shaky)
    assert "scored by max 90%, min 10%" in open_question(shaky, {"min": 0.1, "max": 0.9})


def test_what_is_clear_counts_alone_and_what_is_open_counts_by_the_square_of_how_likely_it_is() -> None:
    assert mixture_shares({"min": 0.05, "max": 0.95, "mean": 0.0}) == {"max": 1.0}
    assert mixture_shares({"max": 0.08, "mean": 0.92}) == {"mean": 1.0}
    assert mixture_shares({"min": 1 / 3, "max": 2 / 3, "mean": 0.0}) == pytest.approx({"min": 0.2, "max": 0.8})
    assert mixture_shares({"max": 0.5, "mean": 0.5}) == pytest.approx({"max": 0.65, "mean": 0.35})
    assert mixture_shares({"min": 0.01, "max": 0.87, "mean": 0.12}) == {"max": 1.0}
    assert mixture_shares({"min": 0.3, "max": 0.6, "mean": 0.1}, mixed=False) == {"max": 1.0}


@given(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3))
def test_shares_add_up_and_a_mean_that_is_not_clear_never_counts_alone(weights: list[float]) -> None:
    confidence = dict(zip(FORMS, (np.array(weights) / sum(weights)).tolist(), strict=True))
    shares = mixture_shares(confidence)
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) >= LEAST_SHARE
    if is_open(confidence):
        assert shares.get("mean", 0.0) <= MEAN_SHARE + LEAST_SHARE
    else:
        assert list(shares.values()) == [1.0]


@pytest.mark.parametrize(("sign", "likelier"), [(1, "max"), (-1, "min")])
def test_labels_of_longer_responses_tell_a_maximum_from_a_minimum(sign: int, likelier: str) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 12, 300)
    labels = sign * (lengths - 6 + rng.normal(0, 6, 300)) > 0
    rated = [
        Response.from_sentences(str(n), ["One."] * int(length), label=float(label))
        for n, (length, label) in enumerate(zip(lengths, labels, strict=True))
    ]
    evidence = length_evidence(rated)
    assert max(evidence, key=lambda name: evidence[name]) == likelier
    assert max(evidence.values()) == MOST_LENGTH
    assert evidence["min"] == -evidence["max"]
    by_length = [
        Response.from_sentences(str(n), ["One."] * int(length), label=float(length > 6))
        for n, length in enumerate(lengths)
    ]
    assert set(length_evidence(by_length).values()) == {0.0}, "no maximum makes labels follow length so closely"
    alike = [Response.from_sentences(str(n), ["One.", "Two."], label=float(n % 2)) for n in range(9)]
    assert set(length_evidence(alike).values()) == set(length_evidence([]).values()) == {0.0}


def test_doubt_makes_a_mean_of_all_or_nothing_labels_prove_itself() -> None:
    slight = comparison(mean=0.005)
    trusted = direction_confidence(slight, FORMS, [], doubt_mean=False)["mean"]
    assert direction_confidence(slight, FORMS, [], doubt_mean=True)["mean"] < trusted


def test_a_context_and_steps_count_for_a_minimum_before_labels_speak() -> None:
    plain = [Response.from_sentences(str(n), ["One.", "Two."], query="Why?", label=1.0) for n in range(4)]
    sourced = [Response.from_sentences(f"s{n}", ["One.", "Two."], context=("A.",), label=1.0) for n in range(4)]
    assert belief_before(plain, in_order=False) == belief_before([*plain, *sourced], in_order=False) == NO_BELIEF
    assert NO_BELIEF.sentence() == ""
    for belief in (belief_before([*plain[:1], *sourced], in_order=False), belief_before(plain, in_order=True)):
        assert "4 to 1" in belief.sentence()
        before = direction_confidence(comparison(), FORMS, [], doubt_mean=True)
        after = direction_confidence(comparison(), FORMS, [], belief, doubt_mean=True)
        odds = [shares["min"] / (1 - shares["min"]) for shares in (before, after)]
        assert odds[1] == pytest.approx(4 * odds[0])
        assert after["max"] / after["mean"] == pytest.approx(before["max"] / before["mean"])


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
        Response.from_sentences(
            str(n),
            [f"It has {noise.integers(99)} rooms.", "It opened late."],
            context=("A house.",),
            label=float(n % 2),
        )
        for n in range(160)
    ]
    plan = TrainingPlan(epochs=3, members=2, folds=2, hidden=(8,))
    scorer = SentenceScorer(encoder="hashing(dim=16)", recipe="own", cache=False, plan=plan).fit(rated)
    choice = next(choice for choice in scorer.choices_ if choice.about == "aggregation")
    check = next(finding for finding in scorer.checks_ if finding.name == "aggregation")
    assert "The direction is open" in choice.why
    assert "Responses have a context" in choice.why
    assert check.verdict == "warn"
    assert "label 20 sentences" in check.sentence
    assert "task 'factuality'" in check.sentence


def whole_fit(form: str, held_out: np.ndarray) -> FitResult:
    """Return a fit of which only the held-out log-odds of sentences are read."""
    ensemble = Ensemble((), (), 0.0, AGGREGATIONS.build(form))
    logits = torch.from_numpy(held_out).float().unsqueeze(-1)
    return FitResult(ensemble, logits, 0.0, (), (), np.zeros((0, 0), dtype=np.float32))


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), level=st.floats(-1.0, 1.0), longer_is_good=st.booleans())
def test_a_form_is_not_paid_for_what_length_alone_explains(seed: int, level: float, *, longer_is_good: bool) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, 200)
    lead = (1.5 if longer_is_good else -1.5) * (np.log(sizes) - np.log(sizes).mean())
    labels = (rng.random(200) < 1 / (1 + np.exp(-lead))).astype(float)
    labels[:2] = 0.0, 1.0
    responses = [
        Response.from_sentences(str(i), ["word."] * int(size), label=label)
        for i, (size, label) in enumerate(zip(sizes, labels.tolist(), strict=True))
    ]
    held_out = level + 1e-3 * rng.normal(size=int(sizes.sum()))  # which tell nothing but how many they are
    results = {direction: whole_fit(form, held_out) for direction, form in FORMS.items()}
    corpus = gather(responses)
    costs = held_out_comparison(results, corpus, corpus.labels, 0).costs
    levelled = [float(costs[direction].mean()) for direction in FORMS]
    offsets = torch.tensor([0, *sizes.tolist()]).cumsum(0)
    paid = [
        float(refined_log_loss(one.ensemble.aggregation.from_logits(one.held_out, offsets).flatten(), truth).mean())
        for one, truth in ((one, torch.from_numpy(corpus.labels)) for one in results.values())
    ]
    assert max(levelled) - min(levelled) < 0.005 + 0.5 * (max(paid) - min(paid))
    assert max(paid) - min(paid) > 0.01


def test_what_stands_beside_never_makes_labels_dearer_and_leaves_the_rest_as_it_was() -> None:
    rng = np.random.default_rng(0)
    logits, beside = torch.from_numpy(rng.normal(size=200)), rng.normal(size=(200, 1))
    labels = torch.from_numpy((rng.random(200) < 1 / (1 + np.exp(-logits.numpy() - beside[:, 0]))).astype(float))
    alone, both = refined_log_loss(logits, labels), refined_log_loss(logits, labels, beside=beside)
    assert both.mean() < alone.mean() - 0.02
    nothing = refined_log_loss(logits, labels, beside=np.zeros((200, 1)))
    assert nothing == pytest.approx(alone, abs=1e-6)
    against = refined_log_loss(-logits, labels, beside=beside)
    assert against.mean() == pytest.approx(float(refined_log_loss(0 * logits, labels, beside=beside).mean()), abs=1e-4)
