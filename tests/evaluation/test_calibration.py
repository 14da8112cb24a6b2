"""Calibration curves, reliability, and thresholds for a wanted precision or recall."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.errors import BadData, BadSpec, UnknownName
from fractal.evaluation.calibration import KINDS, Calibrator, fit_calibrator, reliability, thresholds
from fractal.evaluation.calibration.calibrators import log_loss, logit
from fractal.evaluation.metrics import CalibrationError
from fractal.evaluation.solvers import sigmoid

calibration_error = CalibrationError()


def miscalibrated(count=4000, slope=2.5, shift=1.0, seed=0):
    """Labels drawn from true probabilities, and scores that exaggerate them."""
    random = np.random.default_rng(seed)
    true = sigmoid(random.normal(size=count) * 1.5)
    return (random.random(count) < true).astype(float), sigmoid(slope * logit(true) + shift), true


@pytest.mark.parametrize("kind", ["platt", "beta", "isotonic", "auto"])
def test_calibration_recovers_probabilities(kind):
    labels, scores, true = miscalibrated()
    fitted = fit_calibrator(scores[:2000], labels[:2000], kind=kind)
    assert calibration_error(labels, scores) > 0.1
    assert calibration_error(labels[2000:], fitted(scores[2000:])) < 0.05
    assert np.abs(fitted(scores) - true).mean() < 0.04


def test_auto_keeps_what_is_calibrated_nearly_as_it_is():
    labels, _, true = miscalibrated()
    fitted = fit_calibrator(true, labels)
    assert np.abs(fitted(true) - true).mean() < 0.02


def test_auto_finds_a_step_that_no_smooth_curve_has():
    random = np.random.default_rng(0)
    scores = random.random(4000)
    labels = (random.random(4000) < np.where(scores < 0.3, 0.1, np.where(scores < 0.6, 0.5, 0.55))).astype(float)
    fitted = fit_calibrator(scores, labels)
    assert fitted.kind == "isotonic"
    assert fitted(np.array([0.2, 0.45])) == pytest.approx([0.1, 0.5], abs=0.07)


def test_auto_leaves_calibrated_scores_alone_where_labels_are_few():
    """A freer curve is better by chance on a quarter of such draws; by more than a standard error on none of these."""
    kinds = []
    for seed in range(20):
        labels, _, true = miscalibrated(300, seed=seed)
        kinds.append(fit_calibrator(true, labels).kind)
    assert kinds.count("identity") >= 18


def test_auto_takes_the_simplest_curve_that_mends_the_scores():
    labels, scores, _ = miscalibrated(900)
    assert fit_calibrator(scores, labels).kind == "platt"


def test_a_standard_error_is_taken_over_groups():
    """Labels that repeat inside a group are one piece of evidence, however often they repeat."""
    kinds = []
    for seed in range(20):
        labels, _, true = miscalibrated(60, seed=seed)
        repeated = np.repeat(labels, 30), np.repeat(true, 30), np.repeat(np.arange(60), 30)
        kinds.append(fit_calibrator(repeated[1], repeated[0], groups=repeated[2]).kind)
    assert kinds.count("identity") >= 18


def test_steps_are_not_asked_for_by_few_labels():
    random = np.random.default_rng(0)
    scores = random.random(900)
    labels = (random.random(900) < np.where(scores < 0.3, 0.1, np.where(scores < 0.6, 0.5, 0.55))).astype(float)
    assert fit_calibrator(scores, labels).kind != "isotonic"
    assert fit_calibrator(scores, labels, kind="isotonic").kind == "isotonic"


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_curves_rise_and_stay_probabilities(kind, data):
    """Whatever the labels, even against the scores, no two scores change their order."""
    count = data.draw(st.integers(1, 30))
    column = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), min_size=count, max_size=count)
    fitted = fit_calibrator(data.draw(column), data.draw(column), kind=kind)
    curve = fitted(np.linspace(0, 1, 101))
    assert (np.diff(curve) >= -1e-12).all()
    assert (curve >= 0).all()
    assert (curve <= 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_calibrators_travel_as_plain_values(kind):
    labels, scores, _ = miscalibrated(300)
    fitted = fit_calibrator(scores, labels, kind=kind)
    assert Calibrator.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted
    assert pickle.loads(pickle.dumps(fitted)) == fitted
    hash(fitted)


def test_platt_is_the_likeliest_curve():
    """No nearby curve is better on the data by more than the pull to the identity allows."""
    labels, scores, _ = miscalibrated(2000)
    fitted = fit_calibrator(scores, labels, kind="platt")
    best = log_loss(fitted, scores, labels)
    for nudge in (np.array([0.05, 0]), np.array([-0.05, 0]), np.array([0, 0.1]), np.array([0, -0.1])):
        assert log_loss(Calibrator("platt", tuple(fitted.parameters + nudge)), scores, labels) > best


def test_few_labels_stay_near_the_scores():
    one = fit_calibrator([0.7], [1.0], kind="platt")
    assert 0.7 < float(one(0.7)) < 0.97
    assert math.isfinite(one.parameters[0])


def test_unknown_labels_and_groups():
    labels, scores, _ = miscalibrated(400)
    more = np.r_[labels, math.nan, math.nan], np.r_[scores, 0.1, 0.9]
    assert fit_calibrator(more[1], more[0], kind="beta") == fit_calibrator(scores, labels, kind="beta")
    grouped = fit_calibrator(scores, labels, groups=np.arange(400) // 4)
    assert grouped == fit_calibrator(scores, labels, groups=np.arange(400) // 4)
    assert fit_calibrator(scores[:3], labels[:3]).kind == "platt"  # too few to choose by cross-validation


def test_reliability_lies_on_the_diagonal_where_scores_are_calibrated():
    labels, scores, true = miscalibrated()
    good = reliability(labels, true, groups=np.arange(4000) // 4, bootstrap=200)
    assert len(good) == 10
    assert sum(each.count for each in good) == 4000
    assert sum(each.low <= each.score <= each.high for each in good) >= 8
    assert sum(each.low <= each.score <= each.high for each in reliability(labels, scores, bootstrap=200)) <= 4


def slow_cut(labels, scores, of, precision=None, recall=None):
    wanted = [label == (of == "good") for label in labels]
    found = []
    for cut in sorted(set(scores), reverse=of == "good"):
        taken = [w for w, s in zip(wanted, scores, strict=True) if (s >= cut if of == "good" else s <= cut)]
        found.append((cut, sum(taken) / len(taken), sum(taken) / sum(wanted)))
    if recall is not None:
        return next(cut for cut in found if cut[2] >= recall - 1e-9), True
    enough = [cut for cut in found if cut[1] >= precision - 1e-12]
    return (enough[-1], True) if enough else (max(found, key=lambda cut: cut[1]), False)


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.4, 0.8, 0.9])), min_size=2, max_size=20),
    st.sampled_from(["good", "bad"]),
    st.sampled_from([{"precision": 0.5}, {"precision": 0.9}, {"recall": 0.5}, {"recall": 1.0}]),
)
def test_thresholds_equal_trying_every_cut(pairs, of, wish):
    labels, scores = zip(*pairs, strict=True)
    if (of == "good") not in labels:
        return
    found = thresholds(np.array(labels, dtype=float), scores, of=of, bootstrap=0, **wish)
    (cut, precision, recall), reached = slow_cut(labels, scores, of, **wish)
    assert (found.threshold, found.precision, found.recall) == pytest.approx((cut, precision, recall))
    assert found.reached == reached


def test_threshold_intervals_hold_what_comes_later():
    labels, _, true = miscalibrated(4000, seed=1)
    found = thresholds(labels[:2000], true[:2000], precision=0.8, of="good", bootstrap=300)
    later = labels[2000:][true[2000:] >= found.threshold].mean()
    assert found.reached
    assert found.precision_interval[0] - 0.02 <= later <= found.precision_interval[1] + 0.02
    assert found.threshold_interval[0] <= found.threshold <= found.threshold_interval[1]
    assert found.recall_interval[0] < found.recall < found.recall_interval[1]


def test_a_threshold_says_what_was_wanted_and_whether_it_is_reached():
    labels, scores = np.array([0.0, 1.0, 1.0, 1.0]), np.array([0.2, 0.1, 0.6, 0.9])
    nearest = thresholds(labels, scores, precision=0.9, bootstrap=0)
    assert not nearest.reached
    assert str(nearest) == (
        "Threshold 0.200 for precision 0.9 of the bad: 50% of the labelled sentences score up to it, precision 0.500, "
        "recall 1.000. No threshold gives precision 0.9; this is the nearest."
    )
    good = thresholds(labels, scores, recall=0.5, of="good", bootstrap=50)
    assert json.loads(json.dumps(good.to_dict())) == {**good.to_dict(), "wanted": "recall 0.5", "reached": True}
    assert "score from it up, precision 1.000 (1.000 … 1.000)" in str(good)


def test_what_cannot_be_calibrated_is_said():
    with pytest.raises(BadData, match="no label"):
        fit_calibrator([0.5], [math.nan])
    with pytest.raises(BadData, match=r"\[0, 1\]"):
        fit_calibrator([1.5], [1])
    with pytest.raises(UnknownName, match="Did you mean 'platt'"):
        fit_calibrator([0.5], [1], kind="plat")
    with pytest.raises(BadSpec, match="no calibrator"):
        Calibrator.from_dict({"kind": "platt"})
    with pytest.raises(BadSpec, match="2 parameters"):
        Calibrator("platt", (1.0,))
    with pytest.raises(BadSpec, match="rising"):
        Calibrator("isotonic", (0.0, 1.0, 0.9, 0.2))
    with pytest.raises(BadSpec, match="one of the two"):
        thresholds([1, 0], [0.2, 0.3])
    with pytest.raises(BadData, match="known to be bad"):
        thresholds([1, 1], [0.2, 0.3], recall=0.5)
