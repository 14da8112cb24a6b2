"""Where large arrays are laid: in memory, or in files that have no name and are gone with the arrays.

Processes that this one starts may read and write the same files.
"""

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
from multiprocessing import reduction
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fractal.errors import BadFolder

__all__ = ["CAN_SHARE", "IN_MEMORY", "ArraySpace", "GrowingRows", "PlacedRows", "SharedArray", "unnamed_file"]

RESIDENT = 1 << 28  # bytes of files in memory beyond which their pages are handed back; they stay in the system's cache
LOOK_EVERY = 0.05  # seconds
CAN_SHARE = hasattr(os, "pread")  # whether other processes can be given files that have no name


@dataclasses.dataclass(frozen=True)
class ArraySpace:
    """Memory, or a folder: what is laid there has the same values, and is read and written like any other array."""

    folder: Path | None = None  # None: memory
    workers: int = 1  # processes that lay what is in files; more than one: this process only hands out the work

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
            return _mapped(file.fileno(), size).view(dtype).reshape(shape)

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
            flat = _mapped(file.fileno(), size) if size else np.empty(0, np.uint8)
        return flat.view(self.dtype).reshape(self.count, self.width)


class PlacedRows:
    """Rows that several processes write to one file, each at its place, and that end as one array."""

    def __init__(self, space: ArraySpace, dtype: DTypeLike = np.float32) -> None:
        file = unnamed_file(space.folder)
        self._of(space, np.dtype(dtype), os.dup(file.fileno()))
        file.close()

    def _of(self, space: ArraySpace, dtype: np.dtype[Any], descriptor: int) -> None:
        self.space, self.dtype, self._descriptor = space, dtype, descriptor
        weakref.finalize(self, os.close, descriptor)

    def put(self, first: int, rows: NDArray[Any]) -> None:
        """Write rows (row, column), the first of which is the row of that number."""
        content = np.ascontiguousarray(rows, self.dtype).reshape(-1).view(np.uint8).data
        place = first * math.prod(rows.shape[1:]) * self.dtype.itemsize
        try:
            while content:
                written = os.pwrite(self._descriptor, content, place)
                content, place = content[written:], place + written
        except OSError as error:
            raise _no_room(self.space.folder, rows.nbytes, error) from error

    def array(self, count: int, width: int) -> NDArray[Any]:
        """Return all rows: (row, column)."""
        size = count * width * self.dtype.itemsize
        os.ftruncate(self._descriptor, size)
        flat = _mapped(self._descriptor, size) if size else np.empty(0, np.uint8)
        return flat.view(self.dtype).reshape(count, width)

    def __reduce__(self) -> tuple[Any, ...]:
        return _placed_there, (self.space, self.dtype, reduction.DupFd(self._descriptor))


def _placed_there(space: ArraySpace, dtype: np.dtype[Any], descriptor: Any) -> PlacedRows:
    rows = PlacedRows.__new__(PlacedRows)
    rows._of(space, dtype, descriptor.detach())
    return rows


class SharedArray:
    """An array as a process that is started receives it: what is in a file as the same file, all else as a copy.

    Once a process only, as it receives each file once.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __reduce__(self) -> tuple[Any, ...]:
        mapping: Any = self.array
        while isinstance(mapping, np.ndarray):
            mapping = mapping.base
        if not isinstance(mapping, _Mapping) or not self.array.flags.c_contiguous:
            return SharedArray, (np.ascontiguousarray(self.array),)
        first = self.array.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
        where = (reduction.DupFd(mapping.descriptor), len(mapping), first)
        return _mapped_there, (*where, self.array.shape, self.array.dtype)


def _mapped_there(descriptor: Any, size: int, first: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> SharedArray:
    number = descriptor.detach()
    try:
        flat = _mapped(number, size)
    finally:
        os.close(number)
    return SharedArray(flat[first : first + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape))


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


class _Mapping(mmap.mmap):
    """A mapping that knows its file, so that another process can map the same."""

    descriptor: int


def _mapped(descriptor: int, size: int) -> NDArray[np.uint8]:
    """Return the bytes of an open file as an array; the mapping outlives what was opened."""
    mapping = _Mapping(descriptor, size)
    mapping.descriptor = os.dup(descriptor)
    weakref.finalize(mapping, os.close, mapping.descriptor)
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
