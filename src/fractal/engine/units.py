"""Inputs cut into units of work by their position: a file and a range of its bytes, or some of its row groups."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from fractal.engine.storage import file_system, is_remote
from fractal.errors import BadData, MissingExtra
from fractal.readers.base import READERS, Reader
from fractal.readers.columnar import Arrow, Parquet
from fractal.readers.jsonl import JsonLines
from fractal.readers.sniffing import BY_ENDING, guess_reader
from fractal.readers.sources import endings

__all__ = ["Source", "Unit", "cut", "find_sources", "line_before", "open_unit", "opened"]

UNIT_BYTES = 4_000_000  # of JSON lines: some thousand responses, which take seconds
UNIT_ROWS = 4_096  # of a Parquet file, as far as its row groups allow
BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Source:
    """A file to read: what it was when the work was cut, so that a run that goes on can tell whether it still is."""

    path: str
    size: int
    changed: str  # time of its last change, or the store's tag of its content


@dataclasses.dataclass(frozen=True)
class Unit:
    """A part of one source: bytes [first, last) of JSON lines, row groups [first, last) of Parquet, or all of it."""

    number: int
    path: str
    reader: str
    kind: str = "file"  # "bytes", "groups", "file"
    first: int = 0
    last: int = 0
    row: int = 1  # the number of its first row, where that is known without reading

    @property
    def name(self) -> str:
        """What its shard is called, without an ending."""
        return f"part-{self.number:06d}"

    def __str__(self) -> str:
        return f"{self.path} ({self.name})"


def find_sources(inputs: Sequence[str]) -> list[Source]:
    """Return the files of paths, folders, globs and addresses: each once, in the order given, a folder's by name."""
    sources: dict[str, Source] = {}
    for given in inputs:
        found = _remote_sources(given) if is_remote(given) else _local_sources(given)
        if not found:
            raise BadData(
                f"nothing to read: give a file, a folder with files of {', '.join(BY_ENDING)}, or a glob", source=given
            )
        sources |= {source.path: source for source in found if source.path not in sources}
    return list(sources.values())


def _local_sources(given: str) -> list[Source]:
    path = Path(given)
    if path.is_dir():
        paths = sorted(p for p in path.rglob("*") if p.is_file() and _is_data(p.relative_to(path)))
    elif path.is_file():
        paths = [path]
    else:
        paths = sorted(Path(name) for name in glob.glob(given, recursive=True) if Path(name).is_file())  # noqa: PTH207
    stats = ((p, p.stat()) for p in paths)
    return [Source(str(p), facts.st_size, str(facts.st_mtime_ns)) for p, facts in stats]


def _is_data(path: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in path.parts)
    return not hidden and any(ending in BY_ENDING for ending in endings(path))


