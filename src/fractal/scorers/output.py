"""From tensors back to records, and who held out which response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, SupportsIndex, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.errors import MissingExtra
from fractal.mil.aggregations import Aggregation
from fractal.mil.aggregations.preferences import connected
from fractal.records import NOTHING, Response, ScoredResponse
from fractal.scorers.inputs import relative_scores

__all__ = ["Run", "ScoredResponses", "connected_runs", "records", "runs", "steady_runs"]

RESPONSES_AT_ONCE = 2_048  # bounds the memory of scoring a stream
LANES = 64  # values that one instruction takes, and more: the rest of a tensor is worked out in another way
VALUES_AT_ONCE = 16_384  # too few for the library to share them among threads


class ScoredResponses(list[ScoredResponse]):
    """A list of scored responses that a frame can be made of; a notebook shows the first ones as coloured sentences."""

    @overload
    def __getitem__(self, place: SupportsIndex) -> ScoredResponse: ...

    @overload
    def __getitem__(self, place: slice) -> ScoredResponses: ...

    def __getitem__(self, place: SupportsIndex | slice) -> ScoredResponse | ScoredResponses:
        if isinstance(place, slice):
            return ScoredResponses(super().__getitem__(place))
        return super().__getitem__(place)

    def _repr_html_(self) -> str:
        from fractal.reports import fragments

        return fragments(self)

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


@dataclass(frozen=True)
class Run:
    """Some consecutive responses, filled up so that a response gives the same bits in whatever company it comes."""

    logits: Tensor  # (sentence, [level − 1,] member), zeros after those of the responses
    offsets: Tensor  # (bag + 1,), those that fill up included
    bags: slice  # which responses these are


def steady_runs(logits: Tensor, offsets: NDArray[np.int64]) -> Iterator[Run]:
    """Cut log-odds into runs of responses; sentences and responses of each are filled up to whole lanes.

    The last values of a tensor, and those at which threads part, are worked out by other instructions than the rest
    and may differ in the last bit: no value of a response stands there.
    """
    most = max(VALUES_AT_ONCE // max(logits[:1].numel(), 1), 1)  # sentences of a run
    first = 0
    while first < len(offsets) - 1:
        last = max(int(np.searchsorted(offsets, offsets[first] + most, side="right")) - 1, first + 1)
        sentences = slice(int(offsets[first]), int(offsets[last]))
        size = sentences.stop - sentences.start
        more_bags = LANES - (last - first) % LANES
        more = 2 * LANES + -size % LANES  # where labelled sentences are taken out, too, the last are none of these
        filling = logits.new_zeros(more, *logits.shape[1:])
        ends = size + np.arange(1, more_bags + 1) * more // more_bags
        cut = np.concatenate([offsets[first : last + 1] - offsets[first], ends])
        yield Run(torch.cat([logits[sentences], filling]), torch.from_numpy(cut), slice(first, last))
        first = last


def connected_runs(pairs: NDArray[np.int64], count: int) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """Cut responses into runs that no comparison connects: their places, and the pairs by places inside the run."""
    groups: dict[int, list[int]] = {}
    for place, group in enumerate(connected(pairs, count).tolist()):
        groups.setdefault(group, []).append(place)
    chosen: list[list[int]] = [[]]
    for places in groups.values():
        if chosen[-1] and len(chosen[-1]) + len(places) > RESPONSES_AT_ONCE:
            chosen.append([])
        chosen[-1] += places
    inside = np.full(count, -1)
    for places in chosen:
        inside[:] = -1
        inside[places] = np.arange(len(places))
        taken = pairs[inside[pairs[:, 0]] >= 0]
        yield places, np.column_stack([inside[taken[:, 0]], inside[taken[:, 1]], taken[:, 2]])


def records(
    responses: Sequence[Response],
    offsets: NDArray[np.int64],
    scores: Tensor,
    implied: NDArray[np.float64],
    data: Mapping[str, Any] = NOTHING,
    spread: Tensor | None = None,
    hard: Tensor | None = None,
    *,
    aggregation: Aggregation,
) -> Iterator[ScoredResponse]:
    """Give every response its sentence scores, and what else is known of them: (sentence,) each, implied (bag,).

    `aggregation` is what they were learned under, of which records keep the hard rule; `data` counts what was learned
    from. What fills a run up stands after the responses, and gives no record.
    """
    rule, relative = aggregation.direction, relative_scores(data)
    columns = [
        column.double().clamp(0, 1).tolist() if column is not None else None for column in (scores, spread, hard)
    ]
    for number, (response, whole) in enumerate(zip(responses, np.clip(implied, 0.0, 1.0).tolist(), strict=False)):
        part = slice(int(offsets[number]), int(offsets[number + 1]))
        part_scores, width, labels = (tuple(column[part]) if column is not None else () for column in columns)
        yield ScoredResponse(response, part_scores, whole, width, labels, aggregation=rule, relative=relative)
