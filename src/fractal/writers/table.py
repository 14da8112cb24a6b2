"""Tables: CSV with one sentence a row for spreadsheets, and Parquet with one record a row."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import IO, Any, ClassVar

from fractal.errors import BadData, MissingExtra
from fractal.records import Preference, ScoredResponse
from fractal.writers.base import WRITERS, Writer
from fractal.writers.jsonl import encoded
from fractal.writers.native import RESERVED, Writable, to_native

RECORDS_AT_ONCE = 1024
EVERY_ROW = ("id", "group", "label", "response_score", "aspect")
FIRST_ROW = ("query", "context", "response", "aspects", "columns", "extra")
OF_A_SENTENCE = {
    "sentence_labels": "sentence_label",
    "sentence_scores": "score",
    "sentence_spread": "spread",
    "disaggregated_labels": "disaggregated_label",
}
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")  # what a spreadsheet may run begins so; with apostrophes, what was neutral
HEADER = (
    *("id", "sentence_index", "sentence_count", "sentence"),
    *OF_A_SENTENCE.values(),
    *("response_score", "label", "group", "aspect", "start", "end"),
    *FIRST_ROW,
)


@WRITERS.register("csv")
@dataclasses.dataclass(frozen=True)
class Csv(Writer):
    """CSV with one sentence a row, for spreadsheets; the long fields of a response stand in its first row only.

    A text that a spreadsheet would run as a formula gets an apostrophe before it, which our reader takes off again.
    """

    endings: ClassVar[tuple[str, ...]] = (".csv",)
    delimiter: str = ","
    raw: bool = False  # leave cells that a spreadsheet would take for formulas as they are

    def write_to(self, stream: IO[bytes], records: Iterable[Writable]) -> None:
        """Write the header, then every sentence of every response."""
        buffer = io.StringIO(newline="")
        table = csv.DictWriter(buffer, HEADER, restval="", delimiter=self.delimiter, lineterminator="\r\n")
        table.writeheader()
        for record in records:
            rows = _sentence_rows(record)
            table.writerows(rows if self.raw else map(_without_formulas, rows))
            stream.write(_drained(buffer))
        stream.write(_drained(buffer))


@WRITERS.register("tsv")
@dataclasses.dataclass(frozen=True)
class Tsv(Csv):
    """Like `csv`, parted by tabs."""

    endings: ClassVar[tuple[str, ...]] = (".tsv",)
    delimiter: str = "\t"


def _without_formulas(row: dict[str, Any]) -> dict[str, Any]:
    return {name: f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell for name, cell in row.items()}


def _drained(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadData(f"the text {text[error.start - 20 : error.start + 20]!r} cannot be written: {error}") from error


def _sentence_rows(record: Writable) -> Iterator[dict[str, Any]]:
    if isinstance(record, Preference):
        raise BadData("a preference has no place in a table of sentences: write preferences as jsonl or parquet")
    fields = _with_extra(to_native(record))
    response = record.response if isinstance(record, ScoredResponse) else record
    fields["response"] = response.text
    shared = {name: _cell(fields.get(name)) for name in EVERY_ROW}
    first = {name: _cell(fields.get(name)) for name in FIRST_ROW}
    for place, sentence in enumerate(response.sentences):
        values = {column: _cell(fields[name][place]) for name, column in OF_A_SENTENCE.items() if fields.get(name)}
        position = {"sentence_index": place + 1, "sentence_count": len(response.sentences)}
        where = {"sentence": sentence.text, "start": sentence.start, "end": sentence.end}
        yield {**(first if not place else {}), **shared, **values, **position, **where}


def _cell(value: Any) -> Any:
    if value is None or value in ((), {}):
        return ""
    return encoded_text(value) if isinstance(value, dict | list | tuple) else value


def encoded_text(value: Any) -> str:
    """Return a value as JSON text, the way a table keeps lists and objects."""
    return encoded({"value": value})[len('{"value":') : -1].decode()


def _with_extra(fields: dict[str, Any]) -> dict[str, Any]:
    """Gather everything carried in the one column `extra`."""
    rest = {name: value for name, value in fields.items() if name not in RESERVED}
    return {name: value for name, value in fields.items() if name in RESERVED} | {
        "extra": rest | dict(fields.get("extra") or {})
    }


@WRITERS.register("parquet")
@dataclasses.dataclass(frozen=True)
class Parquet(Writer):
    """Parquet with one record a row; what is carried through stands in `extra` as JSON text."""

    endings: ClassVar[tuple[str, ...]] = (".parquet", ".pq")
    compression: str = "zstd"

    def write_to(self, stream: IO[bytes], records: Iterable[Writable]) -> None:
        """Write one row group after another; the first record says what kind the file holds."""
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise MissingExtra("Parquet", "data", "pyarrow") from error
        waiting = iter(records)
        first = next(waiting, None)
        schema = _schema(pyarrow, type(first))
        with pyarrow.parquet.ParquetWriter(stream, schema, compression=self.compression) as table:
            while first is not None:
                group = [first, *itertools.islice(waiting, RECORDS_AT_ONCE - 1)]
                table.write_table(_table(pyarrow, schema, group))
                first = next(waiting, None)


def _table(pyarrow: Any, schema: Any, group: list[Writable]) -> Any:
    kinds = {type(record).__name__ for record in group}
    if len(kinds) > 1:
        raise BadData(f"found {' and '.join(sorted(kinds))} in one file: write each kind to a file of its own")
    try:
        return pyarrow.Table.from_pylist([_row(record) for record in group], schema=schema)
    except (pyarrow.ArrowException, ValueError, OverflowError, TypeError) as error:
        raise BadData(f"the records cannot be written as Parquet: {error}") from error


def _row(record: Writable) -> dict[str, Any]:
    if isinstance(record, Preference):
        preferred = "tie" if record.tie else "a"
        return {"id": record.id, "a": _row(record.better), "b": _row(record.worse), "preference": preferred}
    fields = _with_extra(to_native(record))
    fields["extra"] = encoded_text(fields["extra"]) if fields["extra"] else None
    for name in ("aspects", "columns"):
        fields[name] = list(fields.get(name, {}).items())
    return fields


def _schema(pyarrow: Any, kind: type) -> Any:
    text, number = pyarrow.string(), pyarrow.float64()
    numbers, texts = pyarrow.list_(number), pyarrow.list_(text)
    fields = {
        "id": text,
        "query": text,
        "context": texts,
        "response": text,
        "offsets": pyarrow.list_(pyarrow.list_(pyarrow.int64())),
        "sentences": texts,
        "label": number,
        "sentence_labels": numbers,
        "group": text,
        "aspects": pyarrow.map_(text, number),
        "columns": pyarrow.map_(text, numbers),
        "extra": text,
    }
    if kind is ScoredResponse:
        fields |= dict.fromkeys(("sentence_scores", "sentence_spread", "disaggregated_labels"), numbers)
        fields |= {"response_score": number, "aspect": text}
    if kind is Preference:
        side = pyarrow.struct(list(fields.items()))
        fields = {"id": text, "a": side, "b": side, "preference": text}
    return pyarrow.schema(list(fields.items()))
