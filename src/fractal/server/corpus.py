"""Responses in the database: each once a project, with the labels and corrections that count at a given moment."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from fractal.records import Preference, Response, Sentence
from fractal.server.tables import (
    Correction,
    Dataset,
    DatasetPair,
    DatasetResponse,
    LabelChange,
    StoredResponse,
    StoredSentence,
)

__all__ = [
    "Moment",
    "current_datasets",
    "insert_responses",
    "load_pairs",
    "load_responses",
    "now",
    "response_key",
    "sentence_labels",
    "whole_labels",
]

AT_ONCE = 500  # parameters of one statement stay below what SQLite takes


@dataclasses.dataclass(frozen=True)
class Moment:
    """Which data sets, and which labels and corrections, count: those up to these numbers."""

    datasets: tuple[int, ...]
    label: int
    correction: int

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Moment:
        """Read it from a job's payload."""
        return cls(tuple(payload["datasets"]), int(payload["label"]), int(payload["correction"]))


def now(session: Session, project: int) -> Moment:
    """Return the moment that is now."""
    label = session.scalar(select(func.coalesce(func.max(LabelChange.id), 0)))
    correction = session.scalar(select(func.coalesce(func.max(Correction.id), 0)))
    return Moment(tuple(current_datasets(session, project)), label or 0, correction or 0)


def current_datasets(session: Session, project: int) -> list[int]:
    """Return the newest whole version of every data set of a project."""
    newest = (
        select(Dataset.name, func.max(Dataset.version).label("version"))
        .where(Dataset.project_id == project, Dataset.state != "importing")
        .group_by(Dataset.name)
        .subquery()
    )
    rows = session.scalars(
        select(Dataset.id)
        .join(newest, (Dataset.name == newest.c.name) & (Dataset.version == newest.c.version))
        .where(Dataset.project_id == project)
        .order_by(Dataset.id)
    )
    return list(rows)


