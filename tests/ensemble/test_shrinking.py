"""Scores drawn to their response's mean: as far as held-out ratings ask, and never in another order inside one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fractal.datasets.synthetic import make_preferences, make_responses
from fractal.ensemble.experts import Ensemble
from fractal.ensemble.result import FitResult
from fractal.ensemble.shrinking import SHARES, shrunk
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.training.plan import TrainingPlan
from fractal.scorers.sentence import SentenceScorer
from support.saved_scorers import scores_alike_when_read_again

PLAN = TrainingPlan(epochs=6, members=2, folds=2, hidden=(8,))


def result_of(logits: np.ndarray, aggregation: str) -> FitResult:
    ensemble = Ensemble((SimpleNamespace(),), (1.0,), 0.0, AGGREGATIONS.build(aggregation))
    return FitResult(ensemble, torch.from_numpy(logits).float().unsqueeze(-1), 0.0, (), (), np.zeros((0, 0)))


def world(of_response: float, count: int = 600) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Log-odds with noise, offsets, labels: what is true lies between responses by so much, and else within them."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(3, 9, count)
    bag = np.repeat(np.arange(count), sizes)
    truth = of_response * rng.normal(0, 2, count)[bag] + (1 - of_response) * rng.normal(0, 2, len(bag))
    shares = np.bincount(bag, weights=1 / (1 + np.exp(-3 * truth))) / sizes
    labels = (rng.random(count) < shares).astype(np.float32)
    return truth + rng.normal(0, 3, len(bag)), torch.tensor([0, *sizes]).cumsum(0), torch.from_numpy(labels)


def test_labels_of_the_response_ask_for_its_mean_and_labels_of_sentences_do_not() -> None:
    logits, offsets, labels = world(of_response=1.0)
    drawn = shrunk(result_of(logits, "mean"), offsets, labels)
    assert float(drawn.choices[-1].taken) == max(SHARES)
    responses = make_responses(400, "summaries", seed=2)
    truth = np.array([s.label for r in responses for s in r.sentences])
    sizes = torch.tensor([0, *(len(r.sentences) for r in responses)]).cumsum(0)
    labels = torch.tensor([r.label for r in responses])
    plain = result_of(3 * truth - 1 + np.random.default_rng(0).normal(0, 0.5, len(truth)), "product")
    same = shrunk(plain, sizes, labels)
    assert same.choices[-1].taken == "0.00"
    assert same.ensemble is plain.ensemble
    assert same.held_out is plain.held_out


def test_what_is_drawn_is_the_mean_of_the_response_by_hand_and_keeps_the_order_inside() -> None:
    logits, offsets, labels = world(of_response=1.0)
    drawn = shrunk(result_of(logits, "mean"), offsets, labels)
    share = float(drawn.choices[-1].taken)
    weight, shift = drawn.ensemble.weights[0] / (1 - share), drawn.ensemble.shift
    for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        inside = logits[first:last]
        by_hand = weight * ((1 - share) * inside + share * inside.mean()) + shift
        np.testing.assert_allclose(drawn.held_out[first:last, 0], by_hand, rtol=1e-4, atol=1e-4)
        assert (np.argsort(by_hand) == np.argsort(inside)).all()
    assert drawn.ensemble.topic_share == pytest.approx(-share / (1 - share))


def test_a_scorer_that_shrinks_is_saved_and_scores_the_same_with_and_without_torch(tmp_path: Path) -> None:
    rated = [replace(r, extra={}) for r in make_responses(120, "summaries", seed=2)]
    scorer = SentenceScorer("mean", encoder="hashing(dim=16)", recipe="own", plan=PLAN, cache=False).fit(rated)
    assert any(choice.about == "share of the response's mean" for choice in scorer.choices_)
    scorer.ensemble_ = replace(scorer.ensemble_, topic_share=-1.0)
    scores_alike_when_read_again(scorer, rated, tmp_path / "scorer")


@pytest.mark.parametrize("what", ["turned off", "supervised", "preferences", "nothing held out"])
def test_nothing_is_drawn_where_ratings_do_not_tell_of_it(what: str) -> None:
    plan = replace(PLAN, epochs=1, shrink=what != "turned off", folds=1 if what == "nothing held out" else 2)
    learn_from = "sentences" if what == "supervised" else "responses"
    rated = make_preferences(30, seed=1) if what == "preferences" else make_responses(60, "answers", seed=1)
    options = {"encoder": "hashing(dim=16)", "recipe": "own", "cache": False, "plan": plan}
    scorer = SentenceScorer("mean", learn_from=learn_from, **options).fit(rated)
    assert not any(choice.about == "share of the response's mean" for choice in scorer.choices_)
