"""Records in a file that has no name, read again whenever they are asked for: only where each begins is in memory."""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from multiprocessing import reduction
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from fractal.array_space import CAN_SHARE, unnamed_file
from fractal.errors import BadFolder
from fractal.records import NOTHING, Preference, Response, unchecked_response, unchecked_sentence

__all__ = ["RecordFile", "StoredRecords", "collected", "in_same_place", "stored_in", "texts_bytes"]

Record = Response | Preference
A_RESPONSE, A_SENTENCE = 400, 190  # bytes in memory beside the characters of its texts
READ_AT_ONCE = 1 << 20  # bytes of records that follow each other


class RecordFile:
    """Records in a file without a name, closed with the last that reads it: where each begins and its label at hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.compared = False  # whether some are preferences
        self.bounds, self.labels = array("q", [0]), array("d")
        self._file = unnamed_file(folder)
        self._reading = threading.Lock()

    def __len__(self) -> int:
        return len(self.labels)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # none was opened; a full disk was spoken of already
            self._file.close()

    def append(self, record: Record) -> None:
        """Add a record at the end."""
        content = pickle.dumps(_packed(record), pickle.HIGHEST_PROTOCOL)
        try:
            self._file.write(content)
        except OSError as error:
            raise self._no_room(error) from error
        label = record.label if isinstance(record, Response) else None
        self.labels.append(float("nan") if label is None else label)
        self.bounds.append(self.bounds[-1] + len(content))
        self.compared |= isinstance(record, Preference)

    def records(self) -> StoredRecords:
        """Return all records; none is added afterwards."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._no_room(error) from error
        return StoredRecords(self, np.arange(len(self)))

    def read(self, first: int, count: int) -> Iterator[Record]:
        """Yield records that stand one after another."""
        bounds = self.bounds[first : first + count + 1]
        content = memoryview(self._content(bounds[0], bounds[-1] - bounds[0]))
        for start, end in pairwise(bounds):
            # pickled by this very process, into a file that nobody else can open
            yield _unpacked(pickle.loads(content[start - bounds[0] : end - bounds[0]]))

    def _content(self, first: int, size: int) -> bytes:
        if not CAN_SHARE:
            with self._reading:
                self._file.seek(first)
                return self._file.read(size)
        parts = []  # without moving the file's one place, which all processes share that have it
        while size and (part := os.pread(self._file.fileno(), size, first)):
            parts.append(part)
            first, size = first + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        """Give a process that is started the same file."""
        return _reopened, (self.folder, self.compared, self.bounds, self.labels, reduction.DupFd(self._file.fileno()))

    def _no_room(self, error: OSError) -> BadFolder:
        return BadFolder(
            f"records find no room in {self.folder} ({error.strerror or error}): make room, or let TMPDIR name a "
            "folder on a larger disk"
        )


def _reopened(folder: Path, compared: bool, bounds: array[int], labels: array[float], descriptor: Any) -> RecordFile:
    file = RecordFile.__new__(RecordFile)
    file.folder, file.compared, file.bounds, file.labels = folder, compared, bounds, labels
    file._file, file._reading = os.fdopen(descriptor.detach(), "rb"), threading.Lock()
    return file


class StoredRecords(Sequence[Any]):
    """Responses and preferences that stand in a file; each is made anew when it is read, equal to what was stored.

    A part of them, in whatever order, reads the same file.
    """

    def __init__(self, file: RecordFile, places: NDArray[np.int64]) -> None:
        self._file, self._places = file, places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def folder(self) -> Path:
        """Where the file was laid."""
        return self._file.folder

    @property
    def compared(self) -> bool:
        """Whether some of the file's records are preferences."""
        return self._file.compared

    @property
    def labels(self) -> NDArray[np.float64]:
        """The label of each response, nan where it is unknown or of a preference: (record,)."""
        return np.frombuffer(self._file.labels, np.float64)[self._places]

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> StoredRecords: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return StoredRecords(self._file, self._places[place])
        return next(self._file.read(int(self._places[place]), 1))

    def __iter__(self) -> Iterator[Any]:
        for first, count in self._runs():
            yield from self._file.read(first, count)

    def _runs(self) -> Iterator[tuple[int, int]]:
        """Return the first and the number of records that follow each other, some at a time."""
        first, places, bounds = 0, self._places, self._file.bounds
        for last in (*np.flatnonzero(np.diff(places) != 1) + 1, len(places)):
            while first < last:
                start = int(places[first])
                enough = bisect_right(bounds, bounds[start] + READ_AT_ONCE) - 1 - start
                count = min(max(enough, 1), last - first)
                yield start, count
                first += count


