"""Vectors laid by several processes: each encodes runs of whole responses into the same files."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fractal.array_space import IN_MEMORY, ArraySpace, PlacedRows, SharedArray
from fractal.encoders import embedding
from fractal.encoders.block import EncodedBlock, offsets_of
from fractal.encoders.cache import EmbeddingCache
from fractal.errors import WorkersDied
from fractal.hardware import choose_device
from fractal.processes import ProcessPool, Span
from fractal.records import Response
from fractal.records.stored import StoredRecords, stored_in

if TYPE_CHECKING:
    from fractal.encoders.base import Encoder

__all__ = ["SentBlock", "embed_by_workers", "laying_pool"]

VECTORS = ("sentences", "queries", "chunks", "late")

Work = TypeVar("Work", bound=Span)
Result = TypeVar("Result")
Counts = tuple[NDArray[np.int64], NDArray[np.int64]]  # sentences and chunks of each response


def laying_pool(start: Callable[[], Callable[[Work], Result]], workers: int) -> ProcessPool[Work, Result]:
    """Return processes that lay what this one will read; where one dies, it is said, and another lays it again."""

    def say(what: str) -> None:
        warnings.warn(f"{what}, while these were laid in files: another process lays them again", stacklevel=2)

    return ProcessPool(start, workers, imports_main=False, on_death=say)


@dataclasses.dataclass(frozen=True)
class _Part(Span):
    """Responses to encode, and where their rows begin; without that their sentences and chunks are counted."""

    rows: dict[str, int] | None = None  # by what the rows are of


def embed_by_workers(
    responses: Sequence[Response],
    encoder: Encoder,
    cache: EmbeddingCache | None = None,
    late: bool = True,
    progress: embedding.Progress | None = None,
    space: ArraySpace = IN_MEMORY,
) -> EncodedBlock:
    """Encode responses as `embed` does, in files by as many processes as `space` says, to the same bits.

    Where they cannot work, this process encodes, and says so.
    """
    alone = dataclasses.replace(space, workers=1)
    if space.workers == 1 or not len(responses):
        return embedding.embed(responses, encoder, cache, late, progress, space)
    if _on_gpu(encoder):  # which each process would fill with a network of its own
        warnings.warn("the encoder runs on a GPU: this process encodes alone, the others lay columns", stacklevel=2)
        block = embedding.embed(responses, encoder, cache, late, progress, alone)
        return dataclasses.replace(block, space=space)
    try:
        return _embedded(responses, encoder, cache, late, progress, space)
    except WorkersDied as error:
        warnings.warn(f"{error}. This process encodes alone", stacklevel=2)
        return embedding.embed(responses, encoder, cache, late, progress, alone)


def _on_gpu(encoder: Encoder) -> bool:
    device = getattr(encoder, "device", None)  # of encoders that run a network
    return device is not None and choose_device(device, encoder.name).type != "cpu"


def _embedded(
    responses: Sequence[Response],
    encoder: Encoder,
    cache: EmbeddingCache | None,
    late: bool,
    progress: embedding.Progress | None,
    space: ArraySpace,
) -> EncodedBlock:
    rows = {name: PlacedRows(space) for name in VECTORS}
    folder = None if cache is None else cache.folder
    start = functools.partial(_Encoding, stored_in(space.folder, responses), encoder, folder, late, rows)
    at_once = embedding.RESPONSES_AT_ONCE
    bounds = [(first, min(first + at_once, len(responses))) for first in range(0, len(responses), at_once)]
    with laying_pool(start, space.workers) as pool:
        counts: dict[int, Counts] = {}
        for part, counted in pool.run([_Part(number, *bound) for number, bound in enumerate(bounds)]):
            counts[part.number] = counted
        sentences, chunks = (np.concatenate([counts[number][side] for number in range(len(bounds))]) for side in (0, 1))
        offsets, chunk_offsets = offsets_of(sentences), offsets_of(chunks)
        done = 0
        for part, _ in pool.run(list(_placed(bounds, offsets, chunk_offsets))):
            done += part.last - part.first
            if progress is not None:
                progress(done, len(responses))
    lengths = {"sentences": offsets[-1], "queries": len(responses), "chunks": chunk_offsets[-1], "late": offsets[-1]}
    arrays = {name: placed.array(int(lengths[name]), _width(name, encoder)) for name, placed in rows.items()}
    in_place = responses if isinstance(responses, StoredRecords) else tuple(responses)
    return EncodedBlock(in_place, offsets, chunk_offsets=chunk_offsets, space=space, **arrays)


def _width(name: str, encoder: Encoder) -> int:
    return len(embedding.LATE_COLUMNS) if name == "late" else encoder.dim


def _placed(
    bounds: Sequence[tuple[int, int]], offsets: NDArray[np.int64], chunk_offsets: NDArray[np.int64]
) -> Sequence[_Part]:
    parts = []
    for number, (first, last) in enumerate(bounds):
        sentence = int(offsets[first])
        rows = {"sentences": sentence, "queries": first, "chunks": int(chunk_offsets[first]), "late": sentence}
        parts.append(_Part(number, first, last, rows))
    return parts


class _Encoding:
    """What a worker does with a part: counts what there is to encode, or encodes it into the files."""

    def __init__(
        self,
        responses: StoredRecords,
        encoder: Encoder,
        cache: Path | None,
        late: bool,
        rows: dict[str, PlacedRows],
    ) -> None:
        self.responses, self.encoder, self.late, self.rows = responses, encoder, late, rows
        self.cache = None if cache is None else EmbeddingCache(cache)

    def __call__(self, part: _Part) -> tuple[_Part, Counts]:
        responses = tuple(self.responses[part.first : part.last])
        if part.rows is None:
            sentences = [len(response.sentences) for response in responses]
            chunks = [len(embedding.chunk_context(response.context)) for response in responses]
            return part, (np.array(sentences, np.int64), np.array(chunks, np.int64))
        block = embedding.embed(responses, self.encoder, self.cache, self.late)
        for name, placed in self.rows.items():
            placed.put(part.rows[name], getattr(block, name))
        return part, (np.diff(block.offsets), np.diff(block.chunk_offsets))


class SentBlock:
    """A block in files as a process that is started receives it: the same files, not their content."""

    def __init__(self, block: EncodedBlock) -> None:
        self.responses, self.space = stored_in(block.space.folder, block.responses), ArraySpace(block.space.folder)
        names = ("offsets", "chunk_offsets", *VECTORS)
        self.arrays = {name: SharedArray(getattr(block, name)) for name in names}

    def block(self) -> EncodedBlock:
        """Return the block."""
        arrays: dict[str, Any] = {name: shared.array for name, shared in self.arrays.items()}
        return EncodedBlock(responses=self.responses, space=self.space, **arrays)
