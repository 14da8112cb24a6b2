"""Rows of one width on disk, found by key: append-only shards, one a writer, read through memory maps.

A shard is two files. `NAME.rows` holds the rows, float32, one after another; `NAME.keys` holds for each row its key
and a checksum over key and row. A row is written before its key, so that a writer killed at any moment leaves at worst
a row that nobody knows of. A writer locks its shard; the lock falls with the process, and the next writer goes on
there.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.base import Vectors

__all__ = ["KEY_BYTES", "Shards"]

KEY_BYTES = 16
ENTRY = np.dtype([("key", "<u8", 2), ("sum", "<u8")])  # one row of a .keys file
MOST_RUNS = 8  # sorted runs of keys searched one after another before they are merged into one
ROWS_AT_ONCE = 1_024  # rows checked together: they stay in the processor's cache


@dataclass(frozen=True, eq=False)
class _Run:
    """Keys in order, and where their rows stand."""

    keys: NDArray[np.uint64]  # (entry, 2), sorted by the first half; keys are hashes, so halves are practically unique
    sums: NDArray[np.uint64]  # (entry,)
    shard: NDArray[np.int32]  # (entry,)
    row: NDArray[np.int64]  # (entry,)

    @classmethod
    def sorted(cls, keys: Any, sums: Any, shard: Any, row: Any) -> _Run:
        """Put entries in order; of entries with one key the last stays."""
        order = np.argsort(keys[:, 0], kind="stable")
        last = np.append(np.diff(keys[order, 0]) != 0, True)[: len(order)]
        order = order[last]
        return cls(keys[order], sums[order], shard[order], row[order])

    @classmethod
    def merged(cls, runs: Sequence[_Run]) -> _Run:
        """Make one run of several, oldest first."""
        parts = ("keys", "sums", "shard", "row")
        return cls.sorted(*(np.concatenate([getattr(run, part) for run in runs]) for part in parts))

    def find(self, wanted: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return where each wanted key stands in this run, and which of them do."""
        if not len(self.keys):
            return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
        place = np.minimum(np.searchsorted(self.keys[:, 0], wanted[:, 0]), len(self.keys) - 1)
        return place, np.asarray((self.keys[place] == wanted).all(axis=1))


