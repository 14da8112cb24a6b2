"""EncodedBlock: responses beside the vectors of their texts, all that features read."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fractal.array_space import IN_MEMORY, ArraySpace
from fractal.records import Response
from fractal.records.stored import StoredRecords

__all__ = ["EncodedBlock", "joined_offsets", "offsets_of", "ragged_rows", "texts_only"]

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

TILE = 8192  # sentences whose columns are made at once, so that memory above the table stays flat


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedBlock:
    """Responses beside the vectors of their sentences, queries and context chunks, all that features read."""

    responses: Sequence[Response]  # a tuple, or stored in a file
    offsets: Indices  # (bag + 1,)
    sentences: Floats  # (sentence, dim)
    queries: Floats  # (bag, dim), zero rows where there is none
    chunks: Floats  # (chunk, dim)
    chunk_offsets: Indices  # (bag + 1,)
    late: Floats  # (sentence, 10), zero where there is nothing to compare with
    space: ArraySpace = IN_MEMORY  # where these arrays stand, and where columns are laid that are made of them

    def __len__(self) -> int:
        return len(self.responses)

    @functools.cached_property
    def sentence_bag(self) -> Indices:
        """Which bag each sentence is in."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    @functools.cached_property
    def has_query(self) -> NDArray[np.bool_]:
        """Which bags answer to a query."""
        return np.fromiter((bool(response.query) for response in self.responses), bool, len(self))

    @property
    def has_vectors(self) -> bool:
        """Whether texts were encoded; where nothing reads vectors they are not."""
        return bool(self.sentences.shape[1])

    @property
    def has_context(self) -> NDArray[np.bool_]:
        """Which bags have a context."""
        return np.diff(self.chunk_offsets) > 0

    @functools.cached_property
    def _runs(self) -> dict[tuple[int, int], Self]:
        return {}

    def run(self, first: int, last: int) -> Self:
        """Return consecutive responses as views.

        In memory the same run is the same object, so what it remembers is kept; of what is in files nothing is.
        """
        if (first, last) == (0, len(self)):
            return self
        if self.space.in_files or isinstance(self.responses, StoredRecords):
            return self._viewed(first, last)
        if (first, last) not in self._runs:
            self._runs[first, last] = self._viewed(first, last)
        return self._runs[first, last]

    def _viewed(self, first: int, last: int) -> Self:
        rows, chunks = slice(*self.offsets[[first, last]]), slice(*self.chunk_offsets[[first, last]])
        return dataclasses.replace(
            self,
            responses=tuple(self.responses[first:last]),
            offsets=self.offsets[first : last + 1] - rows.start,
            sentences=self.sentences[rows],
            queries=self.queries[first:last],
            chunks=self.chunks[chunks],
            chunk_offsets=self.chunk_offsets[first : last + 1] - chunks.start,
            late=self.late[rows],
            space=IN_MEMORY,
        )

    def tiles(self) -> Iterator[Self]:
        """Cut into runs of at most `TILE` sentences, or one longer response; a block of none is one run."""
        if not len(self):
            yield self
        for first, last in self.tile_bounds():
            yield self.run(first, last)

    def tile_bounds(self) -> Iterator[tuple[int, int]]:
        """Return the first response of each tile, and the one after its last."""
        first = 0
        while first < len(self):
            last = int(np.searchsorted(self.offsets, self.offsets[first] + TILE, side="right")) - 1
            last = max(last, first + 1)
            yield first, last
            first = last

    def take(self, bags: Sequence[int] | Indices) -> Self:
        """Return these responses, in this order; all as they stand are the same object, as in `run`."""
        index = np.asarray(bags, dtype=np.int64)
        if np.array_equal(index, np.arange(len(self))):
            return self
        rows, offsets = ragged_rows(self.offsets, index)
        chunk_rows, chunk_offsets = ragged_rows(self.chunk_offsets, index)
        return dataclasses.replace(
            self,
            responses=tuple(self.responses[bag] for bag in index),
            offsets=offsets,
            sentences=self.sentences[rows],
            queries=self.queries[index],
            chunks=self.chunks[chunk_rows],
            chunk_offsets=chunk_offsets,
            late=self.late[rows],
            space=IN_MEMORY,
        )

    @classmethod
    def concatenate(cls, blocks: Sequence[EncodedBlock]) -> Self:
        """Join blocks of one encoder, in order."""
        return cls(
            responses=tuple(response for block in blocks for response in block.responses),
            offsets=joined_offsets([block.offsets for block in blocks]),
            sentences=np.concatenate([block.sentences for block in blocks]),
            queries=np.concatenate([block.queries for block in blocks]),
            chunks=np.concatenate([block.chunks for block in blocks]),
            chunk_offsets=joined_offsets([block.chunk_offsets for block in blocks]),
            late=np.concatenate([block.late for block in blocks]),
        )


def texts_only(responses: Sequence[Response], space: ArraySpace = IN_MEMORY) -> EncodedBlock:
    """Return a block without vectors, for features that read texts alone; their columns are laid in `space`."""
    offsets = offsets_of([len(response.sentences) for response in responses])
    none = np.zeros((int(offsets[-1]), 0), np.float32)
    queries = np.zeros((len(responses), 0), np.float32)
    late = np.zeros((int(offsets[-1]), 10), np.float32)
    chunk_offsets = np.zeros(len(offsets), np.int64)
    responses = responses if isinstance(responses, StoredRecords) else tuple(responses)
    return EncodedBlock(responses, offsets, none, queries, none[:0], chunk_offsets, late, space)


def ragged_rows(offsets: Indices, bags: Indices) -> tuple[Indices, Indices]:
    """Return the rows of these bags, in this order, and where each bag starts among them."""
    counts = np.diff(offsets)[bags]
    taken = offsets_of(counts)
    rows = np.repeat(offsets[bags] - taken[:-1], counts) + np.arange(taken[-1])
    return rows, taken


def offsets_of(counts: Sequence[int] | Indices) -> Indices:
    """Return where each bag of so many rows starts, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def joined_offsets(parts: Sequence[Indices]) -> Indices:
    """Return the offsets of bags that are put one after another; no parts are no bags."""
    return offsets_of(np.concatenate([np.zeros(0, np.int64), *(np.diff(part) for part in parts)]))
