"""Where a head starts: the log-odds that similarity alone gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["InitialLogits", "similarity_logits"]

EDGE = 1e-3  # a similarity is a weak belief: its logit is cut where it would be a certainty


@dataclass(frozen=True)
class InitialLogits:
    """Where the head starts: scale · (similarity's log-odds − centre), or even odds where the scale is 0."""

    scale: float = 0.0
    centre: float = 0.0

    def __call__(self, similarity: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the log-odds at which each sentence starts; 0 where there is nothing to compare it with."""
        return np.nan_to_num(self.scale * (similarity_logits(similarity) - self.centre), nan=0.0).astype(np.float32)


def similarity_logits(similarity: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Log-odds of a similarity in [0, 1], nan where it is unknown."""
    calm = np.clip(similarity.astype(np.float64), EDGE, 1 - EDGE)
    return np.asarray(np.log(calm) - np.log1p(-calm))