def collected(records: Iterable[Record], allowed: float, on_file: Callable[[Path], None]) -> Sequence[Any]:
    """Return all records in memory as long as they take so many bytes, else in a file, whose folder `on_file` hears of.

    What is in memory already stays there.
    """
    if isinstance(records, list | tuple | StoredRecords):
        return records
    in_memory: list[Record] = []
    held, rest = 0, iter(records)
    for record in rest:
        in_memory.append(record)
        held += texts_bytes(record)
        if held > allowed:
            break
    else:
        return in_memory
    file = RecordFile(Path(tempfile.gettempdir()))
    on_file(file.folder)
    in_memory.reverse()
    while in_memory:
        file.append(in_memory.pop())
    for record in rest:
        file.append(record)
    return file.records()


def in_same_place(like: Sequence[Any], records: Iterable[Record]) -> Sequence[Any]:
    """Return records as those of `like` are kept: as a tuple, or in a file of their own, which is read through."""
    return stored_in(like.folder, records) if isinstance(like, StoredRecords) else tuple(records)


def stored_in(folder: Path | None, records: Iterable[Record]) -> StoredRecords:
    """Return records that stand in a file: these, or those of memory written to one."""
    if isinstance(records, StoredRecords):
        return records
    file = RecordFile(folder or Path(tempfile.gettempdir()))
    for record in records:
        file.append(record)
    return file.records()


def texts_bytes(record: Record) -> int:
    """Return about how many bytes a record takes in memory."""
    if isinstance(record, Preference):
        return texts_bytes(record.better) + texts_bytes(record.worse)
    characters = 2 * len(record.text) + len(record.query) + sum(map(len, record.context))
    return characters + A_RESPONSE + A_SENTENCE * len(record.sentences)


def _packed(record: Record) -> tuple[Any, ...]:
    """Return plain values; sentences are where they stand in the text, whose words are in it already."""
    if isinstance(record, Preference):
        return _packed(record.better), _packed(record.worse), record.tie, record.id
    spans = [place for sentence in record.sentences for place in (sentence.start, sentence.end)]
    labels = record.sentence_labels
    labels = () if labels.count(None) == len(labels) else labels
    mappings = (dict(part) if part else None for part in (record.aspects, record.columns, record.extra))
    whole = (record.id, record.text, record.query, record.context, record.label, record.group)
    return *whole, array("q", spans).tobytes(), labels, *mappings


def _unpacked(values: tuple[Any, ...]) -> Record:
    if isinstance(values[0], tuple):
        better, worse, tie, id = values
        return Preference(_unpacked(better), _unpacked(worse), tie, id)  # type: ignore[arg-type]
    id, text, query, context, label, group, packed, labels, aspects, columns, extra = values
    spans = memoryview(packed).cast("q").tolist()
    ends = zip(spans[::2], spans[1::2], strict=True)
    labels = labels or (None,) * (len(spans) // 2)
    sentences = tuple(
        unchecked_sentence(text[start:end], start, end, label) for (start, end), label in zip(ends, labels, strict=True)
    )
    mappings = (NOTHING if part is None else part for part in (aspects, columns, extra))
    return unchecked_response(id, sentences, text, query, context, label, group, *mappings)
