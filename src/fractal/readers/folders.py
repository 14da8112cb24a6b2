"""Folders of data files, folders that `datasets` saved, and sheets of Excel."""

from __future__ import annotations

import contextlib
import dataclasses
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fractal.errors import BadData, FractalError, MissingExtra, suggestion
from fractal.readers.base import READERS, Reader
from fractal.readers.sources import DAMAGED, MAX_HELD, BadRow, Row, name_of

__all__ = ["Folder", "Xlsx", "is_saved_dataset"]

MAX_SHARED = 100_000_000  # bytes of the texts that the cells of a workbook share, which openpyxl reads at once
MAX_TAGS = 4_000_000  # in that part, four a text: a million texts take a quarter of a minute
SAVED = ("dataset_info.json", "dataset_dict.json", "state.json")  # what `save_to_disk` leaves


def is_saved_dataset(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk` of Hugging Face's `datasets`."""
    return any((folder / name).exists() for name in SAVED)


@READERS.register("folder")
@dataclasses.dataclass(frozen=True)
class Folder(Reader):
    """A folder: every data file in it, by name; or a data set that `datasets` saved with `save_to_disk`."""

    split: str = "train"  # of a saved data set that has several

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the rows of one file after another, numbered through."""
        folder = Path(source)
        if is_saved_dataset(folder):
            yield from self._saved(folder)
            return
        from fractal.readers.sniffing import BY_ENDING, guess_reader
        from fractal.readers.sources import endings

        files = [path for path in sorted(folder.rglob("*")) if any(end in BY_ENDING for end in endings(path))]
        if not files:
            known = ", ".join(BY_ENDING)
            raise BadData(f"the folder holds no data file: give one with files of {known}", source=name_of(source))
        line = 0
        for path in files:
            for row in guess_reader(path).rows(path):
                line += 1
                if isinstance(row, BadRow):
                    problem = f"{path.name}, line {row.line}: {row.error.problem}"
                    yield BadRow(line, BadData(problem, field=row.error.field), row.raw)
                else:
                    yield Row(line, row.fields)

    def _saved(self, folder: Path) -> Iterator[Row | BadRow]:
        try:
            import datasets
        except ImportError as error:
            raise MissingExtra("Reading saved data sets", "data", "datasets") from error
        from fractal.readers.hub import Hub

        yield from Hub(split=self.split).rows(datasets.load_from_disk(str(folder)))


@READERS.register("xlsx")
@dataclasses.dataclass(frozen=True)
class Xlsx(Reader):
    """Sheets of Excel with a header: a record a row."""

    sheet: str = ""  # the first one, unless named

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield a mapping of column to cell for every row that is not empty."""
        try:
            import openpyxl
        except ImportError as error:
            raise MissingExtra("Reading Excel files", "data", "openpyxl") from error
        with _damage_named(name_of(source), openpyxl.utils.exceptions.InvalidFileException):
            _refuse_endless(source)
            book = openpyxl.load_workbook(source, read_only=True, data_only=True)
            try:
                yield from _rows_of(self._chosen(book, name_of(source)), name_of(source))
            finally:
                book.close()

    def _chosen(self, book: Any, name: str) -> Any:
        if self.sheet and self.sheet not in book.sheetnames:
            near = suggestion(self.sheet, book.sheetnames)
            listed = ", ".join(book.sheetnames)
            raise BadData(
                f"there is no sheet {self.sheet!r}.{near} Sheets here: {listed}; "
                f"name one, as in reader=\"xlsx(sheet='{book.sheetnames[0]}')\"",
                source=name,
            )
        return book[self.sheet or book.sheetnames[0]]


@contextlib.contextmanager
def _damage_named(name: str, invalid: type[Exception]) -> Iterator[None]:
    """Say that a workbook cannot be read: its parts are XML, written by anybody, and openpyxl checks little of it."""
    try:
        yield
    except FractalError:
        raise
    except (*DAMAGED, invalid, SyntaxError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        problem = f"the file is no workbook of Excel ({str(error)[:200]}): save it as .xlsx or .csv"
        raise BadData(problem, source=name) from error


def _refuse_endless(source: Any) -> None:
    """Refuse a workbook with a part that would fill the memory or take minutes: a few kB may unpack to any size."""
    with zipfile.ZipFile(source) as archive:
        for part in archive.infolist():
            sheet = "/worksheets/" in part.filename  # which is read row by row, all others as a whole
            most = MAX_HELD if sheet else MAX_SHARED
            problem = f"unpacks to {part.file_size:,} bytes, at most {most:,} are read" if part.file_size > most else ""
            if not problem and not sheet and _tags(archive, part) > MAX_TAGS:
                problem = f"holds more than {MAX_TAGS:,} tags"
            if problem:
                problem = f"{part.filename!r} in it {problem}: save it as .csv"
                raise BadData(problem, source=name_of(source))
    if hasattr(source, "seek"):
        source.seek(0)


def _tags(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> int:
    """Return how many tags a part of a workbook holds, at most."""
    with archive.open(part) as stream:
        return sum(piece.count(b"<") for piece in iter(lambda: stream.read(1 << 20), b""))


def _rows_of(sheet: Any, name: str) -> Iterator[Row | BadRow]:
    header: list[str] = []
    empty: Any = None
    for line, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        if cells is empty:  # between two rows there may be a million of them, the same object each
            continue
        values = [_plain(cell) for cell in cells]
        if all(value is None for value in values):
            empty = cells
            continue
        if not header:
            header = ["" if value is None else str(value).strip() for value in values]
            named = [column for column in header if column]
            twice = next((column for column, count in Counter(named).items() if count > 1), None)
            if twice is not None:
                raise BadData(
                    f"the header is {str(named[:100])[:2_000]}: name no column twice",
                    source=name,
                    line=line,
                    field=twice,
                )
            continue
        fields: Mapping[str, Any] = {column: value for column, value in zip(header, values, strict=False) if column}
        yield Row(line, fields)


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it: dates as text."""
    return cell.isoformat() if hasattr(cell, "isoformat") else cell
