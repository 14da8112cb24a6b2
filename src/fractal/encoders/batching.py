"""Which texts go through the network together: texts of like length, as many as fit a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["padded", "token_batches"]


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[NDArray[np.int64]]:
    """Yield the texts of each batch, longest first; padded to its longest, a batch has at most `budget` tokens.

    A text longer than the budget is a batch of its own.
    """
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    first = 0
    while first < len(order):
        last = first + max(1, budget // max(1, lengths[order[first]]))
        yield order[first:last]
        first = last


def padded(ids: Sequence[Sequence[int]], batch: NDArray[np.int64], filler: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the token ids of a batch, (text, token) int64, and which of them are no padding."""
    lengths = np.fromiter((len(ids[text]) for text in batch), np.int64, len(batch))
    real = np.arange(lengths.max()) < lengths[:, None]  # (text, token)
    out = np.full(real.shape, filler, np.int64)
    out[real] = np.concatenate([np.asarray(ids[text], np.int64) for text in batch])
    return out, real
