"""What has been said so far: the mean of every column up to a sentence, where their order means something."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.features.base import FEATURES, Columns, Floats, Indices
from fractal.features.table import SO_FAR, FeatureTable


@FEATURES.register("so_far")
def so_far(block: EncodedBlock) -> Columns:
    """The mean of each other column of its recipe over the sentences up to this one, itself among them."""
    return Columns(np.empty((len(block.sentences), 0), np.float32), ())  # added to the whole table: `with_means_so_far`


def with_means_so_far(table: FeatureTable) -> FeatureTable:
    """Return the table with the mean of each dense column up to each sentence beside it."""
    return dataclasses.replace(
        table,
        dense=np.concatenate([table.dense, running_mean(table.dense, table.offsets)], axis=1),
        names=(*table.names, *(f"{SO_FAR}{name}" for name in table.names)),
        scalars=np.concatenate([table.scalars, table.scalars]),
    )


def running_mean(values: NDArray[np.floating], offsets: Indices) -> Floats:
    """Return the mean of the rows of each bag up to each row: (row, column); no bag is empty."""
    sizes, totals = np.diff(offsets), values.astype(np.float64)
    for place in range(1, int(sizes.max(initial=0))):  # bag by bag alike, whatever stands beside it
        rows = offsets[:-1][sizes > place] + place
        totals[rows] += totals[rows - 1]
    places = np.arange(len(values)) - np.repeat(offsets[:-1], sizes) + 1
    return (totals / places[:, None]).astype(np.float32)
