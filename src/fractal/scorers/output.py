"""From tensors back to records, and who held out which response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fractal.errors import MissingExtra
from fractal.records import Response, ScoredResponse

__all__ = ["ScoredResponses", "records", "runs"]

RESPONSES_AT_ONCE = 2_048  # bounds the memory of scoring a stream


class ScoredResponses(list[ScoredResponse]):
    """A list of scored responses that a frame can be made of."""

    def to_pandas(self) -> Any:
        """Return a frame with a row a sentence: id, aspect, place, text, score, spread, label, response score."""
        try:
            import pandas
        except ImportError as error:
            raise MissingExtra("A frame of scores", "data", "pandas") from error
        return pandas.DataFrame([row for item in self for row in _rows(item)])


def _rows(item: ScoredResponse) -> Iterator[dict[str, Any]]:
    for place, (sentence, score) in enumerate(zip(item.response.sentences, item.sentence_scores, strict=True)):
        yield {
            "id": item.response.id,
            "aspect": item.aspect,
            "sentence_index": place + 1,
            "sentence": sentence.text,
            "score": score,
            "spread": item.sentence_spread[place] if item.sentence_spread else None,
            "sentence_label": sentence.label,
            "disaggregated_label": item.sentence_labels[place] if item.sentence_labels else None,
            "response_score": item.response_score,
            "label": item.response.label_of(item.aspect),
        }


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
