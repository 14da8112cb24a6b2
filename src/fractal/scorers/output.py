"""From tensors back to records, and who held out which response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fractal.records import Response, ScoredResponse

__all__ = ["records", "runs"]

RESPONSES_AT_ONCE = 2_048  # bounds the memory of scoring a stream


def runs(X: Iterable[Response]) -> Iterator[list[Response]]:
    """Cut a stream into runs of bounded length."""
    stream = iter(X)
    while run := list(islice(stream, RESPONSES_AT_ONCE)):
        yield run


def records(
    responses: Sequence[Response],
    offsets: NDArray[np.int64],
    scores: Tensor,
    implied: NDArray[np.float64],
    spread: Tensor | None = None,
    hard: Tensor | None = None,
    *,
    aggregation: str,
) -> Iterator[ScoredResponse]:
    """Give every response its sentence scores, and what else is known of them: (sentence,) each, implied (bag,).

    `aggregation` is the hard rule that they were learned under.
    """
    columns = [
        column.double().clamp(0, 1).tolist() if column is not None else None for column in (scores, spread, hard)
    ]
    for number, (response, whole) in enumerate(zip(responses, np.clip(implied, 0.0, 1.0).tolist(), strict=True)):
        part = slice(int(offsets[number]), int(offsets[number + 1]))
        part_scores, width, labels = (tuple(column[part]) if column is not None else () for column in columns)
        yield ScoredResponse(response, part_scores, whole, width, labels, aggregation=aggregation)
