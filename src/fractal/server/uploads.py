"""Uploaded files → rows: formats told by content, encodings and delimiters tried, sizes bounded."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import gzip
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fractal.errors import BadData, MissingExtra
from fractal.readers import READERS
from fractal.readers.sources import DAMAGED, BadRow, Row
from fractal.server.settings import Limits

__all__ = ["open_rows"]

NO_TEXT = re.compile("[\ud800-\udfff]")
SNIFFED = 65_536
DELIMITERS = ",;\t|"
CHUNK = 1 << 20
XLSX_ROWS = 1_048_576


def open_rows(path: Path, file_name: str, limits: Limits) -> tuple[str, Iterator[Row | BadRow]]:
    """Return what kind of file it is and its rows; the name is only a hint, the content decides."""
    start = _start(path)
    if start[:2] == b"\x1f\x8b":
        path = _expanded(path, limits)
        start = _start(path)
    if start[:4] == b"PAR1":
        return "parquet", _bounded(_parquet(path, limits), limits)
    if start[:4] == b"PK\x03\x04":
        return "xlsx", _bounded(_xlsx(path, limits), limits)
    if start[:6] == b"ARROW1":
        return "arrow", _bounded(READERS.build("arrow").rows(str(path)), limits)
    path, kind = _as_utf8(path, start, limits)
    text = _start(path).decode("utf-8", "replace").lstrip("\ufeff")
    note = f", read as {kind}" if kind else ""
    if re.match(r"\s*\[\s*[{\]]", text):
        return f"a JSON array{note}", _bounded(_array(path), limits)
    lines = [line for line in text.splitlines()[:40] if line.strip()]
    if sum(line.lstrip()[:1] == "{" for line in lines) * 2 >= max(len(lines), 1):
        return f"JSON{note}", _bounded(READERS.build("jsonl").rows(str(path)), limits)
    delimiter = _delimiter(text)
    if delimiter:
        spec = "tsv" if delimiter == "\t" else f"csv(delimiter={delimiter!r})"
        return f"CSV with {delimiter!r}{note}", _bounded(READERS.build(spec).rows(str(path)), limits)
    if file_name.lower().endswith((".csv", ".tsv")):
        return f"CSV of one column{note}", _bounded(READERS.build("csv").rows(str(path)), limits)
    return f"plain text, a response a paragraph{note}", _bounded(_paragraphs(path), limits)


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(SNIFFED)


def _expanded(path: Path, limits: Limits) -> Path:
    """Open a compressed file up, as far as the limits go."""
    most = min(limits.expanded_bytes, max(path.stat().st_size * limits.expansion, CHUNK))
    with gzip.open(path, "rb") as source, _beside() as target:
        try:
            _copy(source, target, most)
        except DAMAGED as error:
            raise BadData(f"the compressed file is cut short or damaged ({error})") from error
        return Path(target.name)


def _beside() -> IO[bytes]:
    return tempfile.NamedTemporaryFile(prefix="fractal-upload-", delete=False)


def _copy(source: Any, target: IO[bytes], most: int) -> None:
    size = 0
    while chunk := source.read(CHUNK):
        size += len(chunk)
        if size > most:
            raise BadData(f"the compressed file holds more than {most:,} bytes: upload it in parts")
        target.write(chunk)


def _as_utf8(path: Path, start: bytes, limits: Limits) -> tuple[Path, str]:
    """Return a file of UTF-8 that says the same, and which encoding was taken where it was another."""
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if start.startswith(mark):
            return _recoded(path, name), "UTF-16"
    if _is_utf8(path):
        return path, ""
    if start.count(b"\0") > len(start) // 100:
        raise BadData("this is no text, and no format that is known: upload JSON, CSV, XLSX or Parquet")
    if start.lstrip()[:1] in (b"{", b"["):  # JSON is UTF-8: a wrong byte is a wrong row, told by the reader
        return path, ""
    return _recoded(path, "cp1252"), "Windows-1252"


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _recoded(path: Path, encoding: str) -> Path:
    with path.open("r", encoding=encoding, errors="replace", newline="") as source, _beside() as target:
        while text := source.read(CHUNK):
            target.write(text.encode("utf-8", "replace"))
        return Path(target.name)


def _delimiter(text: str) -> str:
    """Return what parts the columns: the character that the header has, and the rows after it as often."""
    best, score = "", 0
    for delimiter in DELIMITERS:
        try:
            rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row][:20]
        except csv.Error:
            continue
        if len(rows) > 1:  # the last row may be cut
            width = len(rows[0])
            same = sum(len(row) == width for row in rows[1:-1] or rows[1:])
            points = (width - 1) * same * 100 // max(len(rows[1:-1] or rows[1:]), 1)
            if width > 1 and points > score:
                best, score = delimiter, points
        elif len(rows) == 1 and len(rows[0]) > 1 and not score and len(text.splitlines()) == 1 and len(text) < 500:
            best = best or (delimiter if delimiter != "," else "")
    return best


def _array(path: Path) -> Iterator[Row | BadRow]:
    """The elements of a JSON array, one after another: what stands before a damage comes through."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape").lstrip("\ufeff")
    decoder, place, number = json.JSONDecoder(), text.index("[") + 1, 1
    while True:
        place = _past(text, place)
        if text[place : place + 1] in ("]", ""):
            break
        start = place
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            yield BadRow(number, BadData(f"the array is damaged from here on: {error}"), _shown(text[place:]))
            return
        if NO_TEXT.search(text, start, place):
            problem = "found a byte that is not UTF-8: convert the file to UTF-8"
            yield BadRow(number, BadData(problem), _shown(text[start:place]))
        elif isinstance(value, dict):
            yield Row(number, value)
        else:
            problem = f"an element of the array is a {type(value).__name__}: give an object with a name for each value"
            yield BadRow(number, BadData(problem), str(value)[:2_000])
        number += 1
        place = _past(text, place)
        place += text[place : place + 1] == ","
    if text[place : place + 1] != "]":
        yield BadRow(number, BadData("the array has no end: the file may be cut short"), "")


