"""Length control: what length alone explains of preferences, so that sentence scores need not explain it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fractal.evaluation.solvers import logistic_line
from fractal.records import Response

__all__ = ["length_offsets"]

RIDGE = 1.0  # draws the weights of length to 0, as strongly as a few pairs would


def length_offsets(responses: Sequence[Response], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log-odds by which each response is preferred for its number of words and of sentences alone: (response,).

    Raters lean to long answers whatever these say; a head that had to explain it would learn what long answers hold.
    """
    counts = [(sum(len(s.text.split()) for s in r.sentences), len(r.sentences)) for r in responses]
    lengths = np.log1p(np.array(counts, dtype=np.float64))  # (response, 2)
    better, worse, tie = pairs.T
    weights = logistic_line(lengths[better] - lengths[worse], 1 - 0.5 * tie, ridge=RIDGE / len(pairs))
    return np.asarray(lengths @ weights, dtype=np.float32)
