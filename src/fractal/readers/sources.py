"""Where bytes come from: files, gzip, standard input and open streams, cut into numbered lines of bounded length."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import lzma
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from fractal.errors import BadData

MAX_LINE = 10_000_000  # bytes; one response is never longer, a file without line ends is
MAX_HELD = 300_000_000  # characters of texts that are kept beside the records, as documents that these name
MAX_OBJECTS = 700_000_000  # bytes that JSON may take in memory where records can be read only together
SHOWN = 2_000  # characters of a broken line that the rejects file keeps
CUT = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile)  # cut or altered compression
DAMAGED = (*CUT, OSError)  # the same where a stream is read and nothing else is done
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
            stream = io.BufferedReader(Unpacked(gzip.GzipFile(fileobj=stream)), 1 << 18)
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


class Unpacked(io.RawIOBase):
    """What is compressed, a piece at a time: a fault loses no piece before it, and is met at every read after it."""

    def __init__(self, file: gzip.GzipFile | zipfile.ZipExtFile, name: str = "") -> None:
        self._file, self.name = file, name
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
    pipe = isinstance(source, str | Path) and str(source) != "-" and is_read_once(source)
    return Pipe(source) if pipe else source


def is_read_once(source: str | Path) -> bool:
    """Whether this is standard input or a pipe, of which nothing is left for who reads it again."""
    if str(source) == "-" or str(source).startswith("hub:"):
        return str(source) == "-"
    try:
        mode = Path(source).stat().st_mode
    except (OSError, ValueError):  # whoever opens it will say what is wrong
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


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


def memory_of(content: bytes) -> int:
    """Return about how many bytes a JSON document takes in memory: `{}` takes thirty times what it has on disk."""
    holders = content.count(b"{") * 64 + content.count(b"[") * 56
    return len(content) + holders + content.count(b'"') * 26 + content.count(b",") * 8


def read_document(stream: IO[bytes], name: str) -> bytes:
    """Return the content of a file that can be read only as a whole, or refuse it as too large for that."""
    content = stream.read(MAX_HELD + 1)
    if len(content) > MAX_HELD or memory_of(content) > MAX_OBJECTS:
        problem = (
            f"the file is one JSON document, which is read as a whole, of more than {MAX_HELD:,} bytes, or "
            f"{MAX_OBJECTS:,} in memory: write one object a line, as `jq -c '.[]'` does"
        )
        raise BadData(problem, source=name, line=1)
    return content


def text_of(line: bytes) -> str:
    """Return the beginning of a broken line for the rejects file, undecodable bytes written out."""
    shown = line[:SHOWN].decode("utf-8", "backslashreplace").rstrip("\n")
    return shown if len(line) <= SHOWN else f"{shown}… ({len(line):,} bytes)"
