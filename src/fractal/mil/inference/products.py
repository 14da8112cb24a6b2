"""Products in tiles of one shape, so that a row's bits do not depend on how many others it is multiplied with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["full_tile", "tiled_product"]


def tiled_product(rows: NDArray[Any], matrix: NDArray[Any], tile: int = 256) -> NDArray[np.float32]:
    """Return rows @ matrix, `tile` rows at a time, the last tile filled up with zeros.

    Libraries choose their ways of adding by the shape of a product: of one shape, equal rows give equal bits.
    """
    out = np.empty((len(rows), matrix.shape[1]), np.float32)
    for first in range(0, len(rows), tile):
        product = full_tile(rows[first : first + tile], tile) @ matrix
        out[first : first + tile] = product[: len(rows) - first]
    return out


def full_tile(rows: NDArray[Any], tile: int) -> NDArray[Any]:
    """Return so many rows in one piece of memory, zeros after those that there are."""
    if len(rows) == tile:
        return np.ascontiguousarray(rows)
    filled = np.zeros((tile, *rows.shape[1:]), rows.dtype)
    filled[: len(rows)] = rows
    return filled