def _remote_sources(given: str) -> list[Source]:
    system, inside = file_system(given)
    protocol = given.partition("://")[0]
    try:
        if glob.has_magic(inside):
            entries = [system.info(name) for name in system.glob(inside)]
        elif system.isdir(inside):
            entries = [entry for entry in system.find(inside, detail=True).values() if _is_data(Path(entry["name"]))]
        else:
            entries = [system.info(inside)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise BadData(f"it cannot be listed: {error}", source=given) from error
    files = sorted((entry for entry in entries if entry["type"] == "file"), key=lambda entry: str(entry["name"]))
    return [
        Source(
            f"{protocol}://{str(entry['name']).lstrip('/') if protocol != 'file' else entry['name']}",
            int(entry["size"]),
            str(entry.get("ETag") or entry.get("etag") or entry.get("mtime") or entry.get("LastModified") or ""),
        )
        for entry in files
    ]


@contextlib.contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """Open a file or an object for reading, so that one can jump in it."""
    try:
        if is_remote(path):
            system, inside = file_system(path)
            with system.open(inside, "rb") as stream:
                yield cast(IO[bytes], stream)
        else:
            with Path(path).open("rb") as stream:
                yield stream
    except (FileNotFoundError, PermissionError) as error:
        raise BadData(f"the file cannot be opened: {error.strerror or error}", source=path) from error


def cut(sources: Iterable[Source], reader: str = "auto", unit_bytes: int = UNIT_BYTES) -> list[Unit]:
    """Cut sources into units, in order; of what is compressed, and of tables of text, a whole file is one."""
    units: list[Unit] = []
    for source in sources:
        for kind, first, last, row, name in _parts(source, reader, unit_bytes):
            units.append(Unit(len(units), source.path, name, kind, first, last, row))
    return units


def _parts(source: Source, reader: str, unit_bytes: int) -> Iterator[tuple[str, int, int, int, str]]:
    chosen = reader_of(source.path, reader)
    name = READERS.spec(chosen)
    if isinstance(chosen, Parquet):
        yield from (("groups", first, last, row, name) for first, last, row in _row_groups(source.path))
        return
    if isinstance(chosen, JsonLines):
        with opened(source.path) as stream:
            if stream.read(2) != b"\x1f\x8b":
                bounds = _line_starts(stream, source.size, unit_bytes)
                yield from (("bytes", first, last, 1, name) for first, last in bounds)
                return
    yield "file", 0, source.size, 1, name


def reader_of(path: str, reader: str) -> Reader:
    """Return the reader of a file; an address tells it by its ending, and is taken for JSON lines without one."""
    if reader != "auto":
        return READERS.build(reader)
    if is_remote(path) and not any(ending in BY_ENDING for ending in endings(path)):
        return READERS.build("jsonl")
    return guess_reader(path)


def _line_starts(stream: IO[bytes], size: int, unit_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of about so many bytes, each from the start of a line to that of another: one look a unit."""
    first = 0
    while first < size:
        last = _next_line(stream, first + unit_bytes - 1, size)
        yield first, last
        first = last


def _next_line(stream: IO[bytes], place: int, size: int) -> int:
    """Return where the first line after this place starts."""
    if place >= size:
        return size
    stream.seek(place)
    while block := stream.read(BLOCK if place else 1):
        end = block.find(b"\n")
        if end >= 0:
            return min(place + end + 1, size)
        place += len(block)
    return size


def _row_groups(path: str) -> Iterator[tuple[int, int, int]]:
    """Yield runs of row groups of about so many rows, with the number of the first row."""
    parquet = _parquet()
    try:
        with opened(path) as stream:
            facts = parquet.ParquetFile(stream).metadata
            counts = [facts.row_group(group).num_rows for group in range(facts.num_row_groups)]
    except (ValueError, OSError) as error:  # pyarrow's own errors are ValueErrors
        raise BadData(f"the file is damaged or no Parquet file ({error}): write it anew", source=path) from error
    first, row, rows = 0, 1, 0
    for group, count in enumerate(counts):
        if rows and rows + count > UNIT_ROWS:
            yield first, group, row
            first, row, rows = group, row + rows, 0
        rows += count
    if counts:
        yield first, len(counts), row


@contextlib.contextmanager
def open_unit(unit: Unit) -> Iterator[tuple[Reader, Any]]:
    """Give the reader of a unit and what it reads: a stream of its bytes, or a table of its rows."""
    reader = READERS.build(unit.reader)
    with opened(unit.path) as stream:
        if unit.kind == "groups":
            table = _parquet().ParquetFile(stream).read_row_groups(list(range(unit.first, unit.last)))
            yield Arrow(), table
        elif unit.kind == "bytes":
            stream.seek(unit.first)
            yield reader, _Named(stream.read(unit.last - unit.first), unit.path)
        elif is_remote(unit.path):
            yield reader, stream
        else:
            yield reader, unit.path


class _Named(io.BytesIO):
    """Bytes that messages call by the file that they are from."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def line_before(unit: Unit) -> int:
    """Return how many lines of the file stand before the unit; they are counted by reading them."""
    if unit.kind != "bytes":
        return unit.row - 1
    lines, left = 0, unit.first
    with opened(unit.path) as stream:
        while left and (block := stream.read(min(BLOCK, left))):
            lines += block.count(b"\n")
            left -= len(block)
    return lines


def _parquet() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra("Parquet", "data", "pyarrow") from error
    return parquet
