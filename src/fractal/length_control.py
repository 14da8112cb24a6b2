"""Length control: what length alone explains of preferences, so that sentence scores need not explain it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fractal.records import Response

__all__ = ["length_advantage"]

RIDGE = 1.0  # draws the weights of length to 0, as strongly as a few pairs would
STEPS = 20  # of Newton's: a handful suffice


def length_advantage(responses: Sequence[Response], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log-odds by which each response is preferred for its number of words and of sentences alone: (response,).

    Raters lean to long answers whatever these say; a head that had to explain it would learn what long answers hold.
    """
    counts = [(sum(len(s.text.split()) for s in r.sentences), len(r.sentences)) for r in responses]
    lengths = np.log1p(np.array(counts, dtype=np.float64))  # (response, 2)
    better, worse, tie = pairs.T
    return np.asarray(lengths @ _bradley_terry(lengths[better] - lengths[worse], 1 - 0.5 * tie), dtype=np.float32)


def _bradley_terry(leads: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of the columns of `leads` (pair, column) that explain best which share of wins each earns."""
    drawn = RIDGE * np.eye(leads.shape[1])
    weights = np.zeros(leads.shape[1])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-leads @ weights))
        bend = leads.T @ (leads * (chance * (1 - chance))[:, None]) + drawn
        weights = weights - np.linalg.solve(bend, leads.T @ (chance - shares) + drawn @ weights)
    return weights
