"""What is seen of a project: responses with scores, searched and filtered; slices; the worst sentences; faults."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import String, func, or_, select
from sqlalchemy.orm import Session

from fractal.records import Response
from fractal.reports.payload import pieces
from fractal.server.corpus import current_datasets, responses_of, sentence_labels, settled
from fractal.server.tables import DatasetResponse, Project, ScorerVersion, Scores, StoredResponse

__all__ = ["Filter", "card", "cards", "fields_of", "inbox", "page", "recurring", "slices"]

PAGE = 20
MOST_SLICES = 50
INBOX = 400  # of the lowest responses, from which the lowest sentences are taken
SHORTEST_FAULT = 3  # words
_WORD = re.compile(r"[^\W\d_]+|\d+")


@dataclasses.dataclass(frozen=True)
class Filter:
    """What a page shows of a project."""

    search: str = ""
    field: str = ""  # a carried field …
    value: str = ""  # … and what it must be
    show: str = "all"  # all, flagged, clean, wrong, corrected
    order: str = "worst"  # worst, low, high, id
    page: int = 1


def _all(session: Session, project: int, scorer: ScorerVersion | None) -> Any:
    members = select(DatasetResponse.response_id).where(
        DatasetResponse.dataset_id.in_(current_datasets(session, project))
    )
    query = select(StoredResponse, Scores).where(StoredResponse.project_id == project, StoredResponse.id.in_(members))
    number = scorer.id if scorer is not None else -1
    return query.outerjoin(Scores, (Scores.response_id == StoredResponse.id) & (Scores.scorer_id == number))


def _filtered(query: Any, chosen: Filter) -> Any:
    if chosen.search:
        escaped = chosen.search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        like = f"%{escaped}%"
        fields = (StoredResponse.text, StoredResponse.query, StoredResponse.external_id)
        query = query.where(or_(*(field.ilike(like, escape="\\") for field in fields)))
    if chosen.field:
        query = query.where(_carried(chosen.field) == chosen.value)
    if chosen.show == "flagged":
        query = query.where(Scores.flagged > 0)
    elif chosen.show == "clean":
        query = query.where(Scores.flagged == 0)
    return query


def _carried(field: str) -> Any:
    return StoredResponse.extra[field].as_string().cast(String)


ORDERS = {
    "worst": (Scores.lowest.is_(None), Scores.lowest, Scores.response_score),
    "low": (Scores.response_score.is_(None), Scores.response_score),
    "high": (Scores.response_score.is_(None), Scores.response_score.desc()),
    "id": (StoredResponse.external_id,),
}


def page(session: Session, project: Project, scorer: ScorerVersion | None, chosen: Filter) -> dict[str, Any]:
    """Return one page of responses, and how many there are."""
    query = _filtered(_all(session, project.id, scorer), chosen)
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(StoredResponse.id).subquery())) or 0
    last = max(1, -(-total // PAGE))
    number = min(max(chosen.page, 1), last)
    ordered = query.order_by(*ORDERS.get(chosen.order, ORDERS["worst"]), StoredResponse.id)
    rows = session.execute(ordered.limit(PAGE).offset((number - 1) * PAGE)).all()
    return {"cards": _cards(session, rows), "total": total, "page": number, "pages": last}


def cards(session: Session, project: int, scorer: ScorerVersion | None, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return these responses as a page shows them, in this order."""
    query = _all(session, project, scorer).where(StoredResponse.id.in_(list(ids)))
    by_row = {one["response"]: one for one in _cards(session, session.execute(query).all())}
    return [by_row[row] for row in ids if row in by_row]


def _cards(session: Session, rows: Sequence[Any]) -> list[dict[str, Any]]:
    ids = [row[0].id for row in rows]
    responses = responses_of(session, ids)
    said = sentence_labels(session, ids)
    return [card(row[0].id, responses[row[0].id], row[1], said) for row in rows]


