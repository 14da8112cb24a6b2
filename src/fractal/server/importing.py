"""Rows of a file → a version of a data set: columns guessed and confirmed, label words mapped, bad rows kept apart."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fractal.errors import BadData, FractalError
from fractal.readers import ReadReport
from fractal.readers.columns import ColumnRoles
from fractal.readers.labels import read_label
from fractal.readers.schemas import SCHEMAS
from fractal.readers.session import ReadSession
from fractal.readers.sources import BadRow, Row
from fractal.records import Preference, Response
from fractal.server.corpus import insert_responses, response_key
from fractal.server.settings import Limits
from fractal.server.tables import Dataset, DatasetPair, DatasetResponse
from fractal.server.uploads import open_rows

__all__ = ["ColumnMapping", "add_records", "content_hash", "new_dataset", "parse", "preview"]

SHOWN_ROWS = 10
LOOKED_AT = 2_000  # rows that a preview reads
MOST_WORDS = 50  # different label values that are shown
SHOWN_CHARACTERS = 400
DATA_CHECKED = 20_000  # responses that the checks of the data look at


@dataclasses.dataclass(frozen=True)
class ColumnMapping:
    """How a file is read, as someone has confirmed it."""

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)  # role → column; "" means that there is none
    words: Mapping[str, float] = dataclasses.field(default_factory=dict)  # label as it is written → label
    scale: str = ""
    splitter: str = "sentences"

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> ColumnMapping:
        """Read it from a job's payload."""
        return cls(**{field.name: payload[field.name] for field in dataclasses.fields(cls) if payload.get(field.name)})


def preview(path: Path, file_name: str, limits: Limits) -> dict[str, Any]:
    """Return what a person confirms: the format, the columns, the roles guessed for them, ten rows, the labels."""
    kind, rows = open_rows(path, file_name, limits)
    report = ReadReport()
    fields = ColumnRoles(None, report)
    shown: list[dict[str, str]] = []
    broken: list[str] = []
    columns: dict[str, None] = {}
    values: dict[str, Counter[str]] = {}
    for row in islice(rows, LOOKED_AT):
        if isinstance(row, BadRow):
            broken.append(f"line {row.line}: {row.error.problem}")
            continue
        columns |= dict.fromkeys(map(str, row.fields))
        fields.assign({str(name): value for name, value in row.fields.items()})
        _count_values(values, row.fields)
        if len(shown) < SHOWN_ROWS:
            shown.append({str(name): _short(value) for name, value in row.fields.items()})
    if not columns:
        raise BadData("there is no row in this file" + (f"; {broken[0]}" if broken else ""))
    roles = {role: column for role, column in report.columns.items() if column in columns}
    return {
        "kind": kind,
        "columns": list(columns),
        "roles": roles,
        "rows": shown,
        "broken": broken[:10],
        "values": {name: dict(counts.most_common(MOST_WORDS)) for name, counts in values.items() if len(counts) <= 200},
        "notes": report.notes,
    }


def _count_values(values: dict[str, Counter[str]], fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if value is not None and not isinstance(value, list | dict) and len(str(value)) <= 60:
            counts = values.setdefault(str(name), Counter())
            if len(counts) <= 200:
                counts[str(value).strip()] += 1


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def label_choices(values: Mapping[str, int]) -> dict[str, Any]:
    """Say what label values mean by themselves, which scale their numbers suggest, and which words are unknown."""
    unknown, numbers = [], []
    for value in values:
        try:
            numbers.append(float(value))
            continue
        except ValueError:
            pass
        try:
            read_label(value)
        except FractalError:
            unknown.append(value)
    scale = ""
    if numbers and (max(numbers) > 1 or min(numbers) < 0):
        low = 1 if min(numbers) >= 1 else 0 if min(numbers) >= 0 else int(min(numbers))
        high = next((top for top in (5, 10, 100) if max(numbers) <= top), int(max(numbers)) + 1)
        scale = f"{low}..{high}"
    return {"unknown": unknown, "scale": scale}


def parse(
    path: Path, file_name: str, mapping: ColumnMapping, limits: Limits, rejects: Path
) -> tuple[list[Response | Preference], ReadReport]:
    """Read a whole file; a row that is wrong goes to the rejects with its reason, and no good row is lost."""
    kind, rows = open_rows(path, file_name, limits)
    report = ReadReport()
    session = ReadSession(
        file_name or "the upload",
        columns=mapping.columns,
        splitter=mapping.splitter,
        label_scale=mapping.scale or None,
        on_error="reject",
        rejects=rejects,
        report=report,
    )
    report.reader = kind
    column = mapping.columns.get("label", "")
    records: list[Response | Preference] = []
    with session.open():
        for row in rows:
            records += session.accept(_with_words(row, mapping.words, column, session), SCHEMAS["any"])
    return records, report


def _with_words(row: Row | BadRow, words: Mapping[str, float], column: str, session: ReadSession) -> Row | BadRow:
    """Put the label that a person gave to a word in the word's place."""
    if isinstance(row, BadRow) or not words:
        return row
    name = column or session.report.columns.get("label", "label")
    written = str(row.fields.get(name, "")).strip()
    if written not in words:
        return row
    return dataclasses.replace(row, fields={**row.fields, name: words[written]})


def new_dataset(session: Session, project: int, name: str, by: str, **fields: Any) -> Dataset:
    """Begin the next version of a data set."""
    last = session.scalar(select(func.max(Dataset.version)).where(Dataset.project_id == project, Dataset.name == name))
    dataset = Dataset(
        project_id=project, name=name, version=(last or 0) + 1, created_at=time.time(), created_by=by, **fields
    )
    session.add(dataset)
    session.flush()
    return dataset


def add_records(session: Session, dataset: Dataset, first: int, records: Sequence[Response | Preference]) -> None:
    """Add records to a data set from a place on; to add the same ones again changes nothing."""
    wholes = [record for record in records if isinstance(record, Response)]
    pairs = [record for record in records if isinstance(record, Preference)]
    flat = [*wholes, *(response for pair in pairs for response in (pair.better, pair.worse))]
    stored = insert_responses(session, dataset.project_id, flat, author=f"{dataset.name}, version {dataset.version}")
    there = set(session.scalars(select(DatasetResponse.place).where(DatasetResponse.dataset_id == dataset.id)))
    for place, response in enumerate(flat, first):
        if place not in there:
            row = stored[response_key(response)]
            session.add(DatasetResponse(dataset_id=dataset.id, place=place, response_id=row))
    paired_places = set(session.scalars(select(DatasetPair.place).where(DatasetPair.dataset_id == dataset.id)))
    for place, pair in enumerate(pairs, first):
        if place not in paired_places:
            session.add(
                DatasetPair(
                    dataset_id=dataset.id,
                    place=place,
                    better_id=stored[response_key(pair.better)],
                    worse_id=stored[response_key(pair.worse)],
                    tie=pair.tie,
                    external_id=pair.id,
                )
            )
    session.flush()


def content_hash(keys: Iterable[str], report: Mapping[str, Any]) -> str:
    """Return the hash of what a version of a data set holds."""
    digest = hashlib.sha256(json.dumps(report.get("mapping", {}), sort_keys=True).encode())
    for key in keys:
        digest.update(key.encode())
    return digest.hexdigest()


def chunks(
    records: Sequence[Response | Preference], size: int
) -> Iterator[tuple[int, Sequence[Response | Preference]]]:
    """Cut records into runs that are written at once, each with the place of its first."""
    place = 0
    for first in range(0, len(records), size):
        run = records[first : first + size]
        yield place, run
        place += sum(2 if isinstance(record, Preference) else 1 for record in run)
