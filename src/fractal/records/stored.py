"""Records in a file that has no name, read again whenever they are asked for: only where each begins is in memory."""

from __future__ import annotations

import pickle
import tempfile
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

from fractal.array_space import unnamed_file
from fractal.errors import BadFolder
from fractal.records import NOTHING, Preference, Response, unchecked_response, unchecked_sentence

__all__ = ["RecordFile", "StoredRecords", "collected", "in_same_place", "texts_bytes"]

Record = Response | Preference
A_RESPONSE, A_SENTENCE = 400, 190  # bytes in memory beside the characters of its texts
READ_AT_ONCE = 1 << 20  # bytes of records that follow each other


class RecordFile:
    """Takes records one by one, and gives them back as a sequence when all are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bounds = array("q", [0])
        self._labels = array("d")
        self._compared = False
        self._file = unnamed_file(folder)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def append(self, record: Record) -> None:
        """Add a record at the end."""
        content = pickle.dumps(_packed(record), pickle.HIGHEST_PROTOCOL)
        try:
            self._file.write(content)
        except OSError as error:
            raise self._no_room(error) from error
        label = record.label if isinstance(record, Response) else None
        self._labels.append(float("nan") if label is None else label)
        self._bounds.append(self._bounds[-1] + len(content))
        self._compared |= isinstance(record, Preference)

    def records(self) -> StoredRecords:
        """Return all records; none can be added afterwards."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._no_room(error) from error
        bounds, labels = np.frombuffer(self._bounds, np.int64), np.frombuffer(self._labels, np.float64)
        return StoredRecords(self._file, self.folder, bounds, labels, np.arange(len(labels)), compared=self._compared)

    def _no_room(self, error: OSError) -> BadFolder:
        return BadFolder(
            f"records find no room in {self.folder} ({error.strerror or error}): make room, or let TMPDIR name a "
            "folder on a larger disk"
        )


class StoredRecords(Sequence[Any]):
    """Responses and preferences that stand in a file; each is made anew when it is read, equal to what was stored.

    A part of them, in whatever order, reads the same file. In memory are their places in it and their labels.
    """

    def __init__(
        self,
        file: IO[bytes],
        folder: Path,
        bounds: NDArray[np.int64],
        labels: NDArray[np.float64],
        places: NDArray[np.int64],
        *,
        compared: bool,
    ) -> None:
        self.folder, self.compared = folder, compared  # whether some may be preferences
        self._file, self._bounds, self._labels, self._places = file, bounds, labels, places
        self._reading = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def labels(self) -> NDArray[np.float64]:
        """The label of each response, nan where it is unknown or of a preference: (record,)."""
        return self._labels[self._places]

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> StoredRecords: ...
    def __getitem__(self, place: int | slice) -> Any:
        if not isinstance(place, slice):
            return next(self._read(int(self._places[place]), 1))
        some = self._places[place]
        return StoredRecords(self._file, self.folder, self._bounds, self._labels, some, compared=self.compared)

    def __iter__(self) -> Iterator[Any]:
        for first, count in self._runs():
            yield from self._read(first, count)

    def _runs(self) -> Iterator[tuple[int, int]]:
        """Return the first and the number of records that follow each other, some at a time."""
        first, places = 0, self._places
        breaks = [*np.flatnonzero(np.diff(places) != 1) + 1, len(places)]
        for last in breaks:
            while first < last:
                start = int(places[first])
                enough = np.searchsorted(self._bounds, self._bounds[start] + READ_AT_ONCE, side="right") - 1 - start
                count = min(max(int(enough), 1), last - first)
                yield start, count
                first += count

    def _read(self, first: int, count: int) -> Iterator[Record]:
        bounds = self._bounds[first : first + count + 1].tolist()
        with self._reading:
            self._file.seek(bounds[0])
            content = memoryview(self._file.read(bounds[-1] - bounds[0]))
        for start, end in pairwise(bounds):
            # pickled by this very process, into a file that nobody else can open
            yield _unpacked(pickle.loads(content[start - bounds[0] : end - bounds[0]]))


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
    if not isinstance(like, StoredRecords):
        return tuple(records)
    file = RecordFile(like.folder)
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
