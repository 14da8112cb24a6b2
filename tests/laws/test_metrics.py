"""Laws of every registered metric."""

from __future__ import annotations

import dataclasses
import math
import pickle

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fractal.evaluation.metrics import METRICS, Sample

ORDER_ONLY = (
    "roc_auc",
    "average_precision",
    "concordance",
    "spearman",
    "within_response_auc",
    "worst_sentence_hit",
    "best_sentence_hit",
)
LEVELS = [0.0, 0.25, 0.5, 0.75, 1.0]
WORST = {"calibration_error", "mae", "mse", "brier"}


@st.composite
def samples(draw, labels=(0.0, 1.0, math.nan), most=24):
    count = draw(st.integers(1, most))

    def column(values):
        return draw(st.lists(st.sampled_from(values), min_size=count, max_size=count))

    return np.array(column(labels)), np.array(column(LEVELS)), np.array(sorted(column(range(5))))


names = pytest.mark.parametrize("name", METRICS.names())


@names
def test_text_form_pickle_hash_and_help(name):
    metric = METRICS.build(name)
    assert METRICS.build(METRICS.spec(metric)) == metric
    assert pickle.loads(pickle.dumps(metric)) == metric
    assert hash(metric) == hash(METRICS.build(name))
    assert dataclasses.is_dataclass(metric)
    assert METRICS.summary(name).endswith((".", ")"))
    assert metric.level == ("response" if name.startswith("response_") else "sentence")


@names
@given(samples())
def test_pure(name, data):
    before = [column.copy() for column in data]
    metric = METRICS.build(name)
    first, second = metric(*data), metric(*data)
    assert first == second or (math.isnan(first) and math.isnan(second))
    for column, copy in zip(data, before, strict=True):
        np.testing.assert_array_equal(column, copy)


@names
@given(samples(labels=(0.0, 1.0)))
def test_perfect_scores_give_the_best_value(name, data):
    truth, scores, groups = data
    metric = METRICS.build(name)
    best, other = metric(truth, truth, groups), metric(truth, scores, groups)
    assert math.isnan(best) or best == pytest.approx(1.0 if metric.higher_is_better else 0.0)
    if not math.isnan(other):
        assert other <= 1 + 1e-12 if metric.higher_is_better else other >= 0
    assert not math.isnan(other) or math.isnan(best) or name.endswith("spearman")


@names
@given(samples())
def test_undefined_says_why(name, data):
    reading = METRICS.build(name).read(Sample.of(*data))
    assert math.isnan(reading.value) == bool(reading.reason)


@names
@given(samples(), st.data())
def test_unknown_labels_are_never_scored(name, data, draw):
    truth, scores, groups = data
    if "first_error" in name:  # there the place of a sentence counts, so a sentence cannot be left out
        truth = np.where(np.isnan(truth), 1.0, truth)
    known = ~np.isnan(truth)
    metric = METRICS.build(name)
    assert metric(truth, scores, groups) == pytest.approx(
        metric(truth[known], scores[known], groups[known]), nan_ok=True
    )
    other = draw.draw(st.lists(st.sampled_from(LEVELS), min_size=truth.size, max_size=truth.size))
    changed = np.where(known, scores, other)
    assert metric(truth, changed, groups) == pytest.approx(metric(truth, scores, groups), nan_ok=True)


@names
@example((np.array([1.0, 0.0]), np.array([1.0, 1.0]), np.array([0, 1])), [1, 0, 0, 0, 0])  # one class is left
@given(samples(), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_a_weight_of_two_is_a_response_twice(name, data, draws):
    """A resample by weights is the metric on the responses written out as often as they were drawn."""
    truth, scores, groups = data
    sample = Sample.of(truth, scores, groups)
    counts = np.array(draws[: sample.responses], dtype=float)
    metric = METRICS.build(name)
    written, copies = [], 0
    for response, times in enumerate(counts):
        for _ in range(int(times)):
            mine = np.flatnonzero(sample.groups == response)
            written += [(truth[item], scores[item], copies) for item in mine]
            copies += 1
    got = metric.read(sample).resampled(counts[:, None])[0]
    if not written:
        assert math.isnan(got)
        return
    columns = [np.array(column) for column in zip(*written, strict=True)]
    if "calibration_error" in name:  # its bins stay where all the data put them: so give the same bins
        metric = dataclasses.replace(metric, equal_mass=False)
        got = metric.read(sample).resampled(counts[:, None])[0]
    assert got == pytest.approx(metric(*columns), nan_ok=True)


@names
@given(samples(), st.randoms(use_true_random=False))
def test_order_of_responses_and_their_names_do_not_matter(name, data, random):
    truth, scores, groups = data
    order = sorted(range(5), key=lambda _: random.random())
    rows = np.concatenate([np.flatnonzero(groups == group) for group in order])
    metric = METRICS.build(name)
    renamed = np.array([f"q{9 - group}" for group in groups])
    assert metric(truth[rows], scores[rows], renamed[rows]) == pytest.approx(metric(truth, scores, groups), nan_ok=True)


@pytest.mark.parametrize("name", ORDER_ONLY)
@given(samples(labels=(0.0, 0.5, 1.0, math.nan)))
def test_only_the_order_of_scores_counts(name, data):
    truth, scores, groups = data
    metric = METRICS.build(name)
    bent = np.exp(5 * scores) - 3
    assert metric(truth, bent, groups) == pytest.approx(metric(truth, scores, groups), nan_ok=True)


@pytest.mark.parametrize("name", ["roc_auc", "concordance", "within_response_auc"])
@given(samples(labels=(0.0, 1.0)))
def test_reversed_scores_give_the_rest(name, data):
    truth, scores, groups = data
    metric = METRICS.build(name)
    assert metric(truth, -scores, groups) == pytest.approx(1 - metric(truth, scores, groups), nan_ok=True)


@names
def test_nothing_labelled_is_nan(name):
    metric = METRICS.build(name)
    assert math.isnan(metric([math.nan] * 3, [0.1, 0.2, 0.3], [0, 0, 1]))
    assert math.isnan(metric([], [], []))
