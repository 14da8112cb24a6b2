"""Tables of metrics with intervals, and the comparison of two sets of scores."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fractal.errors import BadData, BadSpec, UnknownName
from fractal.evaluation import LabelledScores, compare, evaluate, evaluate_arrays
from fractal.evaluation.metrics import METRICS
from fractal.records import Response, ScoredResponse


def made(count=60, noise=0.3, seed=0, unknown=0.0):
    """Scored responses with random labels, and scores that follow the labels as far as the noise lets them."""
    random = np.random.default_rng(seed)
    labels_from, found = np.random.default_rng(99), []
    for number in range(count):
        labels = [float(label) for label in labels_from.random(4) < 0.7]
        scores = [float(np.clip(0.3 + 0.4 * label + noise * random.normal(), 0, 1)) for label in labels]
        shown = [None if random.random() < unknown else label for label in labels]
        response = Response.from_sentences(
            f"r{number}", [f"Sentence {place}." for place in range(4)], labels=shown, label=min(labels)
        )
        found.append(ScoredResponse(response, tuple(scores), min(scores)))
    return found


def as_mappings(scored):
    return [
        {
            "id": one.response.id,
            "sentence_scores": one.sentence_scores,
            "sentence_labels": one.response.sentence_labels,
            "response_score": one.response_score,
            "label": one.response.label,
        }
        for one in scored
    ]


def as_arrays(scored):
    judged = LabelledScores.of(scored)
    return judged.sentences.truth, judged.sentences.scores, judged.sentences.groups


def test_rows_are_the_metrics_on_all_the_data():
    scored = made(unknown=0.2)
    done = evaluate(scored, bootstrap=50)
    for row in done.rows:
        if row.level == "sentence":
            assert row.value == pytest.approx(METRICS.build(row.metric)(*as_arrays(scored)), nan_ok=True)
        assert row.low <= row.value + 0.1
        assert row.low < row.high
    labels = [one.response.label for one in scored]
    value = METRICS.build("response_roc_auc")(labels, [one.response_score for one in scored])
    assert done["response_roc_auc"].value == pytest.approx(value)
    assert done.responses == 60
    assert done.labelled < done.sentences == 240


def test_mappings_records_and_arrays_agree():
    scored = made()
    whole = [one.response.label for one in scored], [one.response_score for one in scored]
    records = evaluate(scored, bootstrap=20)
    assert evaluate(as_mappings(scored), bootstrap=20) == records
    arrays = evaluate_arrays(*as_arrays(scored), response_truth=whole[0], response_scores=whole[1], bootstrap=20)
    assert arrays.rows == records.rows


def test_same_seed_same_intervals():
    scored = made()
    assert evaluate(scored, bootstrap=50, seed=3) == evaluate(scored, bootstrap=50, seed=3)
    assert evaluate(scored, bootstrap=50, seed=3).rows != evaluate(scored, bootstrap=50, seed=4).rows


def test_intervals_are_of_whole_responses():
    """Sentences of a response share their fate: copying every sentence ten times must not narrow the interval."""
    truth, scores, groups = as_arrays(made())
    once = evaluate_arrays(truth, scores, groups, "roc_auc", bootstrap=200)["roc_auc"]
    copied = evaluate_arrays(*(np.repeat(part, 10) for part in (truth, scores, groups)), "roc_auc", bootstrap=200)
    assert copied["roc_auc"].low == pytest.approx(once.low)
    assert copied["roc_auc"].high == pytest.approx(once.high)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """The AUC of N(1, 1) against N(0, 1) is Φ(1/√2); a shift shared inside responses makes clusters matter."""
    random, inside = np.random.default_rng(5), 0
    true_auc = 0.5 * (1 + math.erf(0.5))
    for _ in range(100):
        groups = np.repeat(np.arange(80), 5)
        truth = (random.random(400) < 0.5).astype(float)
        # half of the unit variance is shared by the sentences of a response
        scores = truth + np.sqrt(0.5) * (random.normal(size=80)[groups] + random.normal(size=400))
        row = evaluate_arrays(truth, scores, groups, "roc_auc", bootstrap=200, confidence=0.9)["roc_auc"]
        inside += row.low <= true_auc <= row.high
    assert 80 <= inside <= 98


@pytest.mark.parametrize(
    ("labels", "extra"),
    [
        ([1.0, 0.0, None, None], {"first_error_f1", "first_error_accuracy"}),
        ([1.0, 0.25, 0.5, 0.0], {"concordance", "spearman"}),
        ([1.0, 0.0, 1.0, 0.0], set()),
    ],
)
def test_usual_metrics_follow_the_labels(labels, extra):
    scored = [
        {"id": "a", "sentence_scores": [0.9, 0.1, 0.5, 0.4], "sentence_labels": labels},
        {"id": "b", "sentence_scores": [0.8, 0.7], "sentence_labels": [1.0, 1.0]},
    ]
    done = evaluate(scored, bootstrap=0)
    unusual = {"first_error_f1", "first_error_accuracy", "concordance", "spearman"}
    assert {row.metric for row in done.rows} & unusual == extra
    assert not any(row.level == "response" for row in done.rows)
    assert all(math.isnan(row.low) for row in done.rows)


def test_undefined_rows_give_a_reason_and_null():
    scored = [{"id": "a", "sentence_scores": [0.2, 0.3], "sentence_labels": [1, 1]}]
    done = evaluate(scored, ["roc_auc", "mae"], bootstrap=10)
    assert done["roc_auc"].note == "every label is the same"
    assert math.isnan(done["roc_auc"].low)
    first, second = json.loads(done.to_json())["rows"]
    assert first["value"] is None
    assert second["value"] == pytest.approx(0.75)
    assert "–" in str(done)


def test_shown_as_text_and_markdown():
    done = evaluate(made(), ["roc_auc", "roc_auc(neutral='out')"], bootstrap=20)
    lines = done.to_markdown().splitlines()
    assert lines[0] == "| metric | value | interval | count | note |"
    assert lines[3].startswith("| roc_auc(neutral='out') |")
    assert "95% intervals from 20 resamples" in str(done)
    assert done._repr_markdown_() == done.to_markdown()
    with pytest.raises(KeyError, match="mae"):
        done["mae"]


def test_a_clearly_better_set_of_scores_wins_and_the_other_order_mirrors():
    good, poor = made(noise=0.1), made(noise=1.0, seed=1)
    one = compare(good, list(reversed(poor)), bootstrap=200, names=("mine", "theirs"))
    row = one["roc_auc"]
    assert row.better == "first"
    assert row.p < 0.02
    assert row.difference == pytest.approx(row.first - row.second)
    assert row.low < row.difference < row.high
    assert one["mae"].better == "first"
    assert one["mae"].difference < 0
    assert "mine" in str(one)
    other = compare(poor, good, bootstrap=200)["roc_auc"]
    assert (other.better, other.difference) == ("second", pytest.approx(-row.difference))


def test_equal_scores_do_not_differ():
    row = compare(made(), made(), bootstrap=50)["roc_auc"]
    assert (row.difference, row.low, row.high, row.p, row.better) == (0, 0, 0, 1, "")


def test_two_equally_good_sets_rarely_differ():
    found = [
        compare(made(seed=2 * seed + 10), made(seed=2 * seed + 11), "roc_auc", bootstrap=100)["roc_auc"].p < 0.05
        for seed in range(40)
    ]
    assert sum(found) <= 7


def test_labels_that_one_side_knows_serve_both():
    full = as_mappings(made())
    bare = [{"id": one["id"], "sentence_scores": one["sentence_scores"]} for one in full]
    for pair in ((full, bare), (bare, full)):
        row = compare(*pair, "roc_auc", bootstrap=0)["roc_auc"]
        assert row.first == row.second == pytest.approx(evaluate(full, "roc_auc", bootstrap=0)["roc_auc"].value)


def test_several_aspects_are_measured_one_at_a_time():
    response = Response.from_sentences("a", ["One.", "Two."], labels=[1, 0], label=0.0, aspects={"helpful": 1.0})
    scored = [ScoredResponse(response, (0.9, 0.1), 0.2), ScoredResponse(response, (0.6, 0.5), 0.6, aspect="helpful")]
    with pytest.raises(BadData, match="aspect"):
        evaluate(scored)
    assert evaluate(scored, "response_mae", aspect="helpful", bootstrap=0)["response_mae"].value == pytest.approx(0.4)
    assert evaluate(scored, "response_mae", aspect="", bootstrap=0)["response_mae"].value == pytest.approx(0.2)


def test_what_cannot_be_compared_is_said():
    scored = made(3)
    with pytest.raises(BadData, match="only in the first"):
        compare(scored, scored[:2])
    with pytest.raises(BadData, match="only in the second"):
        compare(scored[:2], scored)
    with pytest.raises(BadData, match="more than once"):
        evaluate([*scored, scored[0]])
    shorter = as_mappings(scored)
    shorter[1] = {"id": "r1", "sentence_scores": [0.5]}
    with pytest.raises(BadData, match="'r1' has not the same number"):
        compare(scored, shorter)
    other = as_mappings(scored)
    other[0]["sentence_labels"] = [1 - label for label in other[0]["sentence_labels"]]
    with pytest.raises(BadData, match="different labels"):
        compare(scored, other)
    with pytest.raises(BadData, match="nothing to compare"):
        evaluate([{"id": "a", "sentence_scores": [0.4]}])
    with pytest.raises(BadData, match="sentence_scores"):
        evaluate([{"id": "a"}])
    with pytest.raises(BadData, match="line 1"):
        evaluate([{"id": "a", "sentence_scores": [0.4], "sentence_labels": [1, 0]}])
    with pytest.raises(UnknownName, match="Did you mean 'roc_auc'"):
        evaluate(scored, "roc_auk")
    with pytest.raises(BadSpec, match="confidence"):
        evaluate(scored, confidence=95)
    with pytest.raises(BadSpec, match="bootstrap"):
        evaluate(scored, bootstrap=-1)
