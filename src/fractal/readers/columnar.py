"""Columns in files and in memory: Parquet, Arrow and Feather, pandas and polars frames, and plain lists of rows."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from fractal.errors import BadData, MissingExtra
from fractal.readers.arrow_messages import count_batches, is_file
from fractal.readers.base import READERS, Reader
from fractal.readers.batches import ROWS_AT_ONCE, parquet_batches, rows_of
from fractal.readers.preview import previewed
from fractal.readers.schemas import SCHEMAS
from fractal.readers.session import ReadSession, Record, RowSchema
from fractal.readers.sources import DAMAGED, GZIP, BadRow, Row, name_of, open_raw
from fractal.records import Preference, Response


@READERS.register("parquet")
@dataclasses.dataclass(frozen=True)
class Parquet(Reader):
    """Parquet files, read in batches."""

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the rows of one batch after another."""
        parquet = _package("pyarrow.parquet", "Parquet")
        yield from _batches(source, lambda file: parquet_batches(file, parquet))


@READERS.register("arrow")
@dataclasses.dataclass(frozen=True)
class Arrow(Reader):
    """Arrow and Feather files, Arrow streams, and tables of pyarrow."""

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the rows of one batch after another."""
        ipc = _package("pyarrow.ipc", "Arrow")
        if hasattr(source, "to_batches"):
            table = source if hasattr(source, "num_columns") else source.to_table()
            yield from rows_of(table.to_batches(max_chunksize=ROWS_AT_ONCE))
        elif hasattr(source, "to_pylist"):
            yield from rows_of([source])
        else:
            yield from _batches(source, lambda file: _arrow_batches(file, ipc))


@READERS.register("frame")
@dataclasses.dataclass(frozen=True)
class Frame(Reader):
    """Frames of pandas and polars; a missing value of pandas (NaN, NA) is an unknown one."""

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the rows, a slice of the frame at a time."""
        if not hasattr(source, "columns") or not (hasattr(source, "iloc") or hasattr(source, "iter_slices")):
            raise BadData(f"found a {type(source).__name__}: give a frame of pandas or polars", source=name_of(source))
        line = 0
        for rows in _slices(source):
            for fields in rows:
                line += 1
                yield Row(line, fields)


@READERS.register("rows")
@dataclasses.dataclass(frozen=True)
class Rows(Reader):
    """Rows that are in memory: a list or any iterable of dictionaries, responses and preferences."""

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the dictionaries."""
        for line, item in enumerate(_iterable(source), 1):
            if isinstance(item, Mapping):
                yield Row(line, plain_row(item))
            else:
                problem = f"found a {type(item).__name__}: give dictionaries, responses or preferences"
                yield BadRow(line, BadData(problem), repr(item)[:2000])

    def records(self, source: Any, session: ReadSession) -> Iterator[Record]:
        """Yield the records that the session accepts; those that are records already are only counted and compared."""
        for item in previewed(enumerate(_iterable(source), 1), session, self._row_of):
            yield from session.accept(*self._row_of(item))

    def _row_of(self, item: tuple[int, Any]) -> tuple[Row | BadRow, RowSchema]:
        line, record = item
        if isinstance(record, Response | Preference):
            return Row(line, {}), _as_it_is(record)
        (row,) = self.rows([record])
        return dataclasses.replace(row, line=line), SCHEMAS[self.schema]


def _as_it_is(record: Record) -> Callable[[Mapping[str, Any], ReadSession, int], list[Record]]:
    return lambda row, session, line: [record]


def _iterable(source: Any) -> Iterable[Any]:
    if isinstance(source, str | bytes | Mapping) or not isinstance(source, Iterable):
        raise BadData(f"found a {type(source).__name__}: give a list of rows", source=name_of(source))
    return source


def _package(module: str, what: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(what, "data", module.partition(".")[0]) from error


def _batches(source: Any, opened: Callable[[IO[bytes]], Iterable[Any]]) -> Iterator[Row | BadRow]:
    """Yield the rows of a file's batches; a file that is damaged ends in a `BadRow`, after what could be read."""
    import pyarrow

    line = 1
    try:
        with _seekable(source) as file:
            for batch in opened(file):
                for row in rows_of([batch], line):
                    yield row
                    line = row.line + 1
    except BadData:
        raise
    except (pyarrow.ArrowException, *DAMAGED, ValueError, LookupError, ArithmeticError, NotImplementedError) as error:
        first = str(error).partition("\n")[0][:200]
        yield BadRow(line, BadData(f"the file is damaged or of another format ({first}): write it anew"))


@contextlib.contextmanager
def _seekable(source: Any) -> Iterator[IO[bytes]]:
    """Open a file in which one can jump; what comes through a pipe is put into a temporary file for that."""
    with contextlib.ExitStack() as stack:
        file = source
        if isinstance(source, str | Path | io.TextIOBase) or not _can_jump(source):
            file = stack.enter_context(open_raw(source))
        start = _start_of(file)
        if not _can_jump(file):
            spooled = stack.enter_context(tempfile.TemporaryFile())
            spooled.write(start)
            shutil.copyfileobj(file, spooled)
            spooled.seek(0)
            file = spooled
        if start[:2] == GZIP:
            problem = "it is compressed by gzip, and such files compress themselves: unpack it, as `gunzip` does"
            raise BadData(problem, source=name_of(source))
        yield file


def _can_jump(file: Any) -> bool:
    return hasattr(file, "seek") and (not hasattr(file, "seekable") or file.seekable())


def _start_of(file: IO[bytes]) -> bytes:
    """Return the first bytes; where one can jump, they are there still."""
    if not _can_jump(file):
        return file.read(2)
    place = file.tell()
    start = file.read(2)
    file.seek(place)
    return start


def _arrow_batches(file: IO[bytes], ipc: Any) -> Iterator[Any]:
    count, fault = count_batches(file)
    file.seek(0)
    if is_file(file):
        opened = ipc.open_file(file)
        batches = (opened.get_batch(place) for place in range(opened.num_record_batches))
    else:
        batches = iter(ipc.open_stream(file))
    for batch in itertools.islice(batches, count):
        batch.validate(full=True)  # offsets that point outside their buffer would end the process
        for start_row in range(0, batch.num_rows, ROWS_AT_ONCE):
            yield batch.slice(start_row, ROWS_AT_ONCE)
    if fault:
        raise ValueError(fault)


def _slices(frame: Any) -> Iterator[Iterable[Mapping[str, Any]]]:
    if hasattr(frame, "iloc"):
        for start in range(0, len(frame), ROWS_AT_ONCE):
            records = frame.iloc[start : start + ROWS_AT_ONCE].to_dict("records")
            yield (_with_none(plain_row(fields)) for fields in records)
    else:
        for part in frame.iter_slices(ROWS_AT_ONCE):
            yield part.to_dicts()


def plain_row(fields: Mapping[Any, Any]) -> dict[str, Any]:
    """Turn arrays into lists and names into text."""
    return {str(name): value.tolist() if hasattr(value, "tolist") else value for name, value in fields.items()}


def _with_none(fields: dict[str, Any]) -> dict[str, Any]:
    """What differs from itself (NaN, NaT) or is pandas' NA is a missing value."""
    return {name: None if _is_missing(value) else value for name, value in fields.items()}


def _is_missing(value: Any) -> bool:
    return (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")
