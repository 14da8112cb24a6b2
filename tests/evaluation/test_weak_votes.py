"""Votes in the forms that they come in: scores, levels and comparisons become labels of the same form."""

from __future__ import annotations

import numpy as np
import pytest

from fractal.errors import BadData
from fractal.evaluation.label_model import combine
from fractal.evaluation.weak_votes import label_levels, label_pairs, label_scores, vote_table

NAMES = ("ann", "bob", "cy", "dan")


def votes_on_levels(seed=0, count=600, levels=4, rates=(0.9, 0.8, 0.6, 0.3)):
    """True levels, and judges who name the level this often, else any."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(levels, size=count)
    votes = draw.integers(levels, size=(count, len(rates)))
    right = draw.random((count, len(rates))) < rates
    return truth, np.where(right, truth[:, None], votes)


def test_levels_are_nearer_the_truth_than_the_median_vote():
    truth, votes = votes_on_levels()
    weak = label_levels(votes.tolist(), NAMES, 4)
    combined, median = np.array(weak.labels), np.median(votes, axis=1)
    assert np.abs(combined - truth).mean() < 0.8 * np.abs(median - truth).mean()
    assert (combined == truth).mean() > 0.85
    assert set(combined) <= {0, 1, 2, 3}
    assert len(weak.models) == 3
    assert weak.report[0].startswith("level 1 and above: ")


def test_two_levels_are_votes_of_0_and_1():
    _, votes = votes_on_levels(levels=2)
    weak, scores = label_levels(votes.tolist(), NAMES, 2), label_scores(votes.tolist(), NAMES)
    assert weak.labels == tuple(float(label > 0.5) for label in scores.labels)
    np.testing.assert_array_equal(scores.labels, combine(votes, NAMES).labels)


def test_pairs_are_sided_with_by_the_better_judges():
    truth, votes = votes_on_levels(levels=2)
    words = [["a" if vote else "b" for vote in row] for row in votes.tolist()]
    words[0] = ["tie", None, "", "tie"]
    words[1] = [None, "", None, None]
    words[2] = [" A ", "tie", 1, 0.5]
    weak = label_pairs(words, NAMES)
    assert weak.labels[:3] == ("tie", None, "a")
    right = np.mean([label == ("a" if side else "b") for label, side in zip(weak.labels[3:], truth[3:], strict=True)])
    majority = np.mean((votes[3:].mean(1) > 0.5) == truth[3:])
    assert right > max(majority, 0.9)


def test_turning_every_pair_around_turns_the_labels_around():
    _, votes = votes_on_levels(levels=2, count=300)
    other = {"a": "b", "b": "a", "tie": "tie"}
    first, second = label_pairs(votes.tolist(), NAMES), label_pairs((1 - votes).tolist(), NAMES)
    assert tuple(other[label] for label in first.labels) == second.labels


def test_tables_are_taken_from_columns_lists_and_mappings():
    rows = [{"ann": 1, "bob": "0"}, {"ann": None, "bob": 1}]
    assert vote_table(rows, ["ann", "bob"]) == ([[1, "0"], [None, 1]], ("ann", "bob"))
    assert vote_table([{"votes": [1, 0]}, {"votes": None}], ["votes"]) == (
        [[1, 0], [None, None]],
        ("judge 1", "judge 2"),
    )
    rows = [{"votes": {"ann": 1}}, {"votes": {"bob": 0}}]
    assert vote_table(rows, ["votes"]) == ([[1, None], [None, 0]], ("ann", "bob"))


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: label_levels([[0, 1, 4]], NAMES[:3], 4), "whole numbers from 0 to 3"),
        (lambda: label_levels([[0, 1, 0.5]], NAMES[:3], 4), "a vote is 0.5"),
        (lambda: label_levels([[0, 1, 1]], NAMES[:3], 1), "give 2 to"),
        (lambda: label_pairs([["a", "c", "b"]], NAMES[:3]), '"a", "b" or "tie"'),
        (lambda: label_scores([["good", 1, 0]], NAMES[:3]), "no number"),
        (lambda: vote_table([{"x": 1}], ["ann"]), "no row has the column 'ann'"),
        (lambda: vote_table([{"votes": [1]}, {"votes": 3}], ["votes"]), "a list of votes"),
    ],
)
def test_votes_that_cannot_be_are_refused(call, why):
    with pytest.raises(BadData, match=why):
        call()
