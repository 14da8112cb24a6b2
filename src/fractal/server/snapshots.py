"""What a project holds at a moment: feedback sealed into versions, and all responses with their scores for export."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from fractal.records import ScoredResponse
from fractal.server.corpus import load_responses, now
from fractal.server.importing import content_hash
from fractal.server.tables import Dataset, DatasetResponse, ScorerVersion, Scores, StoredResponse

__all__ = ["scored_responses", "seal_feedback"]


def seal_feedback(session: Session, project: int) -> None:
    """Close the data set into which feedback goes: what comes from now on opens the next one."""
    for dataset in session.scalars(select(Dataset).where(Dataset.project_id == project, Dataset.state == "open")):
        keys = select(StoredResponse.key).join(DatasetResponse, DatasetResponse.response_id == StoredResponse.id)
        ordered = keys.where(DatasetResponse.dataset_id == dataset.id).order_by(DatasetResponse.place)
        rows = list(session.scalars(ordered))
        dataset.content_hash, dataset.state = content_hash(rows, {}), "sealed"
        dataset.report = {**dataset.report, "responses": len(rows)}


def scored_responses(session: Session, project: int, version: ScorerVersion) -> list[ScoredResponse]:
    """Return every response that a scorer has scored, with the labels and corrections that count now."""
    responses = load_responses(session, now(session, project))
    query: Any = select(Scores).where(Scores.scorer_id == version.id)
    by_row = {row.response_id: row for row in session.scalars(query)}
    return [
        ScoredResponse(response, tuple(row.sentences), row.response_score, tuple(row.spread))
        for number, response in responses.items()
        if (row := by_row.get(number)) is not None
    ]
