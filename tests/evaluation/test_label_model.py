"""Weak judges combined without truth: who is right, who is useless, and what the response is worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.errors import BadData, BadSpec
from fractal.evaluation.label_model import _edges, _Fit, _settle, _Votes, combine, combine_responses
from fractal.evaluation.metrics import METRICS
from fractal.records import Response


def drawn(on_good, on_bad=None, count=1000, seed=0, share=0.5, missing=0.0):
    """The truth, and votes of judges who are right this often on the good and on the bad."""
    random = np.random.default_rng(seed)
    truth = (random.random(count) < share).astype(float)
    right = np.where(truth[:, None] > 0, on_good, on_good if on_bad is None else on_bad)
    votes = np.where(random.random(right.shape) < right, truth[:, None], 1 - truth[:, None])
    votes[random.random(votes.shape) < missing] = math.nan
    return truth, votes


def auc(truth, scores):
    return METRICS.build("roc_auc")(truth, scores)


def test_accuracies_are_found_without_truth():
    on_good, on_bad = [0.95, 0.7, 0.8, 0.6], [0.6, 0.9, 0.8, 0.7]
    found = combine(drawn(on_good, on_bad, count=4000)[1], ["a", "b", "c", "d"])
    assert [judge.on_good for judge in found.judges] == pytest.approx(on_good, abs=0.05)
    assert [judge.on_bad for judge in found.judges] == pytest.approx(on_bad, abs=0.05)
    assert list(found.accuracies) == ["a", "b", "c", "d"]
    assert all(judge.low <= judge.accuracy <= judge.high for judge in found.judges)
    assert found.good_share == pytest.approx(0.5, abs=0.05)


def test_better_than_majority_where_judges_differ():
    for seed in range(5):
        truth, votes = drawn([0.9, 0.8, 0.7, 0.6, 0.55], seed=seed)
        labels = combine(votes).labels
        assert ((labels > 0.5) == truth).mean() > ((votes.mean(axis=1) > 0.5) == truth).mean() + 0.01
        assert auc(truth, labels) > auc(truth, votes.mean(axis=1))


def test_as_good_as_majority_where_all_are_equally_weak():
    gaps = []
    for seed in range(10):
        truth, votes = drawn([0.6] * 15, count=300, seed=seed)
        majority = (votes.mean(axis=1) > 0.5) == truth
        gaps.append(((combine(votes).labels > 0.5) == truth).mean() - majority.mean())
    assert np.mean(gaps) > -0.01


def test_labels_are_probabilities_that_hold():
    truth, votes = drawn([0.9, 0.75, 0.7, 0.65], count=4000)
    assert METRICS.build("calibration_error")(truth, combine(votes).labels) < 0.04


def test_useless_judges_are_dropped_and_useful_ones_kept():
    truth, votes = drawn([0.85, 0.8, 0.75, 0.5, 0.5], count=6000)
    votes[:, 4] = 1.0  # one who always says yes tells nothing
    found = combine(votes)
    assert found.dropped == ("judge 4", "judge 5")
    assert "cannot be told from chance" in found.judges[3].dropped
    assert combine(votes, drop=False).dropped == ()
    assert auc(truth, found.labels) == pytest.approx(auc(truth, combine(votes[:, :3]).labels), abs=1e-3)


def test_one_who_contradicts_is_turned_around_or_dropped():
    truth, votes = drawn([0.85, 0.8, 0.75, 0.7, 0.15])
    turned, dropped = combine(votes), combine(votes, contradicting="drop")
    assert turned.judges[4].high < 0.5
    assert "turned around" in str(turned)
    assert turned.dropped == ()
    assert dropped.dropped == ("judge 5",)
    assert "contradicts" in dropped.judges[4].dropped
    majority = auc(truth, votes.mean(axis=1))
    assert auc(truth, turned.labels) > auc(truth, dropped.labels) > majority


def test_scores_on_any_scale_stand_beside_votes():
    random = np.random.default_rng(0)
    truth, votes = drawn([0.7, 0.65])
    ratings = np.clip(np.round(3 + 1.2 * (truth - 0.5) + random.normal(size=1000)), 1, 5)
    tiny = 1e-6 * (truth + random.normal(size=1000))
    found = combine(np.column_stack([votes, ratings, tiny]))
    assert [judge.kind for judge in found.judges] == ["votes", "votes", "scores", "scores"]
    assert auc(truth, found.labels) > max(auc(truth, votes.mean(axis=1)), auc(truth, ratings), auc(truth, tiny)) + 0.02
    # two normal curves one apart are told apart Φ(½) of the time
    assert found.judges[3].accuracy == pytest.approx(0.69, abs=0.04)


def test_missing_votes():
    truth, votes = drawn([0.9, 0.8, 0.7, 0.75, 0.8], count=2000, missing=0.5)
    votes[:3] = math.nan
    found = combine(votes)
    assert np.isnan(found.labels[:3]).all()
    assert not np.isnan(found.labels[votes[:, 0] >= 0]).any()
    seen = ~np.isnan(found.labels)
    assert auc(truth[seen], found.labels[seen]) > auc(truth[seen], np.nanmean(votes[seen], axis=1))
    absent = combine(np.column_stack([votes, np.full(2000, math.nan)]))
    assert absent.judges[5].dropped == "has not voted"


def test_settling_never_lowers_the_likelihood():
    """Expectation–maximisation climbs: here without pooling's help, as judges clearly differ and votes are many."""
    _, votes = drawn([0.9, 0.7, 0.6, 0.8], count=3000)
    table = _Votes.of(votes)

    def likelihood(good):
        fit = _Fit.of(table, good)
        sides = [
            np.log(share) + np.log(np.where(votes > 0, rate, 1 - rate)).sum(axis=1)
            for share, rate in ((fit.share, fit.on_good), (1 - fit.share, fit.on_bad))
        ]
        return np.logaddexp(*sides).sum()

    climbs = [likelihood(_settle(table, rounds)) for rounds in range(1, 12)]
    assert (np.diff(climbs) > -0.5).all()
    mean_vote = (table.filled * table.seen).sum(1) / table.seen.sum(1)
    assert climbs[-1] > likelihood(mean_vote) + 1


