"""Sentence scores calibrated by the labels of responses, and by those of sentences where there are some."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fractal import Response, ScoredResponse
from fractal.ensemble.sentence_calibration import calibrate_scores, fit_sentence_calibrator, recalibrated
from fractal.errors import BadData, BadSpec, UnknownName
from fractal.evaluation import LabelledScores
from fractal.evaluation.calibration import Calibrator
from fractal.evaluation.calibration.calibrators import logit
from fractal.evaluation.solvers import sigmoid


def bags(aggregation, count=3000, slope=2.0, shift=-0.7, seed=0):
    """Bags whose labels follow the form under true sentence probabilities; scores that exaggerate these."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 5, size=count)
    offsets = np.r_[0, np.cumsum(sizes)]
    centre = {"product": 1.5, "noisy_or": -1.5}.get(aggregation, 0.0)
    true = sigmoid(centre + 1.5 * random.normal(size=offsets[-1]))
    sentence = (random.random(offsets[-1]) < true).astype(float)
    if aggregation == "mean":
        labels = np.add.reduceat(sentence, offsets[:-1]) / sizes
    elif aggregation in ("product", "noisy_or"):
        pick = np.minimum if aggregation == "product" else np.maximum
        labels = pick.reduceat(sentence, offsets[:-1])
    else:
        pick = np.minimum if aggregation == "min" else np.maximum
        labels = (random.random(count) < pick.reduceat(true, offsets[:-1])).astype(float)
    return sigmoid(slope * logit(true) + shift), offsets, labels, sentence, true


@pytest.mark.parametrize("form", ["product", "noisy_or", "mean", "min", "max"])
def test_response_labels_alone_calibrate_sentences(form):
    scores, offsets, labels, _, true = bags(form)
    fitted = fit_sentence_calibrator(scores, offsets, labels, form)
    before, after = np.abs(scores - true).mean(), np.abs(fitted(scores) - true).mean()
    assert before > 0.07
    assert after < 0.03


def test_gold_labels_outweigh_a_wrong_form():
    scores, offsets, labels, sentence, true = bags("product")
    wrong = fit_sentence_calibrator(scores, offsets, labels, "noisy_or")
    gold = np.where(np.random.default_rng(0).random(sentence.size) < 0.2, sentence, math.nan)
    right = fit_sentence_calibrator(scores, offsets, labels, "noisy_or", gold=gold)
    assert np.abs(right(scores) - true).mean() < 0.04 < np.abs(wrong(scores) - true).mean()
    alone = fit_sentence_calibrator(scores, offsets, np.full(labels.size, math.nan), gold=gold)
    assert np.abs(alone(scores) - true).mean() < 0.04


def test_unlabelled_responses_count_for_nothing():
    scores, offsets, labels, _, _ = bags("product", count=200)
    half = np.where(np.arange(200) < 100, labels, math.nan)
    short = fit_sentence_calibrator(scores[: offsets[100]], offsets[:101], labels[:100])
    assert fit_sentence_calibrator(scores, offsets, half).parameters == pytest.approx(short.parameters)


def test_the_line_is_likelier_than_its_neighbours():
    """Of the product of sentence chances, written out; the pull to the identity is weak beside 500 labels."""
    scores, offsets, labels, _, _ = bags("product", count=500)

    def cost(parameters):
        good = np.multiply.reduceat(Calibrator("platt", tuple(parameters))(scores), offsets[:-1]).clip(1e-12, 1 - 1e-12)
        pull = (parameters[0] ** 2 + (parameters[1] / 3) ** 2) / (2 * labels.size)
        return -(labels * np.log(good) + (1 - labels) * np.log(1 - good)).mean() + pull

    line = np.array(fit_sentence_calibrator(scores, offsets, labels).parameters)
    for nudge in ([0.01, 0], [-0.01, 0], [0, 0.01], [0, -0.01], [0.01, 0.01], [-0.01, 0.01]):
        assert cost(line + nudge) > cost(line)


def test_records_give_the_curve_of_their_arrays():
    scores, offsets, labels, _, _ = bags("noisy_or", count=60)
    items = []
    for number, (start, end) in enumerate(itertools.pairwise(offsets)):
        sentences = ["A sentence."] * int(end - start)
        response = Response.from_sentences(f"r{number}", sentences, label=float(labels[number]))
        items.append(ScoredResponse(response, tuple(scores[start:end].tolist()), 0.5))
    curve = calibrate_scores(LabelledScores.of(items), "noisy_or")
    assert curve.parameters == pytest.approx(fit_sentence_calibrator(scores, offsets, labels, "noisy_or").parameters)


def test_scores_move_to_the_curve_and_spreads_with_its_slope():
    response = Response.from_sentences("r", ["One.", "Two."], label=1.0)
    scored = ScoredResponse(response, (0.5, 0.9), 0.4, (0.01, 0.2))
    steeper = recalibrated(scored, Calibrator("platt", (math.log(2), 0.0)))
    assert steeper.sentence_scores == pytest.approx((0.5, 0.81 / 0.82))
    assert steeper.sentence_spread[0] == pytest.approx(0.02, rel=1e-2)
    assert steeper.response_score == 0.4
    assert recalibrated(ScoredResponse(response, (0.5, 0.9), 0.4), Calibrator()).sentence_spread == ()


def test_what_cannot_be_calibrated_is_said():
    with pytest.raises(UnknownName, match="product"):
        fit_sentence_calibrator([0.5], [0, 1], [1], "prodct")
    with pytest.raises(BadSpec, match="several levels"):
        fit_sentence_calibrator([0.5], [0, 1], [1], "max_levels(levels=3)")
    with pytest.raises(BadData, match="where each response starts"):
        fit_sentence_calibrator([0.5], [0, 2], [1])
    with pytest.raises(BadData, match="nothing to calibrate"):
        fit_sentence_calibrator([0.5], [0, 1], [math.nan])
