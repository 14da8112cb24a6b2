"""What every writer shares: its name in the registry, files that are whole or absent, and `write` for them all."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import os
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, ClassVar, cast

from fractal.errors import BadData
from fractal.records import Preference, Response, ScoredResponse
from fractal.registry import Registry
from fractal.writers.native import Writable

__all__ = ["WRITERS", "Writer", "open_target", "write"]


@dataclasses.dataclass(frozen=True)
class Writer(ABC):
    """How records are written to a stream of bytes, one after another."""

    name: ClassVar[str]
    endings: ClassVar[tuple[str, ...]] = ()  # the endings of files that `auto` writes in this way

    @abstractmethod
    def write_to(self, stream: IO[bytes], records: Iterable[Writable]) -> None:
        """Write every record."""


WRITERS: Registry[Writer] = Registry("writer")


def write(records: Iterable[Writable] | Writable, target: str | Path | IO[Any], writer: str | Writer = "auto") -> int:
    """Write responses, preferences or scored responses and return how many.

    A file appears whole under its name or not at all; `-` is standard output; an ending of .gz compresses. The writer
    is guessed by the ending: .jsonl (and anything unknown), .csv, .tsv, .parquet.
    """
    chosen = _guess(target) if writer == "auto" else WRITERS.build(writer)
    given = [records] if isinstance(records, Response | Preference | ScoredResponse) else records
    counted = _Counted(given)
    with open_target(target) as stream:
        chosen.write_to(stream, counted)
    return counted.count


class _Counted:
    """Counts what passes and refuses what is no record."""

    def __init__(self, records: Iterable[Any]) -> None:
        self._records, self.count = records, 0

    def __iter__(self) -> Iterator[Writable]:
        for record in self._records:
            if not isinstance(record, Response | Preference | ScoredResponse):
                raise BadData(
                    f"record {self.count + 1} is a {type(record).__name__}: write responses, preferences or scored ones"
                )
            yield record
            self.count += 1


def _guess(target: Any) -> Writer:
    suffixes = Path(target).suffixes if isinstance(target, str | Path) else []
    for ending in reversed([suffix.lower() for suffix in suffixes]):
        for name in WRITERS:
            if ending in getattr(WRITERS[name], "endings", ()):
                return WRITERS.build(name)
    return WRITERS.build("jsonl")


@contextlib.contextmanager
def open_target(target: str | Path | IO[Any]) -> Iterator[IO[bytes]]:
    """Open a file, `-` or a stream for bytes; a file takes its name only when all is written."""
    if not isinstance(target, str | Path):
        yield _binary(target)
        return
    if str(target) == "-":
        with _quiet_pipe():
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    path = Path(target)
    if path.exists() and not path.is_file():  # a device or a pipe cannot be renamed over
        with _quiet_pipe(), _opened(path) as stream:
            yield stream
        return
    with _renamed_when_whole(path.resolve()) as stream:
        yield stream


def _binary(target: IO[Any]) -> IO[bytes]:
    if isinstance(target, io.TextIOBase):
        target.flush()
        if not hasattr(target, "buffer"):
            raise BadData("the target is a stream of text: give one of bytes, as open(path, 'wb') makes")
        return cast(IO[bytes], target.buffer)
    return target


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("wb")
    except OSError as error:
        raise BadData(f"it cannot be written: {error.strerror}", source=str(path)) from error


@contextlib.contextmanager
def _renamed_when_whole(path: Path) -> Iterator[IO[bytes]]:
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise BadData(f"it cannot be written: {error.strerror}", source=str(path)) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            if path.suffix.lower() == ".gz":
                with gzip.GzipFile(filename="", fileobj=stream, mode="wb", mtime=0) as zipped:
                    yield cast(IO[bytes], zipped)
            else:
                yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(beside).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def _quiet_pipe() -> Iterator[None]:
    """Whoever reads may stop reading, as `head` does: that is no error."""
    try:
        yield
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):  # so that the interpreter does not complain when it flushes
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