@given(st.integers(0, 20))
def test_order_of_judges_and_responses_does_not_matter(seed):
    random = np.random.default_rng(seed)
    _, votes = drawn([0.9, 0.7, 0.6], count=60, seed=seed, missing=0.2)
    rows, columns = random.permutation(60), random.permutation(3)
    straight = combine(votes, drop=False, bootstrap=2).labels
    shuffled = combine(votes[rows][:, columns], drop=False, bootstrap=2).labels
    np.testing.assert_allclose(shuffled, straight[rows], atol=1e-4)


def test_same_seed_same_answer():
    _, votes = drawn([0.9, 0.7, 0.6], count=100)
    assert combine(votes, seed=1).judges == combine(votes, seed=1).judges


def test_one_or_two_judges_say_that_nothing_can_be_checked():
    found = combine([[1, 0], [1, 1], [0, 0]])
    assert "Fewer than three judges" in str(found)
    assert found.labels[1] > found.labels[0] > found.labels[2]


def test_responses_carry_lists_or_mappings():
    def response(number, votes, label=None):
        return Response.from_sentences(f"r{number}", ["Yes."], label=label, extra=votes)

    truth, votes = drawn([0.9, 0.8, 0.7], count=200)
    rows = [response(number, {"votes": list(row)}) for number, row in enumerate(votes)]
    rows += [response(200, {}, label=0.25), response(201, {"votes": [1, None, None]})]
    labelled, found = combine_responses(rows)
    assert [row.id for row in labelled] == [row.id for row in rows]
    assert labelled[200].label == 0.25
    assert 0.5 < labelled[201].label < 1
    assert auc(truth, [row.label for row in labelled[:200]]) > 0.9
    named = [response(number, {"raters": {"ann": row[0], "bob": row[1]}}) for number, row in enumerate(votes)]
    assert set(combine_responses(named, "raters")[1].accuracies) == {"ann", "bob"}
    assert found.judges[0].name == "judge 1"


def test_what_cannot_be_combined_is_said():
    with pytest.raises(BadData, match="a row a response"):
        combine([1, 0, 1])
    with pytest.raises(BadData, match="infinite"):
        combine([[1, math.inf]])
    with pytest.raises(BadData, match="no judge has voted"):
        combine([[math.nan, math.nan]])
    with pytest.raises(BadData, match="2 names for 3"):
        combine([[1, 0, 1]], ["a", "b"])
    with pytest.raises(BadSpec, match="contradicting"):
        combine([[1, 0, 1]], contradicting="ignore")
    row = Response.from_sentences("a", ["Yes."], extra={"votes": "yes"})
    with pytest.raises(BadData, match="'a' has 'yes'"):
        combine_responses([row])
    with pytest.raises(BadData, match="no response carries votes"):
        combine_responses([Response.from_sentences("a", ["Yes."])])
    with pytest.raises(BadData, match="no number"):
        combine_responses([Response.from_sentences("a", ["Yes."], extra={"votes": ["good"]})])


@given(st.lists(st.floats(0.3, 0.9), min_size=3, max_size=7), st.floats(-0.9, 0.9))
def test_the_edge_of_judges_is_read_off_their_agreement(most, other):
    edges = np.array([*most, other])
    met = np.full((len(edges), len(edges)), 1e5)
    assert _edges(np.outer(edges, edges) * met, met) == pytest.approx(edges, abs=0.02)


def test_who_contradicts_everybody_is_seen_where_two_judges_rate_a_response():
    for seed in range(8):
        truth, votes = drawn([0.95, 0.85, 0.75, 0.65, 0.1], count=300, seed=seed)
        random = np.random.default_rng(seed)
        for row in votes:
            row[random.permutation(5)[2:]] = math.nan
        found = combine(votes, alike=False)
        assert found.judges[0].accuracy > 0.75 > 0.4 > found.judges[4].accuracy
        assert ((found.labels > 0.5) == truth).mean() > 0.78
