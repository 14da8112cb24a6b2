"""How near a sentence's vector lies to its context, its query and the other sentences of its response."""

from __future__ import annotations

import dataclasses
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.encoders.embedding import LATE_COLUMNS
from fractal.features.base import FEATURES, Columns, Floats, Indices, per_block, scalars

TILE = 2048  # sentences of one response compared at once
COSINES = ("best_chunk", "second_chunk", "mean_context", "query", "chunk_query")


@dataclasses.dataclass(frozen=True, eq=False)
class Similarities:
    """The cosines between each sentence and what surrounds it; 0 where there is nothing."""

    best: Indices  # (sentence,) the row of the nearest context chunk, −1 where there is none
    cosines: dict[str, Floats]  # (sentence,) each, by the names of COSINES
    earlier: Floats  # (sentence,) largest cosine with an earlier sentence of the response
    others: Floats  # (sentence,) mean cosine with the other sentences of the response
    closeness: Floats  # (sentence,) cosine with the nearest chunk, or with the query where there is no context


def _compare_with_chunks(sentences: Floats, chunks: Floats) -> tuple[NDArray[np.intp], Floats, Floats, Floats]:
    """Return each sentence's nearest chunk, the cosine with it, with the second nearest and with the mean chunk."""
    rows = np.arange(len(sentences))
    nearest = np.empty(len(sentences), np.intp)
    first, second = np.empty(len(sentences), np.float32), np.empty(len(sentences), np.float32)
    for start in range(0, len(sentences), TILE):
        tile = slice(start, start + TILE)
        cosines = sentences[tile] @ chunks.T  # (sentence, chunk)
        local = rows[: len(cosines)]
        nearest[tile] = cosines.argmax(axis=1)
        first[tile] = cosines[local, nearest[tile]]
        if len(chunks) > 1:
            cosines[local, nearest[tile]] = -np.inf
            second[tile] = cosines.max(axis=1)
        else:
            second[tile] = first[tile]
    mean = chunks.mean(axis=0)
    return nearest, first, second, sentences @ (mean / max(float(np.linalg.norm(mean)), 1e-12))


def _nearest_earlier(sentences: Floats) -> Floats:
    """Return the largest cosine with an earlier sentence, 0 for the first."""
    nearest = np.zeros(len(sentences), np.float32)
    for start in range(0, len(sentences), TILE):
        stop = min(start + TILE, len(sentences))
        cosines = sentences[start:stop] @ sentences[:stop].T  # (sentence, sentence up to the tile's end)
        later = np.arange(stop) >= np.arange(start, stop)[:, None]
        nearest[start:stop] = np.where(later, -np.inf, cosines).max(axis=1)
    nearest[0] = 0
    return nearest


@per_block
def similarities(block: EncodedBlock) -> Similarities:
    """Compare every sentence with its context, its query and its response's other sentences, response by response."""
    count = len(block.sentences)
    best = np.full(count, -1, np.int64)
    first, second, mean, query, chunk_query, earlier, others = np.zeros((7, count), np.float32)
    for bag in range(len(block)):
        rows = slice(block.offsets[bag], block.offsets[bag + 1])
        start, stop = block.chunk_offsets[bag : bag + 2]
        sentences, question = block.sentences[rows], block.queries[bag]
        earlier[rows] = _nearest_earlier(sentences)
        others[rows] = (sentences @ sentences.sum(axis=0) - 1) / max(len(sentences) - 1, 1)
        query[rows] = sentences @ question
        if stop > start:
            chunks = block.chunks[start:stop]
            near, first[rows], second[rows], mean[rows] = _compare_with_chunks(sentences, chunks)
            best[rows] = start + near
            chunk_query[rows] = (chunks @ question)[near]
    cosines = dict(zip(COSINES, (first, second, mean, query, chunk_query), strict=True))
    return Similarities(best, cosines, earlier, others, np.where(best >= 0, first, query))


def prior_similarity(block: EncodedBlock) -> Floats:
    """Return (1 + cosine) / 2 with the nearest context chunk, or the query where there is no context; else nan."""
    if block not in _PRIOR:
        keep_prior_similarity(block, np.concatenate([similarity_of_tile(tile) for tile in block.tiles()]))
    return _PRIOR[block]


def keep_prior_similarity(block: EncodedBlock, values: Floats) -> None:
    """Remember what `prior_similarity` is to return of a block."""
    _PRIOR[block] = values


_PRIOR: WeakKeyDictionary[EncodedBlock, Floats] = WeakKeyDictionary()


def similarity_of_tile(block: EncodedBlock) -> Floats:
    """Return the prior similarity of a few responses."""
    comparable = (block.has_context | block.has_query)[block.sentence_bag]
    target = ((1 + similarities(block).closeness) / 2).clip(0, 1)
    return np.where(comparable, target, np.nan).astype(np.float32)


@FEATURES.register("cosine")
def cosine(block: EncodedBlock) -> Columns:
    """The cosine with the nearest and second nearest context chunk, the mean context and the query."""
    return scalars("cosine", dict(similarities(block).cosines))


@FEATURES.register("late_interaction")
def late_interaction(block: EncodedBlock) -> Columns:
    """How well the sentence's tokens are matched in context and query, token by token, and the way back."""
    return Columns(block.late, tuple(f"late_interaction.{name}" for name in LATE_COLUMNS))
