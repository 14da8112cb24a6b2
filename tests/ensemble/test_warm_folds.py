"""Folds of a fit that goes on from an earlier one: who held a response out still does, and groups stay whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from fractal.ensemble.experts import Ensemble
from fractal.ensemble.warm import WarmStart
from fractal.evaluation.folds import member_weights
from fractal.mil.aggregations import AGGREGATIONS

NONE = Ensemble((), (), 0.0, AGGREGATIONS.build("product"))


@settings(max_examples=60)
@given(
    groups=st.lists(st.sampled_from("abcdefghij"), min_size=4, max_size=40),
    new=st.sets(st.integers(0, 39), max_size=40),
    folds=st.integers(2, 4),
    rounds=st.integers(1, 2),
    seed=st.integers(0, 9),
)
def test_earlier_folds_stay_and_groups_stay_whole(
    groups: list[str], new: set[int], folds: int, rounds: int, seed: int
) -> None:
    members, labels = folds * rounds, np.arange(len(groups)) % 2.0
    before = member_weights(groups, labels, members, folds, seed + 1)
    fresh = np.isin(np.arange(len(groups)), list(new))
    seen = np.where(fresh[:, None], np.float32(np.nan), before)
    weights = WarmStart(NONE, seen).weights(groups, labels, members, folds, seed)
    assert np.array_equal(weights[~fresh], before[~fresh])
    assert np.isin(weights, (0.0, 1.0)).all()
    by_group = {group: weights[[one == group for one in groups]] for group in set(groups)}
    assert all((rows == rows[0]).all() for rows in by_group.values())
    alone = fresh & ~np.isin(groups, [group for group, one in zip(groups, fresh, strict=True) if not one])
    if len(set(np.array(groups)[alone])) >= folds:
        assert ((weights[alone] == 0).sum(1) == rounds).all()  # dealt as they would be without the others
