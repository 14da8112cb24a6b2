"""Which texts go through the network together: texts of like length, as many as fit a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fixed_batches", "padded", "token_batches"]

LENGTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256)  # to which texts are filled up, in batches of one shape each


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


def fixed_batches(lengths: Sequence[int], budget: int) -> Iterator[tuple[NDArray[np.int64], tuple[int, int]]]:
    """Yield the texts of each batch and its shape (text, token), which a text's own length alone tells.

    Libraries add in an order that the shape of a product tells: in batches of one shape a text has the same bits
    whatever other texts come with it. A batch has `budget` tokens or a few more, and is filled up where texts are few.
    """
    bounds = np.asarray([*LENGTHS, max([*lengths, LENGTHS[-1] + 1])])  # a longer text than any fills its own batch up
    bucket = np.searchsorted(bounds, np.asarray(lengths, np.int64))
    for number in reversed(range(len(bounds))):
        texts, length = np.flatnonzero(bucket == number), int(bounds[number])
        rows = max(1, -(-budget // length))
        for first in range(0, len(texts), rows):
            yield texts[first : first + rows], (rows, length)


def padded(
    ids: Sequence[Sequence[int]], batch: NDArray[np.int64], filler: int, shape: tuple[int, int] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the token ids of a batch, (text, token) int64, and which of them are no padding.

    Of a given shape, texts of a single filler stand after those of the batch.
    """
    lengths = np.fromiter((len(ids[text]) for text in batch), np.int64, len(batch))
    if shape is not None:
        ids = [*(ids[text] for text in batch), *((filler,),) * (shape[0] - len(batch))]
        lengths = np.append(lengths, np.ones(shape[0] - len(batch), np.int64))
        batch = np.arange(shape[0])
    real = np.arange(shape[1] if shape else lengths.max()) < lengths[:, None]  # (text, token)
    out = np.full(real.shape, filler, np.int64)
    out[real] = np.concatenate([np.asarray(ids[text], np.int64) for text in batch])
    return out, real
