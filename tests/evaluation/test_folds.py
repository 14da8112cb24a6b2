"""Folds: groups are never torn, folds are even in size and label, and every response is held out alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.evaluation.folds import deal_folds, member_weights

groups = st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=60)


def labels_for(groups, seed=0):
    labels = np.random.default_rng(seed).random(len(groups))
    labels[::7] = np.nan
    return labels


@given(groups=groups, folds=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_group_is_never_torn_and_every_fold_is_used(groups, folds, seed):
    dealt = deal_folds(groups, labels_for(groups), folds, seed)
    assert dealt.shape == (len(groups),)
    for group in set(groups):
        assert len({fold for fold, own in zip(dealt, groups, strict=True) if own == group}) == 1
    assert set(dealt) == set(range(min(folds, len(set(groups)))))


@pytest.mark.parametrize("seed", range(5))
def test_folds_are_even_in_size_and_in_labels(seed):
    rng = np.random.default_rng(seed)
    groups = [str(group) for group in rng.integers(0, 150, 600)]
    labels = (rng.random(600) < 0.2).astype(float)
    dealt = deal_folds(groups, labels, 5, seed)
    sizes = np.bincount(dealt)
    shares = np.array([labels[dealt == fold].mean() for fold in range(5)])
    assert sizes.max() - sizes.min() <= 8
    assert np.abs(shares - labels.mean()).max() < 0.03


def test_the_same_seed_deals_the_same_and_another_deals_anew():
    groups = [str(number) for number in range(100)]
    labels = labels_for(groups)
    assert np.array_equal(deal_folds(groups, labels, 5, 1), deal_folds(groups, labels, 5, 1))
    assert not np.array_equal(deal_folds(groups, labels, 5, 1), deal_folds(groups, labels, 5, 2))


def test_one_large_group_fills_a_fold_of_its_own():
    dealt = deal_folds(["big"] * 50 + [str(n) for n in range(50)], np.ones(100), 2)
    assert len(set(dealt[:50])) == 1
    assert (dealt[50:] != dealt[0]).sum() > 40


@given(groups=groups, members=st.integers(1, 7), folds=st.integers(2, 4))
def test_a_member_holds_out_whole_groups_and_each_round_holds_out_each_response_once(groups, members, folds):
    weights = member_weights(groups, labels_for(groups), members, folds)
    assert weights.shape == (len(groups), members)
    assert set(np.unique(weights)) <= {0.0, 1.0}
    for group in set(groups):
        rows = weights[[own == group for own in groups]]
        assert (rows == rows[0]).all()
    folds = min(folds, len(set(groups)))
    if folds < 2:
        assert (weights == 1).all()  # who held everything out would have learned nothing
        return
    assert (weights.min(0) == 0).all()  # no member learns from everything
    for start in range(0, members - folds + 1, folds):
        assert ((weights[:, start : start + folds] == 0).sum(1) == 1).all()


def test_without_folds_everyone_learns_from_everything():
    assert (member_weights(["a", "b"], np.ones(2), 3, 0) == 1).all()
    assert (member_weights(["a", "b"], np.ones(2), 3, 1) == 1).all()


def test_a_group_that_is_all_there_is_still_leaves_members_something_to_learn():
    weights = member_weights(["same"] * 4, np.ones(4), 2, 2)
    assert (weights == 1).all()
