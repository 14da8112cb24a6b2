"""Files that are whole or absent."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from fractal.errors import BadData

__all__ = ["open_target"]


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