def card(row: int, response: Response, scores: Scores | None, said: Any) -> dict[str, Any]:
    """Return what is shown of one response."""
    count = len(response.sentences)
    opinions = [{name: verdict for name, (verdict, _) in said.get((row, place), {}).items()} for place in range(count)]
    return {
        "response": row,
        "id": response.id,
        "query": response.query,
        "context": list(response.context),
        "pieces": pieces(response),
        "label": response.label,
        "scores": scores.sentences if scores is not None else [],
        "spread": scores.spread if scores is not None else [],
        "response_score": scores.response_score if scores is not None else None,
        "verdicts": opinions,
        "settled": [settled(said.get((row, place), {})) for place in range(count)],
        "extra": dict(response.extra),
    }


def fields_of(session: Session, project: int, scorer: ScorerVersion | None) -> dict[str, list[str]]:
    """Return the carried fields that split a project into few parts, with their values."""
    values: dict[str, set[str]] = defaultdict(set)
    rows = session.scalars(_all(session, project, scorer).with_only_columns(StoredResponse.extra).limit(2_000))
    for extra in rows:
        for name, value in extra.items():
            if isinstance(value, str | int | bool) and len(str(value)) <= 80 and '"' not in name:
                values[name].add(str(value) if not isinstance(value, bool) else str(value).lower())
    return {name: sorted(results) for name, results in sorted(values.items()) if 1 <= len(results) <= MOST_SLICES}


def slices(session: Session, project: int, scorer: ScorerVersion, field: str) -> list[dict[str, Any]]:
    """Return, for each value of a carried field, how many responses and how many bad sentences it has: worst first."""
    query = _all(session, project, scorer).with_only_columns(StoredResponse.extra, Scores.flagged, Scores.sentences)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for extra, flagged, sentences in session.execute(query):
        value = extra.get(field)
        if value is None or flagged is None:
            continue
        name = str(value).lower() if isinstance(value, bool) else str(value)
        for place, amount in enumerate((1, len(sentences), flagged, int(flagged > 0))):
            counts[name][place] += amount
    rows = [
        {"value": name, "responses": r, "sentences": s, "flagged": f, "share": f / max(s, 1), "touched": t}
        for name, (r, s, f, t) in counts.items()
    ]
    return sorted(rows, key=lambda row: (-float(str(row["share"])), str(row["value"])))[:MOST_SLICES]


def inbox(session: Session, project: int, scorer: ScorerVersion, count: int = 50) -> list[dict[str, Any]]:
    """Return the worst sentences of all that nobody has judged yet.

    The worst n sentences stand in the n responses whose worst sentence is worst: no others need be read.
    """
    ordered = _all(session, project, scorer).where(Scores.lowest.is_not(None)).order_by(Scores.lowest).limit(INBOX)
    rows = session.execute(ordered).all()
    said = sentence_labels(session, [row[0].id for row in rows])
    responses = responses_of(session, [row[0].id for row in rows])
    results = []
    for stored, scores in rows:
        for place, score in enumerate(scores.sentences):
            people = {name for name in said.get((stored.id, place), {}) if name != "import"}
            if not people:
                text = responses[stored.id].sentences[place].text
                results.append(
                    {"response": stored.id, "id": stored.external_id, "place": place, "text": text, "score": score}
                )
    return sorted(results, key=lambda one: float(one["score"]))[:count]


def recurring(sentences: Iterable[dict[str, Any]], least: int = 2) -> list[dict[str, Any]]:
    """Group bad sentences that say nearly the same: the same words in the same order but for names and numbers."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in sentences:
        words = _WORD.findall(str(one["text"]))
        shape = [
            word.lower() for place, word in enumerate(words) if not (word.isdigit() or (place and word[:1].isupper()))
        ]
        if len(shape) >= SHORTEST_FAULT:
            groups[" ".join(shape)].append(one)
    results = [
        {"text": Counter(str(one["text"]) for one in group).most_common(1)[0][0], "count": len(group), "where": group}
        for group in groups.values()
        if len({one["response"] for one in group}) >= least
    ]
    return sorted(results, key=lambda group: -int(str(group["count"])))[:20]