class Shards:
    """The rows of one folder; other processes may read and write there at the same time."""

    def __init__(self, folder: Path, width: int) -> None:
        self.folder, self.width = folder, width
        random = np.random.default_rng(384).integers(0, 2**63, 2 + (width + 1) // 2, dtype=np.uint64)
        self._weights = random * np.uint64(2) + np.uint64(1)  # odd: a change in any one word changes the sum
        self._names: list[str] = []
        self._seen: list[int] = []  # entries read of each shard
        self._maps: list[Vectors] = []
        self._runs: list[_Run] = []
        self._writer: _Writer | None = None

    def get(self, keys: NDArray[np.uint64]) -> tuple[Vectors, NDArray[np.bool_]]:
        """Return the rows of the known keys (key, 2), and which these are; a row that was altered is not known."""
        hits = np.zeros(len(keys), bool)
        rows = np.empty((len(keys), self.width), np.float32)
        self._fill(keys, rows, hits)
        if not hits.all() and self._refresh():
            self._fill(keys, rows, hits)
        return (rows if hits.all() else rows[hits]), hits

    def put(self, keys: NDArray[np.uint64], rows: Vectors) -> None:
        """Append rows; when this returns they outlive the process."""
        if self._writer is None or not self._writer.mine:
            self._writer = _Writer.open(self.folder, self.width)
        entries = np.empty(len(keys), ENTRY)
        entries["key"], entries["sum"] = keys, self._sums(keys, rows)
        self._writer.append(entries, rows)

    def close(self) -> None:
        """Let the files go."""
        if self._writer is not None:
            self._writer.close()
        self._writer, self._maps, self._runs, self._names, self._seen = None, [], [], [], []

    def _fill(self, keys: NDArray[np.uint64], rows: Vectors, hits: NDArray[np.bool_]) -> None:
        for run in reversed(self._runs):
            missing = np.flatnonzero(~hits)
            if not len(missing):
                return
            place, here = run.find(keys[missing])
            missing, place = missing[here], place[here]
            for first in range(0, len(missing), ROWS_AT_ONCE):
                self._read(run, place[first : first + ROWS_AT_ONCE], missing[first : first + ROWS_AT_ONCE], rows, hits)

    def _read(self, run: _Run, place: Any, into: Any, rows: Vectors, hits: NDArray[np.bool_]) -> None:
        shards, row = run.shard[place], run.row[place]
        if len(place) and (shards == shards[0]).all():
            got = self._maps[shards[0]].take(row, axis=0)
        else:
            got = np.empty((len(place), self.width), np.float32)
            for shard in np.unique(shards):
                here = shards == shard
                got[here] = self._maps[shard].take(row[here], axis=0)
        whole = self._sums(run.keys[place], got) == run.sums[place]
        rows[into[whole]], hits[into[whole]] = got[whole], True
        for entry in place[~whole]:
            self._forget(int(run.shard[entry]), int(run.row[entry]))

    def _sums(self, keys: NDArray[np.uint64], rows: Vectors) -> NDArray[np.uint64]:
        """Return the checksum of each key with its row, (row,): a weighted sum modulo 2⁶⁴."""
        odd = rows.shape[1] % 2
        words = np.ascontiguousarray(np.pad(rows, ((0, 0), (0, 1))) if odd else rows).view("<u8")  # (row, word)
        total = np.einsum("rw,w->r", words, self._weights[2:]) + np.einsum("rw,w->r", keys, self._weights[:2])
        return np.asarray(total + np.uint64(1), np.uint64)  # a stretch of zeros, as a crash may leave, is no entry

    def _forget(self, shard: int, row: int) -> None:
        """Blank the entry of an altered row, so that the row computed anew is the one that is found."""
        with contextlib.suppress(OSError), self._path(shard, "keys").open("r+b") as file:
            file.seek(row * ENTRY.itemsize)
            file.write(bytes(ENTRY.itemsize))

    def _refresh(self) -> bool:
        """Take in what was written since, by whomever; whether there was anything."""
        names = sorted(path.stem for path in self.folder.glob("*.keys"))
        for name in names:
            if name not in self._names:
                self._names.append(name)
                self._seen.append(0)
                self._maps.append(np.zeros((0, self.width), np.float32))
        fresh = [run for shard in range(len(self._names)) if (run := self._news(shard)) is not None]
        self._runs.extend(fresh)
        if len(self._runs) > MOST_RUNS:
            self._runs = [_Run.merged(self._runs)]
        return bool(fresh)

    def _news(self, shard: int) -> _Run | None:
        try:
            with self._path(shard, "keys").open("rb") as file:
                count = min(os.fstat(file.fileno()).st_size // ENTRY.itemsize, self._rows_in(shard))
                seen = self._seen[shard]
                if count <= seen:
                    return None
                file.seek(seen * ENTRY.itemsize)
                entries = np.frombuffer(file.read((count - seen) * ENTRY.itemsize), ENTRY)
            rows = np.asarray(np.memmap(self._path(shard, "rows"), "<f4", "r", shape=(count, self.width)))
        except (OSError, ValueError):  # cleared by another process, or cut short: as good as absent
            return None
        self._maps[shard], self._seen[shard] = rows, seen + len(entries)
        intact = np.flatnonzero(entries["sum"])
        row = np.arange(seen, seen + len(entries))[intact]
        return _Run.sorted(entries["key"][intact], entries["sum"][intact], np.full(len(intact), shard, np.int32), row)

    def _rows_in(self, shard: int) -> int:
        return self._path(shard, "rows").stat().st_size // (4 * self.width)

    def _path(self, shard: int, ending: str) -> Path:
        return self.folder / f"{self._names[shard]}.{ending}"


class _Writer:
    """The one process that appends to a shard, as long as it holds the lock on its keys."""

    def __init__(self, keys: IO[bytes], rows: IO[bytes], width: int) -> None:
        self.keys, self.rows, self.process = keys, rows, os.getpid()
        size = os.fstat(keys.fileno()).st_size // ENTRY.itemsize
        whole = min(size, os.fstat(rows.fileno()).st_size // (4 * width))
        keys.truncate(whole * ENTRY.itemsize)  # half an entry, left by a writer that was killed
        keys.seek(whole * ENTRY.itemsize)
        rows.seek(whole * 4 * width)

    @classmethod
    def open(cls, folder: Path, width: int) -> _Writer:
        """Go on with a shard that nobody writes to, or begin one."""
        for path in _candidates(folder):
            keys = path.open("r+b" if path.exists() else "x+b", buffering=0)
            if _lock(keys) and _same(keys, path):
                rows = path.with_suffix(".rows")
                return cls(keys, rows.open("r+b" if rows.exists() else "x+b", buffering=0), width)
            keys.close()
        raise OSError(f"no file could be locked in {folder}")

    @property
    def mine(self) -> bool:
        """Whether this is still the process that took the lock, and the files still stand in the folder."""
        return self.process == os.getpid() and _same(self.keys, Path(self.keys.name))

    def append(self, entries: NDArray[Any], rows: Vectors) -> None:
        """Write the rows, then what makes them known; nothing stays in a buffer of this process."""
        _write_all(self.rows, np.ascontiguousarray(rows, "<f4").tobytes())
        _write_all(self.keys, entries.tobytes())

    def close(self) -> None:
        """Release the lock."""
        self.keys.close()
        self.rows.close()


def _candidates(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("*.keys"))
    yield folder / f"{uuid.uuid4().hex[:12]}.keys"


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _lock(file: IO[bytes]) -> bool:
    """Take the lock on a file without waiting; it falls when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows: nobody else opens a shard that has just been begun
        return os.fstat(file.fileno()).st_size == 0
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _same(file: IO[bytes], path: Path) -> bool:
    """Whether the open file is still the one of that name: clearing takes names away."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
