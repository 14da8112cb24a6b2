"""Tables of text, CSV and TSV: one record a row under a header, or one sentence a row as our own writer makes them."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import re
from collections import Counter, deque
from collections.abc import Iterator
from typing import IO, Any

from fractal.errors import BadData, BadSpec
from fractal.readers.base import READERS, Reader
from fractal.readers.sources import MAX_LINE, SHOWN, BadRow, Row, name_of, numbered_lines, open_bytes

OURS = {"id", "sentence_index", "sentence"}  # columns of the tables that our writer makes
NEUTRAL = re.compile(r"'+[=+\-@\t\r\n]")
BYTES_A_ROW = 64  # of a sentence in memory beside its text, at least
SHOWN_NAMES = 100  # of a header that is wrong
OF_A_SENTENCE = {
    "sentence_index": "",
    "sentence_count": "",
    "sentence": "",
    "start": "",
    "end": "",
    "sentence_label": "sentence_labels",
    "score": "sentence_scores",
    "spread": "sentence_spread",
    "disaggregated_label": "disaggregated_labels",
}


@READERS.register("csv")
@dataclasses.dataclass(frozen=True)
class Csv(Reader):
    """Comma-separated values with a header: a record a row, or a sentence a row (`id, sentence_index, sentence, …`)."""

    delimiter: str = ","
    encoding: str = "utf-8"  # as cp1252, which Excel writes on Windows

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise BadSpec(f"{self.delimiter!r} cannot part columns: give one character, as in csv(delimiter=';').")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise BadSpec(f"No encoding is called {self.encoding!r}: give one as Python names it, as cp1252.") from None

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield a mapping of column to cell for every row."""
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
        with open_bytes(source) as stream:
            records = _Records(stream, name_of(source), self.delimiter, self.encoding)
            header = records.header()
            if header is None:
                return
            rows = records.rows(header)
            yield from _by_response(map(_with_formulas, rows)) if {*header} >= OURS else rows


@READERS.register("tsv")
@dataclasses.dataclass(frozen=True)
class Tsv(Csv):
    """Tab-separated values with a header, one record a row."""

    delimiter: str = "\t"


