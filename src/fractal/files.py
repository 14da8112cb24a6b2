"""Files and folders that are whole or absent: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import ctypes
import gzip
import io
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from fractal.errors import BadData

LONGEST_PREFIX = 40  # characters of a name, at most 160 bytes: what is put around it must fit into 255
ABANDONED = 3_600.0  # seconds after which a part file that nobody holds was left by a process that was killed
HELD: set[Path] = set()  # what this process alone may write now
AT_WORKING_FOLDER, EXCHANGE = -100, 2  # of Linux: AT_FDCWD, RENAME_EXCHANGE


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
        with _refused(path):
            stream = path.open("wb")
        with _quiet_pipe(), stream:
            yield stream
        return
    with exclusive(path), whole_file(path) as beside, beside.open("wb") as stream:
        if path.suffix.lower() == ".gz":
            with gzip.GzipFile(filename="", fileobj=stream, mode="wb", mtime=0) as zipped:
                yield cast(IO[bytes], zipped)
        else:
            yield stream


@contextlib.contextmanager
def whole_file(target: str | Path) -> Iterator[Path]:
    """Give a file beside the target; what is written there takes the name at the end, or vanishes on an error."""
    path = Path(target).resolve()
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666  # the umask takes its part
    beside = _beside(path)
    with _refused(path):
        held = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode | 0o600)
    try:
        _hold(held)
        yield beside
        if os.name == "nt":  # Windows renames no open file
            held = _closed(held)
        put_in_place(beside, path)
    finally:
        _closed(held)
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(target: str | Path) -> Iterator[Path]:
    """Give a folder beside the target; filled, it takes the name at the end, or vanishes on an error.

    An earlier folder keeps the name until the new one has it (on Linux: elsewhere it is renamed a moment before).
    """
    path = Path(target).resolve()
    beside = _beside(path)
    with _refused(path):
        beside.mkdir()
    try:
        yield beside
        for written in beside.rglob("*"):
            _sync(written)
        put_in_place(beside, path)
    finally:
        if beside.exists():  # after an exchange: the earlier one
            shutil.rmtree(beside)


def same_file(one: Any, other: Any) -> bool:
    """Whether two paths or open streams are one file, by links and other spellings, too; only plain files can be."""
    first, second = _status(one), _status(other)
    if first is not None and second is not None:
        return stat.S_ISREG(first.st_mode) and os.path.samestat(first, second)
    paths = isinstance(one, str | Path) and isinstance(other, str | Path)
    return paths and first is second is None and Path(one).resolve() == Path(other).resolve()


def _status(file: Any) -> os.stat_result | None:
    try:
        return Path(file).stat() if isinstance(file, str | Path) else os.fstat(file.fileno())
    except (OSError, ValueError, AttributeError, TypeError):
        return None


@contextlib.contextmanager
def exclusive(target: str | Path) -> Iterator[None]:
    """Be the only process that writes a file or folder; a second one is refused and told which process is at it.

    The lock is on a file beside the target, `.NAME.lock`, and falls with the process, however it ends.
    """
    path = Path(target).resolve()
    if path in HELD:  # by a caller of ours
        yield
        return
    lock = path.with_name(f".{path.name[:LONGEST_PREFIX]}.lock")
    with _refused(path):
        stream = _locked(lock, path)
    HELD.add(path)
    try:
        stream.truncate(0)
        stream.write(str(os.getpid()).encode())
        stream.flush()
        yield
    finally:
        HELD.discard(path)
        lock.unlink(missing_ok=True)
        stream.close()


def _locked(lock: Path, path: Path) -> IO[bytes]:
    """Open and lock the file; one that its last owner has removed meanwhile is opened anew."""
    while True:
        stream = lock.open("a+b")
        try:
            lock_stream(stream, path)
            if same_file(stream, lock):
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()


def lock_stream(stream: IO[Any], path: Path) -> None:
    """Let no other process lock the file while the stream is open; where the system has no such locks, nothing is."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover (Windows)
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BadData(
            f"{_owner(stream)} is writing it: let that one end, or give another name", source=str(path)
        ) from error
    except OSError:  # a file system without locks
        return


def _owner(stream: IO[Any]) -> str:
    """Return which process a lock file names."""
    try:
        stream.seek(0)
        number = stream.read(20)
    except (OSError, ValueError):  # a file that is only written names nobody
        return "another process"
    return f"process {int(number)}" if number.isdigit() else "another process"


def _sweep(path: Path) -> None:
    """Remove what processes that were killed left beside a target: part files that are old and that nobody holds."""
    name = re.compile(re.escape(f".{path.name[:LONGEST_PREFIX]}.") + r"[0-9a-f]{8}\.part")
    with contextlib.suppress(OSError):
        for part in [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]:
            if time.time() - part.lstat().st_mtime > ABANDONED and not part.is_symlink() and not _is_held(part):
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def _hold(handle: int) -> bool:
    """Take the lock of a part file, which falls with the process; whether nobody else has it."""
    try:
        import fcntl
    except ImportError:  # Windows: age alone tells
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_held(part: Path) -> bool:
    if part.is_dir() and os.name == "nt":
        return False
    handle = os.open(part, os.O_RDONLY)
    try:
        return not _hold(handle)
    finally:
        os.close(handle)


def _closed(handle: int) -> int:
    if handle >= 0:
        os.close(handle)
    return -1


def put_in_place(beside: Path, target: Path) -> None:
    """Bring what is complete to the disk and give it its name, with the permissions of what it replaces."""
    _sync(beside)
    if target.exists():
        beside.chmod(target.stat().st_mode & 0o777)
    if not target.is_dir():
        beside.replace(target)
    elif not _exchanged(beside, target):
        earlier = _beside(target)
        target.rename(earlier)
        try:
            beside.rename(target)
        except BaseException:
            earlier.rename(target)
            raise
        shutil.rmtree(earlier)
    _sync(target.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders swap their names in one step; whether the system can."""
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, TypeError, AttributeError):
        return False
    return bool(swap(AT_WORKING_FOLDER, os.fsencode(one), AT_WORKING_FOLDER, os.fsencode(other), EXCHANGE) == 0)


def _beside(path: Path) -> Path:
    _sweep(path)
    return path.with_name(f".{path.name[:LONGEST_PREFIX]}.{secrets.token_hex(4)}.part")


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadData(f"it cannot be written: {error.strerror}", source=str(path)) from error


def _sync(path: Path) -> None:
    """Bring a file's content or a folder's names to the disk."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folder
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _binary(target: IO[Any]) -> IO[bytes]:
    if isinstance(target, io.TextIOBase):
        target.flush()
        if not hasattr(target, "buffer"):
            raise BadData("the target is a stream of text: give one of bytes, as open(path, 'wb') makes")
        return cast(IO[bytes], target.buffer)
    return target


@contextlib.contextmanager
def _quiet_pipe() -> Iterator[None]:
    """Whoever reads may stop reading, as `head` does: that is no error."""
    try:
        yield
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):  # so that the interpreter does not complain when it flushes
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
