"""Where large arrays are laid: in memory, or in files that have no name and are gone with the arrays."""

from __future__ import annotations

import dataclasses
import math
import mmap
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fractal.errors import BadFolder

__all__ = ["IN_MEMORY", "ArraySpace", "GrowingRows", "unnamed_file"]

RESIDENT = 1 << 28  # bytes of files in memory beyond which their pages are handed back; they stay in the system's cache
LOOK_EVERY = 0.05  # seconds


@dataclasses.dataclass(frozen=True)
class ArraySpace:
    """Memory, or a folder: what is laid there has the same values, and is read and written like any other array."""

    folder: Path | None = None  # None: memory

    @property
    def in_files(self) -> bool:
        """Whether arrays are laid in files."""
        return self.folder is not None

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return an array whose values are still to be written."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if self.folder is None or not size:
            return np.empty(shape, dtype)
        with unnamed_file(self.folder) as file:
            try:
                _reserve(file, size)  # a disk that fills up later would end the process
            except OSError as error:
                raise _no_room(self.folder, size, error) from error
            return _mapped(file, size).view(dtype).reshape(shape)

    def rows(self, dtype: DTypeLike = np.float32) -> GrowingRows:
        """Return rows that grow until their array is asked for."""
        return GrowingRows(self, np.dtype(dtype))


IN_MEMORY = ArraySpace()


class GrowingRows:
    """Rows that come in parts and end as one array."""

    def __init__(self, space: ArraySpace, dtype: np.dtype[Any]) -> None:
        self.space, self.dtype = space, dtype
        self.count, self.width = 0, 0
        self._parts: list[NDArray[Any]] = []
        self._file = None if space.folder is None else unnamed_file(space.folder)

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows (row, column) at the end."""
        self.count, self.width = self.count + len(rows), rows.shape[1]
        rows = np.ascontiguousarray(rows, self.dtype)
        if self._file is None:
            self._parts.append(rows)
            return
        try:
            self._file.write(rows.data)
        except OSError as error:
            raise _no_room(self.space.folder, rows.nbytes, error) from error

    def array(self) -> NDArray[Any]:
        """Return all rows: (row, column)."""
        if self._file is None:
            return self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
        size = self.count * self.width * self.dtype.itemsize
        with self._file as file:
            file.flush()
            flat = _mapped(file, size) if size else np.empty(0, np.uint8)
        return flat.view(self.dtype).reshape(self.count, self.width)


def unnamed_file(folder: Path | None) -> IO[bytes]:
    """Open a file that has no name, so that nothing is left of it when the process ends, however it ends."""
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise BadFolder(f"no file can be laid in {folder} ({error}): name a folder that can be written to") from error


def _reserve(file: IO[bytes], size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def _no_room(folder: Path | None, size: int, error: OSError) -> BadFolder:
    return BadFolder(
        f"{size / 2**30:,.1f} GB more of vectors and columns find no room in {folder} ({error.strerror or error}): "
        "make room, let TMPDIR name a folder on a larger disk, or raise the limit of `memory`"
    )


def _mapped(file: IO[bytes], size: int) -> NDArray[np.uint8]:
    """Return the bytes of a file as an array; the mapping outlives the file object."""
    mapping = mmap.mmap(file.fileno(), size)
    _PAGES.watch(mapping)
    return np.frombuffer(mapping, np.uint8)


class _Pages:
    """Hands pages of files back to the system when they fill much of this process's memory.

    Values do not change by it: a page that is needed again comes from the system's cache, or from the disk.
    """

    def __init__(self) -> None:
        self._mappings: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._watching = False

    def watch(self, mapping: mmap.mmap) -> None:
        """Look after a mapping as long as it lives."""
        with self._lock:
            self._mappings.add(mapping)
            if not self._watching and hasattr(mmap, "MADV_DONTNEED"):
                self._watching = True
                threading.Thread(target=self._keep_few, name="pages of large arrays", daemon=True).start()

    def _keep_few(self) -> None:
        while True:
            time.sleep(LOOK_EVERY)
            with self._lock:
                if not self._mappings:
                    self._watching = False
                    return
                _hand_back(self._mappings)


_PAGES = _Pages()


def _hand_back(mappings: Iterable[mmap.mmap]) -> None:
    if _resident() > RESIDENT:
        for mapping in mappings:
            mapping.madvise(mmap.MADV_DONTNEED)


def _resident() -> int:
    """Return how many bytes of files are in this process's memory; where nobody tells, as if they were too many."""
    try:
        with Path("/proc/self/statm").open(encoding="ascii") as file:
            return int(file.read().split()[2]) * mmap.PAGESIZE
    except (OSError, ValueError, IndexError):
        return RESIDENT + 1
