"""What people say of sentences and responses: entered, never altered; who agrees with whom."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fractal.errors import BadData
from fractal.server.corpus import sentence_labels, whole_labels
from fractal.server.tables import Correction, Job, LabelChange, ScorerVersion, StoredResponse, StoredSentence

__all__ = ["agreement", "correct", "relabel", "since_training", "take_back"]

UNDO = "undo"  # the note of what takes back
LOOKED_BACK = 500
LABELS = {"good": 1.0, "bad": 0.0, "skip": None, "none": None}


def correct(session: Session, project: int, author: str, said: Sequence[Mapping[str, Any]]) -> list[Correction]:
    """Enter corrections: all or none."""
    ids = sorted({int(one["response"]) for one in said})
    sizes = _sizes(session, project, ids)
    before = {key: authors.get(author) for key, authors in sentence_labels(session, ids).items()}
    rows = []
    for one in said:
        response, place = int(one["response"]), int(one["place"])
        if not 0 <= place < sizes.get(response, 0):
            raise BadData(f"there is no sentence {place} of a response {response} in this project", field="place")
        old = before.get((response, place))
        row = Correction(
            response_id=response,
            place=place,
            verdict=one["verdict"],
            old=old[1] if old else None,
            new=LABELS[one["verdict"]],
            source="person",
            author=author,
            note=one.get("note", ""),
            created_at=time.time(),
        )
        before[response, place] = (row.verdict, row.new)
        session.add(row)
        rows.append(row)
    session.flush()
    return rows


def _sizes(session: Session, project: int, ids: Sequence[int]) -> dict[int, int]:
    query = (
        select(StoredSentence.response_id, func.count())
        .join(StoredResponse, StoredResponse.id == StoredSentence.response_id)
        .where(StoredResponse.project_id == project, StoredResponse.id.in_(ids))
        .group_by(StoredSentence.response_id)
    )
    return {row: count for row, count in session.execute(query)}


def take_back(session: Session, project: int, author: str) -> list[Correction]:
    """Take back the last thing that somebody said, by adding what they had said before; nothing where there is none."""
    query = (
        select(Correction)
        .join(StoredResponse, StoredResponse.id == Correction.response_id)
        .where(StoredResponse.project_id == project, Correction.author == author, Correction.source == "person")
        .order_by(Correction.id.desc())
        .limit(LOOKED_BACK)
    )
    standing: list[Correction] = []
    for row in reversed(list(session.scalars(query))):
        if row.note != UNDO:
            standing.append(row)
        elif standing:
            standing.pop()
    if not standing:
        return []
    last = standing[-1]
    verdict = "none" if last.old is None else "good" if last.old > 0.5 else "bad"
    said = {"response": last.response_id, "place": last.place, "verdict": verdict, "note": UNDO}
    return correct(session, project, author, [said])


def relabel(
    session: Session,
    project: int,
    author: str,
    response: int,
    label: float | None,
    note: str = "",
    source: str = "person",
) -> LabelChange:
    """Enter what somebody says of a whole response."""
    stored = session.get(StoredResponse, response)
    if stored is None or stored.project_id != project:
        raise BadData(f"there is no response {response} in this project", field="response")
    old = whole_labels(session, [response]).get(response)
    row = LabelChange(
        response_id=response, old=old, new=label, source=source, author=author, note=note, created_at=time.time()
    )
    session.add(row)
    session.flush()
    return row


def since_training(session: Session, project: int) -> int:
    """Return how many judged sentences and changed labels of people the newest scorer has not learned from."""
    payload = session.scalar(
        select(Job.payload)
        .join(ScorerVersion, ScorerVersion.job_id == Job.id)
        .where(ScorerVersion.project_id == project)
        .order_by(ScorerVersion.number.desc())
        .limit(1)
    )
    moment = (payload or {}).get("moment", {})
    after, labelled_after = moment.get("correction", 0), moment.get("label", 0)
    query = select(Correction.response_id, Correction.place, Correction.author, Correction.new)
    query = query.join(StoredResponse, StoredResponse.id == Correction.response_id).order_by(Correction.id)
    mine = (StoredResponse.project_id == project, Correction.id > after, Correction.source == "person")
    newest = {(row, place, author): label for row, place, author, label in session.execute(query.where(*mine))}
    sentences = {(row, place) for (row, place, _), label in newest.items() if label is not None}
    changed = select(LabelChange.response_id).join(StoredResponse, StoredResponse.id == LabelChange.response_id)
    about = (StoredResponse.project_id == project, LabelChange.id > labelled_after, LabelChange.source == "person")
    return len(sentences) + len(set(session.scalars(changed.where(*about))))


def agreement(session: Session, project: int) -> dict[str, Any]:
    """Say how often people who judged the same sentence said the same, and how much each did."""
    query = (
        select(Correction.response_id)
        .join(StoredResponse, StoredResponse.id == Correction.response_id)
        .where(StoredResponse.project_id == project, Correction.source == "person")
        .distinct()
    )
    said = sentence_labels(session, list(session.scalars(query)))
    authors: dict[str, int] = {}
    same = pairs = 0
    for opinions in said.values():
        labels = {name: label for name, (_, label) in opinions.items() if label is not None and name != "import"}
        for name in labels:
            authors[name] = authors.get(name, 0) + 1
        values = list(labels.values())
        for i, first in enumerate(values):
            for second in values[:i]:
                pairs += 1
                same += (first > 0.5) == (second > 0.5)
    return {"authors": authors, "pairs": pairs, "agreement": same / pairs if pairs else None}
