"""Metrics against scikit-learn, slow twins in plain Python, and hand-made cases."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.errors import BadData, BadSpec, UnknownName
from fractal.evaluation.metrics import METRICS, Sample, mass_bins, resampled_weights

SCORES = [0.0, 0.1, 0.3, 0.5, 0.5000001, 0.9, 1.0]


@st.composite
def samples(draw, labels, most=30):
    count = draw(st.integers(2, most))

    def column(values):
        return np.array(draw(st.lists(st.sampled_from(values), min_size=count, max_size=count)))

    return column(labels), column(SCORES), np.sort(column(range(4)))


def measure(name, *data):
    return METRICS.build(name)(*data)


def slow_order(truth, scores):
    """Share of unlike pairs in the right order, ties half, by looking at every pair."""
    won = held = 0.0
    for one, other in itertools.product(range(len(truth)), repeat=2):
        if truth[one] > truth[other]:
            held += 1
            won += (scores[one] > scores[other]) + 0.5 * (scores[one] == scores[other])
    return won / held if held else math.nan


@given(samples([0.0, 1.0]))
def test_binary_metrics_equal_scikit_learn(data):
    sklearn = pytest.importorskip("sklearn.metrics")
    truth, scores, _ = data
    assert measure("mae", truth, scores) == pytest.approx(sklearn.mean_absolute_error(truth, scores))
    assert measure("mse", truth, scores) == pytest.approx(sklearn.mean_squared_error(truth, scores))
    assert measure("brier", truth, scores) == pytest.approx(sklearn.mean_squared_error(truth, scores))
    assert measure("accuracy", truth, scores) == pytest.approx(sklearn.accuracy_score(truth > 0, scores >= 0.5))
    if len(set(truth)) == 2:
        assert measure("roc_auc", truth, scores) == pytest.approx(sklearn.roc_auc_score(truth, scores))
        assert measure("average_precision", truth, scores) == pytest.approx(
            sklearn.average_precision_score(truth, scores)
        )
        assert measure("average_precision(of='bad')", truth, scores) == pytest.approx(
            sklearn.average_precision_score(1 - truth, -scores)
        )


@given(samples([0.0, 0.2, 0.4, 0.5, 0.9, 1.0]))
def test_concordance_equals_every_pair_looked_at(data):
    truth, scores, _ = data
    assert measure("concordance", truth, scores) == pytest.approx(slow_order(truth, scores), nan_ok=True)


@given(samples([0.0, 0.2, 0.4, 0.5, 0.9, 1.0]))
def test_spearman_equals_scipy(data):
    stats = pytest.importorskip("scipy.stats")
    truth, scores, _ = data
    if np.ptp(truth) and np.ptp(scores):
        assert measure("spearman", truth, scores) == pytest.approx(stats.spearmanr(truth, scores).statistic)
    else:
        assert math.isnan(measure("spearman", truth, scores))


@given(samples([0.0, 1.0, math.nan]))
def test_localisation_equals_slow_twins(data):
    truth, scores, groups = data
    within, worst, best = [], [], []
    for group in set(groups):
        mine = [(t, s) for t, s, g in zip(truth, scores, groups, strict=True) if g == group and not math.isnan(t)]
        labels = [t for t, _ in mine]
        if 0 in labels:
            tied = [t for t, s in mine if s == min(s for _, s in mine)]
            worst.append(tied.count(0) / len(tied))
        if 1 in labels:
            tied = [t for t, s in mine if s == max(s for _, s in mine)]
            best.append(tied.count(1) / len(tied))
        if 0 in labels and 1 in labels:
            within.append(slow_order(*zip(*mine, strict=True)))

    def mean(values):
        return sum(values) / len(values) if values else math.nan

    for name, values in (("within_response_auc", within), ("worst_sentence_hit", worst), ("best_sentence_hit", best)):
        assert measure(name, *data) == pytest.approx(mean(values), nan_ok=True)


@given(samples([0.0, 1.0, 1.0, math.nan]))
def test_first_errors_equal_slow_twins(data):
    truth, scores, groups = data
    right, wrong = [], []
    for group in set(groups):
        labels, given_scores = truth[groups == group], scores[groups == group]
        error = next((place for place, label in enumerate(labels) if label != 1), None)
        if error is not None and math.isnan(labels[error]):
            continue  # whether the first error comes before is unknown
        flagged = next((place for place, score in enumerate(given_scores) if score < 0.5), None)
        (right if error is None else wrong).append(error == flagged)
    both = right + wrong
    assert measure("first_error_accuracy", *data) == pytest.approx(np.mean(both) if both else math.nan, nan_ok=True)
    if right and wrong:
        accuracies = np.mean(right), np.mean(wrong)
        harmonic = 2 * np.prod(accuracies) / sum(accuracies) if sum(accuracies) else 0.0
        assert measure("first_error_f1", *data) == pytest.approx(harmonic)
    else:
        assert math.isnan(measure("first_error_f1", *data))


def test_a_perfect_but_saturated_ranking_is_perfect():
    """An AUC from a fixed grid of thresholds cannot part scores that lie within one step of it: rank them."""
    truth = np.array([0.0] * 50 + [1.0] * 50)
    saturated = 1 - np.linspace(1e-9, 1e-12, 100)
    assert measure("roc_auc", truth, saturated) == 1.0


def test_sentence_auc_is_over_all_sentences_not_a_mean_over_responses():
    truth, scores = [0, 1, 0, 1], [0.1, 0.2, 0.8, 0.9]
    assert measure("roc_auc", truth, scores, [0, 0, 1, 1]) == 0.75
    assert measure("within_response_auc", truth, scores, [0, 0, 1, 1]) == 1.0


@pytest.mark.parametrize(("neutral", "value"), [("good", 0.75), ("bad", 1.0), ("out", 1.0)])
def test_neutral_labels_are_good_bad_or_left_out(neutral, value):
    assert measure(f"roc_auc(neutral={neutral!r})", [0.0, 0.25, 0.5, 1.0], [0.1, 0.3, 0.2, 0.9]) == value


def test_calibration_error_by_hand():
    scores, truth = [0.1, 0.1, 0.9, 0.9], [0, 1, 1, 1]
    assert measure("calibration_error(bins=2)", truth, scores) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    assert measure("calibration_error(bins=1)", truth, scores) == pytest.approx(0.25)
    assert measure("calibration_error(bins=2, equal_mass=False)", truth, scores) == pytest.approx(0.25)


def test_bins_hold_equal_numbers_and_never_part_equal_scores():
    scores = np.random.default_rng(0).random(1000) ** 4
    assert np.ptp(np.bincount(mass_bins(scores, 10))) <= 2
    tied = mass_bins(np.repeat([0.2, 0.7], 50), 10)
    assert len(set(tied[:50])) == len(set(tied[50:])) == 1


def test_resampled_weights_draw_whole_clusters():
    clusters = [0, 0, 1, 2, 2]
    weights = np.concatenate(list(resampled_weights(5, 40, seed=1, clusters=clusters)), axis=1)
    assert weights.shape == (5, 40)
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[3], weights[4])
    assert set(weights[[0, 2, 3]].sum(axis=0)) == {3.0}
    again = np.concatenate(list(resampled_weights(5, 40, seed=1, clusters=clusters)), axis=1)
    np.testing.assert_array_equal(weights, again)


def test_what_cannot_be_measured_is_said():
    with pytest.raises(BadData, match="one score a label"):
        Sample.of([0, 1], [0.5])
    with pytest.raises(BadData, match="score at 1 is nan"):
        Sample.of([0, 1], [0.5, math.nan])
    with pytest.raises(BadData, match="whose it is"):
        Sample.of([0, 1], [0.5, 0.5], [1])
    with pytest.raises(BadData, match="infinite"):
        Sample.of([0, math.inf], [0.5, 0.5])
    with pytest.raises(BadSpec, match="neutral"):
        METRICS.build("roc_auc(neutral='maybe')")
    with pytest.raises(BadSpec, match="good"):
        METRICS.build("average_precision(of='all')")
    with pytest.raises(BadSpec, match="bin"):
        METRICS.build("calibration_error(bins=0)")
    with pytest.raises(UnknownName, match="roc_auc"):
        METRICS.build("roc_acu")


def test_one_class_says_so():
    reading = METRICS.build("roc_auc").read(Sample.of([1, 1], [0.2, 0.3]))
    assert math.isnan(reading.value)
    assert reading.reason == "every label is the same"


def test_metrics_and_evaluation_need_numpy_alone():
    """They judge anybody's scores on a light installation."""
    heavy = "torch", "scipy", "sklearn", "pandas"
    code = f"import fractal.evaluation.metrics, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