class _Records:
    """Rows that may run over several lines; a quote that is never closed costs its own line, not those after it."""

    def __init__(self, stream: IO[bytes], name: str, delimiter: str, encoding: str = "utf-8") -> None:
        self._fresh = numbered_lines(stream, name)
        self._again: deque[tuple[int, bytes | BadRow]] = deque()
        self._name, self._delimiter, self._encoding = name, delimiter, encoding

    def _lines(self) -> Iterator[tuple[int, bytes | BadRow]]:
        while True:
            line = self._again.popleft() if self._again else next(self._fresh, None)
            if line is None:
                return
            yield line

    def header(self) -> list[str] | None:
        """Return the names of the columns, None for an empty file; without them no row can be understood."""
        for row in self._cells(0):
            if isinstance(row, BadRow):
                raise row.error.at(self._name, row.line)
            names = [name.strip() for name in row[1]]
            bad = next((name for name, count in Counter(names).items() if not name or count > 1 or "\0" in name), None)
            if bad is not None:
                problem = f"the header is {str(names[:SHOWN_NAMES])[:2_000]}: name every column, no name twice"
                raise BadData(problem, source=self._name, line=row[0], field=bad)
            return names
        return None

    def rows(self, header: list[str]) -> Iterator[Row | BadRow]:
        """Yield the rows below the header."""
        for row in self._cells(len(header)):
            yield row if isinstance(row, BadRow) else Row(row[0], dict(zip(header, row[1], strict=True)))

    def _cells(self, width: int) -> Iterator[tuple[int, list[str]] | BadRow]:
        for line in self._lines():
            number, content = line
            if isinstance(content, BadRow):
                yield content
            elif content.strip(b"\r\n"):
                self._again.appendleft(line)
                yield self._one(number, width)

    def _one(self, number: int, width: int) -> tuple[int, list[str]] | BadRow:
        """Read one row from its first line on; where it fails, every line after the first is given back."""
        used: list[tuple[int, bytes | BadRow]] = []
        problem = ""
        try:
            cells = next(csv.reader(self._text(used), delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            problem = f"no row of a table ({error}): close every quote, and write a quote inside one twice"
        except BadData as error:
            problem = error.problem
        if not problem and width and len(cells) != width:
            problem = f"{len(cells)} cells under {width} columns: put quotes around cells with a {self._delimiter!r}"
        if not problem:
            return number, cells
        self._again.extendleft(reversed(used[1:]))
        raw = used[0][1] if used else b""
        shown = raw[:2000].decode("utf-8", "backslashreplace").rstrip("\r\n") if isinstance(raw, bytes) else raw.raw
        return BadRow(number, BadData(problem), shown)

    def _text(self, used: list[tuple[int, bytes | BadRow]]) -> Iterator[str]:
        length = 0
        for line in self._lines():
            used.append(line)
            content = line[1]
            if isinstance(content, BadRow):
                raise BadData("the row runs into a line that cannot be read: close every quote")
            length += len(content)
            if length > MAX_LINE:
                raise BadData(f"the row is longer than {MAX_LINE:,} bytes: close every quote")
            try:
                text = content.decode(self._encoding)
            except UnicodeDecodeError as error:
                byte = content[error.start : error.start + 1].hex()
                raise BadData(
                    f"found the byte 0x{byte}, which is not {self._encoding.upper()}: convert the file to UTF-8, or "
                    "name its encoding, as in reader=\"csv(encoding='cp1252')\""
                ) from None
            yield text


def _by_response(rows: Iterator[Row | BadRow]) -> Iterator[Row | BadRow]:
    """Join rows of one sentence each: those of one id (and aspect) that follow each other are a response."""
    for (kind, _), group in itertools.groupby(rows, _belongs_to):
        if kind == "bad":
            yield from group
        else:
            yield _one_response(row for row in group if isinstance(row, Row))


def _with_formulas(row: Row | BadRow) -> Row | BadRow:
    """Take off the apostrophe that our writer puts before what a spreadsheet would take for a formula."""
    if isinstance(row, BadRow):
        return row
    cells = {name: cell[1:] if NEUTRAL.match(cell) else cell for name, cell in row.fields.items()}
    return Row(row.line, cells)


def _belongs_to(row: Row | BadRow) -> tuple[str, Any]:
    if isinstance(row, BadRow):
        return "bad", row.line
    return "sentence", (row.fields["id"], row.fields.get("aspect"))


def _one_response(group: Iterator[Row]) -> Row | BadRow:
    row = next(group)
    line, first = row.line, dict(row.fields)
    columns = {name: [cell] for name, cell in first.items() if name in OF_A_SENTENCE}
    size = 0
    for row in group:
        size += BYTES_A_ROW + sum(len(row.fields[name]) for name in columns)
        if size <= MAX_LINE:
            for name, cells in columns.items():
                cells.append(row.fields[name])
    if size > MAX_LINE:
        problem = f"the sentences of {first['id'][:80]!r} take {size:,} bytes, at most {MAX_LINE:,} are read: cut it"
        return BadRow(line, BadData(problem, field="sentence"), str(first)[:SHOWN])
    numbers = columns["sentence_index"]
    count = first.get("sentence_count", "") or str(len(numbers))
    if numbers != [str(place) for place in range(1, len(numbers) + 1)] or count != str(len(numbers)):
        problem = (
            f"found the sentences {', '.join(numbers)[:80]} of {first['id']!r}, which has {count[:20]}: "
            "keep all of its rows together and number them 1, 2, 3, …"
        )
        return BadRow(line, BadData(problem, field="sentence_index"), str(first))
    fields = {name: value for name, value in first.items() if name not in OF_A_SENTENCE}
    fields["sentences"] = columns["sentence"]
    for name, plural in OF_A_SENTENCE.items():
        if name in columns and plural and any(columns[name]):
            fields[plural] = columns[name]
    if "start" in columns and "end" in columns and all(columns["start"] + columns["end"]):
        fields["offsets"] = [_numbers(pair) for pair in zip(columns["start"], columns["end"], strict=True)]
    blank = {name for name, value in fields.items() if value == "" and name != "group"}
    return Row(line, {name: value or None for name, value in fields.items() if name not in blank})


def _numbers(pair: tuple[str, str]) -> list[Any]:
    return [int(text) if text.isdecimal() else text for text in pair]
