"""Columns laid by several processes: each makes those of runs of whole responses and writes them to the same files."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

from fractal.array_space import PlacedRows
from fractal.encoders.block import EncodedBlock
from fractal.encoders.laying import SentBlock, laying_pool
from fractal.errors import WorkersDied
from fractal.features.base import Floats
from fractal.features.similarity import keep_prior_similarity, similarity_of_tile
from fractal.features.table import FeatureTable, GrowingTable, TileColumns, compute_tables
from fractal.processes import Span, spans

__all__ = ["lay_tables"]

_Part = tuple[Span, list[FeatureTable], Floats]  # tables without their dense columns; similarity to the context


def lay_tables(block: EncodedBlock, recipes: Sequence[TileColumns]) -> list[FeatureTable]:
    """Return what `compute_tables` does, laid by as many processes as the block's space says.

    Where they cannot work, this process lays all, and says so.
    """
    if block.space.workers == 1 or not recipes or not len(block):
        return compute_tables(block, recipes)
    try:
        return _laid(block, recipes)
    except WorkersDied as error:
        warnings.warn(f"{error}. This process lays the columns alone", stacklevel=2)
        return compute_tables(block, recipes)


def _laid(block: EncodedBlock, recipes: Sequence[TileColumns]) -> list[FeatureTable]:
    dense = [PlacedRows(block.space) for _ in recipes]
    growing = [GrowingTable(block) for _ in recipes]
    similarity = block.space.empty((len(block.sentences),))
    start = functools.partial(_started, SentBlock(block), recipes, dense)
    with laying_pool(start, block.space.workers) as pool:
        for span, tables, near in _in_order(pool.run(spans(block.tile_bounds()))):
            similarity[slice(*block.offsets[[span.first, span.last]])] = near
            for whole, tile in zip(growing, tables, strict=True):
                whole.append_shared(tile)
    keep_prior_similarity(block, similarity)
    count = len(block.sentences)
    return [whole.whole(rows.array(count, whole.width)) for whole, rows in zip(growing, dense, strict=True)]


def _in_order(parts: Iterable[_Part]) -> Iterator[_Part]:
    """Yield what comes in any order by the place of its responses."""
    waiting: dict[int, _Part] = {}
    following = 0
    for part in parts:
        waiting[part[0].number] = part
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def _started(sent: SentBlock, recipes: Sequence[TileColumns], dense: Sequence[PlacedRows]) -> Callable[[Span], _Part]:
    """Return what a worker does with a run of responses."""
    block = sent.block()

    def lay(span: Span) -> _Part:
        tile, tables = block.run(span.first, span.last), []
        for columns, rows in zip(recipes, dense, strict=True):
            table = columns(tile)
            rows.put(int(block.offsets[span.first]), table.dense)
            tables.append(dataclasses.replace(table, dense=table.dense[:0].copy()))
        return span, tables, similarity_of_tile(tile)

    return lay