def _shown(text: str) -> str:
    return text[:2_000].encode("utf-8", "backslashreplace").decode()


def _past(text: str, place: int) -> int:
    """Return the place of the next character that is no white space."""
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place


def _paragraphs(path: Path) -> Iterator[Row | BadRow]:
    """Pasted text: every paragraph is a response."""
    text = path.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff")
    line = 1
    for block in text.replace("\r\n", "\n").split("\n\n"):
        if block.strip():
            yield Row(line, {"response": block.strip()})
        line += block.count("\n") + 2


def _parquet(path: Path, limits: Limits) -> Iterator[Row | BadRow]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra("Reading Parquet", "data", "pyarrow") from error
    try:
        facts = parquet.ParquetFile(path).metadata
        groups = [facts.row_group(number) for number in range(facts.num_row_groups)]
    except Exception as error:  # a file that was made to break readers breaks them in many ways
        raise BadData(f"the Parquet file cannot be read: {error}") from error
    if facts.num_rows > limits.upload_rows or sum(g.total_byte_size for g in groups) > limits.expanded_bytes:
        raise BadData(f"the file holds {facts.num_rows:,} rows: upload at most {limits.upload_rows:,}, or less text")
    yield from _guarded(READERS.build("parquet").rows(str(path)), "Parquet")


def _guarded(rows: Iterator[Row | BadRow], kind: str) -> Iterator[Row | BadRow]:
    try:
        yield from rows
    except BadData:
        raise
    except Exception as error:
        raise BadData(f"the {kind} file cannot be read: {type(error).__name__}: {str(error)[:200]}") from error


def _xlsx(path: Path, limits: Limits) -> Iterator[Row | BadRow]:
    """The first sheet of a workbook, its first row the names of the columns; formulas come as their last values."""
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise MissingExtra("Reading XLSX", "serve", "openpyxl") from error
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(part.file_size for part in packed.infolist())
            if size > min(limits.expanded_bytes, max(path.stat().st_size, CHUNK) * limits.expansion):
                raise BadData(f"the workbook opens up to {size:,} bytes: upload it in parts")
        stream = path.open("rb")  # by its name alone a workbook would be refused
        workbook = load_workbook(stream, read_only=True, data_only=True, keep_links=False)
        sheet = workbook.worksheets[0]
        rows = enumerate(sheet.iter_rows(values_only=True), 1)
        first = next(((line, cells) for line, cells in rows if any(cell is not None for cell in cells)), None)
    except BadData:
        raise
    except Exception as error:
        raise BadData(f"the workbook cannot be read: {type(error).__name__}: {str(error)[:200]}") from error
    if first is None:
        return
    names = [str(cell).strip() if cell is not None else f"column {place}" for place, cell in enumerate(first[1], 1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadData(f"two columns are called {twice!r}: name every column once", field=twice)
    yield from _guarded(_sheet_rows(rows, names), "XLSX")


def _sheet_rows(rows: Iterator[tuple[int, tuple[Any, ...]]], names: list[str]) -> Iterator[Row]:
    for line, cells in rows:
        if any(cell is not None for cell in cells):
            fields = {name: _cell(cell) for name, cell in zip(names, cells, strict=False)}
            yield Row(line, fields)


def _cell(cell: Any) -> Any:
    return cell if cell is None or isinstance(cell, str | int | float | bool) else str(cell)


def _bounded(rows: Iterator[Row | BadRow], limits: Limits) -> Iterator[Row | BadRow]:
    for number, row in enumerate(rows, 1):
        if number > limits.upload_rows:
            raise BadData(f"the file holds more than {limits.upload_rows:,} rows: upload it in parts")
        yield row if isinstance(row, BadRow) else dataclasses.replace(row, fields=_plain(row.fields))


def _plain(fields: Any) -> dict[str, Any]:
    """Values as JSON has them: dates and the like become text."""
    try:
        json.dumps(fields, allow_nan=False)
    except (TypeError, ValueError):
        return {str(name): _plain_value(value) for name, value in fields.items()}
    return dict(fields)


def _plain_value(value: Any) -> Any:
    if isinstance(value, dict):
        return _plain(value)
    if isinstance(value, list | tuple):
        return [_plain_value(part) for part in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
