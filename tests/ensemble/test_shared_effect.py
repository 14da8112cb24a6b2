"""An effect that the sentences of a response share: its likelihood by brute force, and what labels say of it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fractal.ensemble.sentence_calibration import fit_sentence_calibrator
from fractal.ensemble.shared_effect import SharedEffect, effect_likelihood, fit_shared_effect
from fractal.errors import BadData, BadSpec
from fractal.evaluation.metrics import CalibrationError
from fractal.evaluation.solvers import sigmoid
from fractal.mil.aggregations import AGGREGATIONS

calibration_error = CalibrationError()
RULES = {"product": np.minimum, "noisy_or": np.maximum}


def clustered(form="product", count=1500, spread=2.0, seed=0):
    """Scores of a scorer that took sentences for independent, labels of responses, and what the sentences are."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 7, size=2 * count)
    offsets = np.r_[0, np.cumsum(sizes)]
    sign = 1.0 if form == "product" else -1.0
    features = sign * 0.5 + 1.5 * random.normal(size=offsets[-1])
    effect = spread * np.repeat(random.normal(size=2 * count), sizes)
    truth = (random.random(offsets[-1]) < sigmoid(features + effect)).astype(float)
    labels = RULES[form].reduceat(truth, offsets[:-1])
    half = offsets[count]
    scorer = fit_sentence_calibrator(sigmoid(features[:half]), offsets[: count + 1], labels[:count], form)
    return scorer(sigmoid(features[half:])), offsets[count:] - half, labels[count:], truth[half:]


def slow_likelihood(logits, form, label, spread):
    """Integrate over a fine grid what all labellings of the sentences that make the label are worth."""
    grid = np.linspace(-9, 9, 4001)
    density = np.exp(-(grid**2) / 2)
    chance = sigmoid(np.array(logits)[:, None] + spread * grid)  # (sentence, place)
    total = np.zeros_like(grid)
    for labelling in itertools.product((0, 1), repeat=len(logits)):
        if (min if form == "product" else max)(labelling) == label:
            total += np.prod(np.where(np.array(labelling)[:, None] == 1, chance, 1 - chance), axis=0)
    return math.log((total * density).sum() / density.sum())


@pytest.mark.parametrize("form", RULES)
@given(
    st.lists(st.floats(-4, 4), min_size=1, max_size=5),
    st.floats(0, 2.5),
    st.sampled_from([0.0, 1.0]),
)
def test_the_likelihood_is_that_of_all_labellings_under_every_effect(form, logits, spread, label):
    offsets, labels = torch.tensor([0, len(logits)]), torch.tensor([label], dtype=torch.float64)
    placed = torch.tensor(logits, dtype=torch.float64)
    fast = effect_likelihood(placed, offsets, labels, AGGREGATIONS.build(form), torch.tensor(spread))
    assert math.exp(float(fast)) == pytest.approx(math.exp(slow_likelihood(logits, form, label, spread)), abs=1e-4)


def test_without_spread_it_is_the_likelihood_of_the_form_and_shares_of_belief_mix():
    random = np.random.default_rng(0)
    logits, offsets = torch.from_numpy(random.normal(size=9)), torch.tensor([0, 1, 4, 9])
    labels, form = torch.tensor([1.0, 0.0, math.nan], dtype=torch.float64), AGGREGATIONS.build("product")
    plain = form.log_likelihood(logits.unsqueeze(-1), offsets, labels).squeeze(-1)
    assert torch.allclose(effect_likelihood(logits, offsets, labels, form, torch.tensor(0.0)), plain)
    one, zero, mixed = (
        effect_likelihood(logits, offsets, torch.full((3,), value, dtype=torch.float64), form, torch.tensor(1.5))
        for value in (1.0, 0.0, 0.25)
    )
    assert torch.allclose(mixed, 0.25 * one + 0.75 * zero)


@pytest.mark.parametrize("form", RULES)
def test_labels_of_responses_mend_scores_that_lean_because_sentences_cluster(form):
    scores, offsets, labels, truth = clustered(form)
    effect = fit_shared_effect(scores, offsets, labels, form)
    line = fit_sentence_calibrator(scores, offsets, labels, form)
    mended = fit_sentence_calibrator(scores, offsets, labels, form, effect=effect)
    assert effect.holds
    assert effect.gain > 0
    assert 1.2 < effect.spread < 3
    before, after = (calibration_error(truth, curve(scores)) for curve in (line, mended))
    assert before > 0.09
    assert after < 0.06
    assert abs(mended(scores).mean() - truth.mean()) < 0.06 < 0.08 < abs(line(scores).mean() - truth.mean())


def test_independent_sentences_show_no_effect():
    scores, offsets, labels, _ = clustered(spread=0.0, count=600)
    effect = fit_shared_effect(scores, offsets, labels)
    assert not effect.holds
    assert "do not show" in str(effect)


def test_repeated_responses_of_one_group_count_once():
    scores, offsets, labels, _ = clustered(count=100)
    sizes = np.diff(offsets)
    once = fit_shared_effect(scores, offsets, labels)
    four = (np.tile(scores, 4), np.r_[0, np.cumsum(np.tile(sizes, 4))], np.tile(labels, 4))
    grouped = fit_shared_effect(*four, groups=np.tile(np.arange(100), 4))
    assert grouped.gain == pytest.approx(once.gain, abs=0.005)
    assert grouped.confidence == pytest.approx(once.confidence, abs=0.1)
    assert fit_shared_effect(*four).confidence > grouped.confidence


def test_the_curve_is_near_the_mean_over_the_effect_and_rises():
    scores = np.linspace(0.01, 0.99, 99)
    for spread in (0.0, 1.0, 3.0):
        effect = SharedEffect(1.3, -0.4, spread, 0.01, 1.0)
        curve = effect.curve(scores)(scores)
        assert curve == pytest.approx(effect.chances(scores), abs=0.015)
        assert (np.diff(curve) > 0).all()


def test_gold_labels_refine_the_curve_of_an_effect():
    scores, offsets, labels, truth = clustered()
    wrong = SharedEffect(1.0, 2.0, 0.5, 0.01, 1.0)
    gold = np.where(np.random.default_rng(1).random(truth.size) < 0.2, truth, math.nan)
    mended = fit_sentence_calibrator(scores, offsets, labels, gold=gold, effect=wrong)
    assert calibration_error(truth, mended(scores)) < 0.04


def test_what_has_no_effect_to_find_is_refused():
    with pytest.raises(BadSpec, match="under a mean"):
        fit_shared_effect([0.5, 0.4], [0, 1, 2], [1, 0], "mean")
    with pytest.raises(BadData, match="no response has a label"):
        fit_shared_effect([0.5], [0, 1], [math.nan])
