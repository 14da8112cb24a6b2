"""Which sentences are unlike all that a scorer learned from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fractal.records import Response
from fractal.scorers.sentence import SentenceScorer

__all__ = ["unlike_training"]

FAR = 5.0  # scales from the training mean beyond which a column's value is far


def unlike_training(scorer: SentenceScorer, responses: Sequence[Response]) -> list[list[bool]]:
    """Say of each sentence whether some scalar column of some expert lies far from those of training."""
    if not responses:
        return []
    block = scorer.embed(responses)
    far = np.zeros(len(block.sentences), bool)
    for pipeline in {id(expert.pipeline): expert.pipeline for expert in scorer.ensemble_.experts}.values():
        table = pipeline(block)
        if table.scalars.any():
            far |= (np.abs(table.dense[:, table.scalars]) > FAR).any(1)
    return [part.tolist() for part in np.split(far, block.offsets[1:-1])]