def response_key(response: Response) -> str:
    """Return the hash of all that never changes of a response: everything but its labels."""
    spans = [[sentence.start, sentence.end] for sentence in response.sentences]
    parts = [response.id, response.query, response.context, response.text, spans, response.group]
    carried = [dict(response.extra), {name: list(values) for name, values in response.columns.items()}]
    text = json.dumps([*parts, *carried, dict(response.aspects)], sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def insert_responses(
    session: Session, project: int, responses: Sequence[Response], author: str, source: str = "import"
) -> dict[str, int]:
    """Add responses that are new to a project, and what their labels say that is new; return their rows by key."""
    keys = [response_key(response) for response in responses]
    rows = _known(session, project, keys)
    fresh = {key: r for key, r in zip(keys, responses, strict=True) if key not in rows}
    if fresh:
        session.execute(insert(StoredResponse), [_response_row(project, key, r) for key, r in fresh.items()])
        rows |= _known(session, project, list(fresh))
        sentences = [
            _sentence_row(rows[key], place, s) for key, r in fresh.items() for place, s in enumerate(r.sentences)
        ]
        session.execute(insert(StoredSentence), sentences)
    _add_labels(session, {rows[key]: r for key, r in zip(keys, responses, strict=True)}, author, source)
    return rows


def _known(session: Session, project: int, keys: Sequence[str]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for first in range(0, len(keys), AT_ONCE):
        part = keys[first : first + AT_ONCE]
        query = select(StoredResponse.key, StoredResponse.id)
        for key, row in session.execute(
            query.where(StoredResponse.project_id == project, StoredResponse.key.in_(part))
        ):
            rows[key] = row
    return rows


def _response_row(project: int, key: str, response: Response) -> dict[str, Any]:
    return {
        "project_id": project,
        "key": key,
        "external_id": response.id,
        "query": response.query,
        "context": list(response.context),
        "text": response.text,
        "group": response.group,
        "aspects": dict(response.aspects),
        "columns": {name: list(values) for name, values in response.columns.items()},
        "extra": json.loads(json.dumps(dict(response.extra), default=str)),
    }


def _sentence_row(response: int, place: int, sentence: Sentence) -> dict[str, Any]:
    return {
        "response_id": response,
        "place": place,
        "text": sentence.text,
        "start": sentence.start,
        "end": sentence.end,
    }


def _add_labels(session: Session, responses: Mapping[int, Response], author: str, source: str) -> None:
    """Add what a file says of responses and sentences where it is not what a file said last: people's word stays."""
    imported = _last_imported(session, list(responses))
    current = whole_labels(session, list(responses))
    imported_labels = _imported_sentences(session, list(responses))
    moment = time.time()
    labels, parts = [], []
    for row, response in responses.items():
        if response.label is not None and imported.get(row) != response.label:
            about = {"response_id": row, "old": current.get(row), "new": response.label, "source": source}
            labels.append({**about, "author": author, "note": "", "created_at": moment})
        for place, sentence in enumerate(response.sentences):
            if sentence.label is not None and imported_labels.get((row, place)) != sentence.label:
                verdict = {0.0: "bad", 1.0: "good"}.get(sentence.label, "part")
                about = {
                    "response_id": row,
                    "place": place,
                    "old": imported_labels.get((row, place)),
                    "new": sentence.label,
                }
                said = {"verdict": verdict, "source": "import", "author": "import", "note": author}
                parts.append({**about, **said, "created_at": moment})
    if labels:
        session.execute(insert(LabelChange), labels)
    if parts:
        session.execute(insert(Correction), parts)


def _in_runs(query: Any, column: Any, session: Session, ids: Sequence[int]) -> Iterator[Any]:
    for first in range(0, len(ids), AT_ONCE):
        yield from session.execute(query.where(column.in_(ids[first : first + AT_ONCE])))


def _last_imported(session: Session, ids: Sequence[int]) -> dict[int, float | None]:
    query = (
        select(LabelChange.response_id, LabelChange.new).where(LabelChange.source == "import").order_by(LabelChange.id)
    )
    return dict(map(tuple, _in_runs(query, LabelChange.response_id, session, ids)))


def _imported_sentences(session: Session, ids: Sequence[int]) -> dict[tuple[int, int], float | None]:
    query = select(Correction.response_id, Correction.place, Correction.new).where(Correction.source == "import")
    rows = _in_runs(query.order_by(Correction.id), Correction.response_id, session, ids)
    return {(row, place): label for row, place, label in rows}


def whole_labels(session: Session, ids: Sequence[int], until: int | None = None) -> dict[int, float | None]:
    """Return the newest label of each response."""
    query = select(LabelChange.response_id, LabelChange.new).order_by(LabelChange.id)
    if until is not None:
        query = query.where(LabelChange.id <= until)
    return dict(map(tuple, _in_runs(query, LabelChange.response_id, session, ids)))


def sentence_labels(
    session: Session, ids: Sequence[int], until: int | None = None
) -> dict[tuple[int, int], dict[str, tuple[str, float | None]]]:
    """Return what each author said last of each sentence: {(response, place): {author: (verdict, label)}}."""
    query = select(
        Correction.response_id, Correction.place, Correction.author, Correction.verdict, Correction.new
    ).order_by(Correction.id)
    if until is not None:
        query = query.where(Correction.id <= until)
    said: dict[tuple[int, int], dict[str, tuple[str, float | None]]] = defaultdict(dict)
    for row, place, author, verdict, label in _in_runs(query, Correction.response_id, session, ids):
        said[row, place][author] = (verdict, label)
    return said


def settled(said: Mapping[str, tuple[str, float | None]]) -> float | None:
    """Return the label that counts: the mean of what people said; what a file said counts where nobody did."""
    people = [label for author, (_, label) in said.items() if label is not None and author != "import"]
    labels = people or [label for _, label in said.values() if label is not None]
    return sum(labels) / len(labels) if labels else None


def load_responses(session: Session, moment: Moment) -> dict[int, Response]:
    """Return the responses of a moment by their rows, with the labels that count then."""
    query = (
        select(DatasetResponse.response_id)
        .where(DatasetResponse.dataset_id.in_(moment.datasets))
        .order_by(DatasetResponse.dataset_id, DatasetResponse.place)
    )
    return responses_of(session, list(dict.fromkeys(session.scalars(query))), moment)


def responses_of(session: Session, ids: Sequence[int], moment: Moment | None = None) -> dict[int, Response]:
    """Return these responses by their rows, with the labels that count at a moment, or now."""
    labels = whole_labels(session, ids, moment.label if moment else None)
    said = sentence_labels(session, ids, moment.correction if moment else None)
    sentences: dict[int, list[Sentence]] = defaultdict(list)
    query = select(
        StoredSentence.response_id, StoredSentence.place, StoredSentence.text, StoredSentence.start, StoredSentence.end
    ).order_by(StoredSentence.response_id, StoredSentence.place)
    for row, place, text, start, end in _in_runs(query, StoredSentence.response_id, session, ids):
        sentences[row].append(Sentence(text, start, end, settled(said.get((row, place), {}))))
    stored = {row.id: row for (row,) in _in_runs(select(StoredResponse), StoredResponse.id, session, ids)}
    return {id: _record(stored[id], sentences[id], labels.get(id)) for id in ids if id in stored}


def _record(row: StoredResponse, sentences: Sequence[Sentence], label: float | None) -> Response:
    return Response(
        id=row.external_id,
        sentences=tuple(sentences),
        text=row.text,
        query=row.query,
        context=tuple(row.context),
        label=label,
        group=row.group,
        aspects=row.aspects,
        columns={name: tuple(values) for name, values in row.columns.items()},
        extra=row.extra,
    )


def load_pairs(session: Session, moment: Moment, responses: Mapping[int, Response]) -> list[Preference]:
    """Return the preferences of a moment."""
    query = select(DatasetPair).where(DatasetPair.dataset_id.in_(moment.datasets))
    pairs = session.scalars(query.order_by(DatasetPair.dataset_id, DatasetPair.place))
    return [
        Preference(responses[pair.better_id], responses[pair.worse_id], pair.tie, pair.external_id) for pair in pairs
    ]
