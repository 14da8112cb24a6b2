"""Who learns from what: groups of responses dealt into folds, so that every choice is made on held-out labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def deal_folds(groups: Sequence[str], labels: NDArray[np.floating], folds: int, seed: int = 0) -> NDArray[np.int64]:
    """Return the fold of each response: groups stay together, folds are alike in size and in their labels.

    Large groups are dealt first, each to the fold that it leaves most even; ties fall to a seeded shuffle.
    """
    number: dict[str, int] = {}
    member_of = np.array([number.setdefault(group, len(number)) for group in groups], dtype=np.int64)  # (response,)
    size = np.bincount(member_of).astype(float)
    filled = np.nan_to_num(np.asarray(labels, dtype=float), nan=0.5)
    good = np.bincount(member_of, weights=filled)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(size))
    order = order[np.argsort(-size[order], kind="stable")]
    folds = max(1, min(folds, len(size)))
    load, merit = np.zeros(folds), np.zeros(folds)
    fold_of_group = np.empty(len(size), dtype=np.int64)
    mean_good = good.sum() / max(size.sum(), 1.0)
    for group in order:
        # a fold's excess of size, and its excess of good labels against its share
        cost = (load + size[group]) + np.abs(merit + good[group] - mean_good * (load + size[group]))
        fold = int(np.argmin(cost))
        fold_of_group[group] = fold
        load[fold] += size[group]
        merit[fold] += good[group]
    return fold_of_group[member_of]


def member_weights(
    groups: Sequence[str], labels: NDArray[np.floating], members: int, folds: int, seed: int = 0
) -> NDArray[np.float32]:
    """Return how much each member learns from each response, 1 or 0: member m holds out fold m, dealt anew each round.

    With more members than folds, further rounds of folds are dealt, so every response is held out by as many members.
    Fewer groups than folds make as many folds; one group holds nothing out, as nobody could then learn from it.
    """
    weights = np.ones((len(groups), members), dtype=np.float32)
    folds = min(folds, len(set(groups)))
    if folds < 2:
        return weights
    for member in range(members):
        turn, fold = divmod(member, folds)
        if fold == 0:
            dealt = deal_folds(groups, labels, folds, seed + turn)
        weights[dealt == fold, member] = 0.0
    return weights
