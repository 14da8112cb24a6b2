"""Where bytes come from: files, gzip, standard input and open streams, cut into numbered lines of bounded length."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import stat
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from fractal.errors import BadData

MAX_LINE = 10_000_000  # bytes; one response is never longer, a file without line ends is
MAX_HELD = 300_000_000  # characters of texts that are kept beside the records, as documents that these name
SHOWN = 2_000  # characters of a broken line that the rejects file keeps
DAMAGED = (EOFError, OSError, zlib.error)  # what cut or altered compression raises
GZIP = b"\x1f\x8b"
BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One record as its format gives it: where it stands, and its fields by the names that the source uses."""

    line: int
    fields: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class BadRow:
    """A record that its format cannot even read: where it stands, why, and how it begins."""

    line: int
    error: BadData
    raw: str = ""


def name_of(source: Any) -> str:
    """Return what messages call a source."""
    if isinstance(source, str | Path):
        return "standard input" if str(source) == "-" else str(source)
    return str(getattr(source, "name", "") or f"a {type(source).__name__}")


def endings(source: Any) -> tuple[str, ...]:
    """Return a path's endings in lower case, the compression left out: `a.jsonl.gz` → (".jsonl",)."""
    if not isinstance(source, str | Path):
        return ()
    return tuple(ending.lower() for ending in Path(source).suffixes if ending.lower() != ".gz")


@contextlib.contextmanager
def open_bytes(source: Any) -> Iterator[IO[bytes]]:
    """Open a path, `-` or a stream for reading; what is compressed by gzip is opened up, whatever it is called."""
    with contextlib.ExitStack() as stack:
        stream = _raw(source, stack)
        if peeked(stream)[:2] == GZIP:
            stream = io.BufferedReader(Unzipped(stream), 1 << 18)
        mark = peeked(stream)[:3]
        if mark[:2] in BOMS:
            raise BadData(
                f"the text is {BOMS[mark[:2]]}, but UTF-8 is expected: convert it, as in `iconv -f UTF-16 -t UTF-8`",
                source=name_of(source),
                line=1,
            )
        if mark == b"\xef\xbb\xbf":
            stream.read(3)
        yield stream


@contextlib.contextmanager
def open_raw(source: Any) -> Iterator[IO[bytes]]:
    """Open a path, `-` or a stream for reading its bytes as they are."""
    with contextlib.ExitStack() as stack:
        yield _raw(source, stack)


class Unzipped(io.RawIOBase):
    """What gzip holds, a piece at a time: a fault loses nothing that stands before it, and is met at every read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._file = gzip.GzipFile(fileobj=stream)
        self._fault: BaseException | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._fault is not None:
            raise self._fault
        try:
            content = self._file.read1(len(buffer))
        except DAMAGED as error:
            self._fault = error
            raise
        buffer[: len(content)] = content
        return len(content)


class Pipe(io.BufferedReader):
    """A path that can be read once alone, as /dev/stdin, a FIFO or `<(command)`: it is opened once."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(cast(Any, _opened(path, buffering=0)), 1 << 16)


def reopenable(source: Any) -> Any:
    """Return the source; a path of what is no file and no folder is opened now, for it can be opened only once."""
    if not isinstance(source, str | Path) or str(source) == "-" or str(source).startswith("hub:"):
        return source
    try:
        mode = Path(source).stat().st_mode
    except (OSError, ValueError):  # whoever opens it will say what is wrong
        return source
    return source if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else Pipe(source)


def _opened(path: str | Path, buffering: int = -1) -> IO[bytes]:
    try:
        return cast(IO[bytes], Path(path).open("rb", buffering=buffering))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadData(f"the file cannot be opened: {reason}", source=str(path)) from error


def start_of(source: Any, size: int = 4096) -> bytes:
    """Return how a path or pipe begins, opened up where it is compressed; nothing of a pipe is lost to its reader."""
    if not isinstance(source, Pipe):
        try:
            with open_bytes(source) as stream:
                return stream.read(size)
        except DAMAGED:  # whoever reads on will say where
            return b""
    start = source.peek(2)
    if start[:2] == GZIP:
        with contextlib.suppress(zlib.error):
            start = zlib.decompressobj(31).decompress(start, size)
    return start.removeprefix(b"\xef\xbb\xbf")[:size]


def peeked(stream: IO[bytes]) -> bytes:
    """Return how a stream begins; of damaged compression nothing, for the lines themselves will tell."""
    try:
        return cast(io.BufferedReader, stream).peek(4096)[:4096]
    except DAMAGED:
        return b""


def _raw(source: Any, stack: contextlib.ExitStack) -> io.BufferedReader:
    if isinstance(source, str | Path):
        if str(source) == "-":
            stream: Any = sys.stdin.buffer
        else:
            stream = stack.enter_context(_opened(source))
    else:
        stream = getattr(source, "buffer", source)  # a text stream stands on one of bytes
    if isinstance(stream, Pipe):
        stack.enter_context(stream)
    if isinstance(stream, io.StringIO):
        stream = io.BytesIO(stream.getvalue().encode("utf-8", "surrogatepass"))
    if hasattr(stream, "peek"):
        return cast(io.BufferedReader, stream)
    buffered = io.BufferedReader(stream)
    stack.callback(buffered.detach)  # the stream stays open: it is the caller's
    return buffered


def numbered_lines(stream: IO[bytes], name: str) -> Iterator[tuple[int, bytes | BadRow]]:
    """Yield every line with its number; one that is too long, or cut off by broken compression, comes as `BadRow`."""
    number = 0
    while True:
        number += 1
        try:
            line = stream.readline(MAX_LINE + 1)
            length = len(line) if len(line) <= MAX_LINE else len(line) + _skip_rest(stream, line)
        except DAMAGED as error:
            problem = f"the compressed file is cut short or damaged ({error}): nothing after this line can be read"
            yield number, BadRow(number, BadData(problem, source=name, line=number))
            return
        if not line:
            return
        if length > MAX_LINE:
            problem = f"the line is {length:,} bytes long, at most {MAX_LINE:,} are read: write one record a line"
            yield number, BadRow(number, BadData(problem, source=name, line=number), text_of(line))
        else:
            yield number, line


def _skip_rest(stream: IO[bytes], line: bytes) -> int:
    """Go to the end of a line that is too long and return how many bytes were skipped."""
    skipped = 0
    while line and not line.endswith(b"\n"):
        line = stream.readline(1 << 20)
        skipped += len(line)
    return skipped


def text_of(line: bytes) -> str:
    """Return the beginning of a broken line for the rejects file, undecodable bytes written out."""
    shown = line[:SHOWN].decode("utf-8", "backslashreplace").rstrip("\n")
    return shown if len(line) <= SHOWN else f"{shown}… ({len(line):,} bytes)"
