"""Small files as users have them: one set of rated answers, written in the many ways that people keep such things."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fractal.datasets.synthetic import make_responses
from fractal.records import Response

COUNT = 48
Row = dict[str, Any]


def responses() -> list[Response]:
    """Rated answers with a query and a context each."""
    return [dataclasses.replace(r, query=f"What of {r.id}?") for r in make_responses(COUNT, task="summaries", seed=2)]


RESPONSES = responses()


def rows(**names: str) -> list[Row]:
    """Return plain rows under usual names; `context="kb"` renames a column, "" leaves it out."""
    made = []
    for number, response in enumerate(RESPONSES):
        row = {
            "id": f"r{number}",
            "question": response.query,
            "context": "\n".join(response.context),
            "answer": response.text,
            "label": int(response.label or 0),
        }
        made.append({names.get(name, name): value for name, value in row.items() if names.get(name, name)})
    return made


def jsonl(listed: list[Row]) -> bytes:
    """Write a row a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in listed).encode()


def table(listed: list[Row], delimiter: str = ",", encoding: str = "utf-8") -> bytes:
    """Write a table with a header."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(listed[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(listed)
    return stream.getvalue().encode(encoding)


def changed(change: Callable[[Row, int], Any], **names: str) -> list[Row]:
    """Return rows that were changed one by one; a change gives what is to be updated."""
    return [{**row, **(change(row, number) or {})} for number, row in enumerate(rows(**names))]


def labelled(write: Callable[[int, int], Any], name: str = "label") -> list[Row]:
    """Return rows whose label is written otherwise: of the label and the row's number."""
    return changed(lambda row, number: {name: write(row["label"], number)})


def workbook(path: Path, listed: list[Row], before: bool = False) -> None:
    """Write a sheet of Excel."""
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Ratings"
    if before:
        sheet.append([])
    sheet.append(list(listed[0]))
    for row in listed:
        sheet.append(list(row.values()))
    book.save(path)
