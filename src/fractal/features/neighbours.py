"""How a sentence stands among the others of its response."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.encoders.embedding import LATE_COLUMNS
from fractal.features.base import FEATURES, Columns, Floats, Indices, bag_mean, bag_rank, scalars
from fractal.features.lexical import word_counts
from fractal.features.similarity import similarities


def _neighbour(values: NDArray[np.float32], offsets: Indices, step: int) -> Floats:
    """Return each sentence's value at the sentence one step before (−1) or after (1); 0 at the response's edge."""
    moved = np.zeros_like(values)
    if step < 0:
        moved[1:] = values[:-1]
        moved[offsets[:-1]] = 0
    else:
        moved[:-1] = values[1:]
        moved[offsets[1:] - 1] = 0
    return moved


@FEATURES.register("neighbours")
def neighbours(block: EncodedBlock) -> Columns:
    """How the sentence and its nearness to the context stand among the other sentences of its response."""
    offsets, bag = block.offsets, block.sentence_bag
    following = np.zeros(len(bag), np.float32)
    following[:-1] = np.einsum("sd,sd->s", block.sentences[:-1], block.sentences[1:])
    following[offsets[1:] - 1] = 0
    late = np.where(block.has_context[bag], block.late[:, 0], block.late[:, len(LATE_COLUMNS) // 2])
    columns = {
        "previous": _neighbour(following, offsets, -1),
        "next": following,
        "mean": similarities(block).others,
    }
    for name, near in (("cosine", similarities(block).closeness), ("late", late)):
        columns |= {
            f"{name}_previous": _neighbour(near, offsets, -1),
            f"{name}_next": _neighbour(near, offsets, 1),
            f"{name}_rank": bag_rank(near, offsets),
            f"{name}_above_mean": near - bag_mean(near, offsets)[bag],
            f"{name}_below_best": np.maximum.reduceat(near, offsets[:-1])[bag] - near,
        }
    words = np.log1p(word_counts(block)["words"])
    columns["sentences"] = np.log1p(np.diff(offsets)[bag])
    columns["longer"] = words - bag_mean(words, offsets)[bag]
    return scalars("neighbours", dict(columns))
