"""The vectors themselves, and what a sentence's vector makes with that of its context or query.

A unit vector of many dimensions has small components; blocks are multiplied by √dim, so that a component is about one
in size as standardised scalar columns are, and then by `scale`: hundreds of components at a tenth of the size leave
the few scalar columns their say.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from fractal.encoders.block import EncodedBlock, offsets_of
from fractal.errors import BadSpec
from fractal.features.base import FEATURES, Columns, Floats, Indices
from fractal.features.similarity import similarities


def _vectors(feature: str, values: Floats) -> Columns:
    return Columns(values, _names(feature, values.shape[1]), scalar=False)


@functools.lru_cache(maxsize=64)
def _names(feature: str, dim: int) -> tuple[str, ...]:
    return tuple(f"{feature}[{column}]" for column in range(dim))


def _spread(block: EncodedBlock, scale: float) -> np.float32:
    return np.float32(scale * np.sqrt(block.sentences.shape[1]))


def partner(block: EncodedBlock, other: str) -> Floats:
    """Return what each sentence is set against: its nearest context chunk, its query; zero where there is none."""
    best = similarities(block).best
    query: Floats = block.queries[block.sentence_bag]
    if other == "query" or not len(block.chunks):
        return query if other != "context" else np.zeros_like(query)
    near = block.chunks[best]  # row −1 is overwritten
    without = best < 0
    near[without] = 0 if other == "context" else query[without]
    return near


@FEATURES.register("sentence")
@dataclasses.dataclass(frozen=True)
class SentenceVector:
    """The sentence's own vector."""

    scale: float = 0.1

    def __call__(self, block: EncodedBlock) -> Columns:
        return _vectors("sentence", block.sentences * _spread(block, self.scale))


@FEATURES.register("context")
@dataclasses.dataclass(frozen=True)
class ContextVector:
    """The vector of the sentence's nearest context chunk, shared by the sentences that have the same."""

    scale: float = 0.1

    def __call__(self, block: EncodedBlock) -> Columns:
        bag, best, bare = block.sentence_bag, similarities(block).best, ~block.has_context
        # a bag without context gets one zero row, so that every sentence has a row of its own bag
        inserted: Indices = np.cumsum(bare) - bare
        keys = np.where(best >= 0, best, block.chunk_offsets[:-1][bag]) + inserted[bag]
        _, first, row = np.unique(keys, return_index=True, return_inverse=True)
        chunk = best[first]  # only chunks that are nearest to some sentence are kept
        values = np.zeros((len(first), block.sentences.shape[1]), np.float32)
        values[chunk >= 0] = block.chunks[chunk[chunk >= 0]] * _spread(block, self.scale)
        offsets = np.searchsorted(bag[first], np.arange(len(block) + 1)).astype(np.int64)
        return Columns(values, _names("context", values.shape[1]), row.astype(np.int64), offsets, scalar=False)


@FEATURES.register("chunks")
@dataclasses.dataclass(frozen=True)
class ChunkVectors:
    """The vectors of all context chunks: a sentence is scored beside each of them, and its best score counts."""

    scale: float = 0.1

    def __call__(self, block: EncodedBlock) -> Columns:
        # a bag without context gets one zero row, so that every sentence stands beside something
        counts = np.maximum(np.diff(block.chunk_offsets), 1)
        offsets = offsets_of(counts)
        values = np.zeros((offsets[-1], block.sentences.shape[1]), np.float32)
        values[np.repeat(block.has_context, counts)] = block.chunks * _spread(block, self.scale)
        first = offsets[:-1][block.sentence_bag]
        return Columns(values, _names("chunks", values.shape[1]), first, offsets, scalar=False, every=True)


@FEATURES.register("query")
@dataclasses.dataclass(frozen=True)
class QueryVector:
    """The query's vector, shared by the sentences of a response."""

    scale: float = 0.1

    def __call__(self, block: EncodedBlock) -> Columns:
        offsets = np.arange(len(block) + 1, dtype=np.int64)
        values = block.queries * _spread(block, self.scale)
        return Columns(values, _names("query", values.shape[1]), block.sentence_bag, offsets, scalar=False)


@dataclasses.dataclass(frozen=True)
class _Against:
    """Set the sentence's vector against its nearest context chunk, its query, or the chunk where there is one."""

    other: str = "nearest"
    scale: float = 0.1

    def __post_init__(self) -> None:
        if self.other not in ("nearest", "context", "query"):
            raise BadSpec(f"other={self.other!r}: a sentence is set against 'nearest', 'context' or 'query'")

    def _title(self, name: str) -> str:
        return name if self.other == "nearest" else f"{name}.{self.other}"


@FEATURES.register("product")
@dataclasses.dataclass(frozen=True)
class Product(_Against):
    """The element-wise product with the nearest context chunk, or with the query where there is no context."""

    def __call__(self, block: EncodedBlock) -> Columns:
        values = partner(block, self.other)
        values *= block.sentences
        values *= np.float32(self.scale * values.shape[1])
        return _vectors(self._title("product"), values)


@FEATURES.register("difference")
@dataclasses.dataclass(frozen=True)
class Difference(_Against):
    """The absolute difference to the nearest context chunk, or to the query where there is no context."""

    def __call__(self, block: EncodedBlock) -> Columns:
        values = partner(block, self.other)
        alone = ~values.any(axis=1)
        np.abs(np.subtract(block.sentences, values, out=values), out=values)
        values[alone] = 0  # nothing to differ from: the sentence's own vector is another feature
        values *= _spread(block, self.scale)
        return _vectors(self._title("difference"), values)
