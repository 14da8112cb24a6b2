"""The API that scores: by text or by sentences, one response or many; and as other servers' clients ask."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from fractal.errors import BadData
from fractal.records import Response as Record
from fractal.records import ScoredResponse, Sentence
from fractal.records.splitting import SPLITTERS
from fractal.server.access import Actor, needs, project_of
from fractal.server.batching import QueueFull
from fractal.server.schemas import Error, PredictIn, Prediction, ResponseIn, ScoreIn, ScoreOut
from fractal.server.studio import Studio
from fractal.server.tables import ScorerVersion

__all__ = ["router"]

ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": Error} for code in (400, 401, 403, 404, 409, 413, 415, 422, 429, 499, 500, 503)
}
SMALL, SMALL_CHARACTERS = 16, 10_000  # responses and characters that are cut in less than a millisecond or two
router = APIRouter(prefix="/v1", responses=ERRORS, tags=["scoring"])
predict_router = APIRouter(responses=ERRORS, tags=["scoring"])
Reader = Annotated[Actor, Depends(needs("reader"))]


@router.post("/score", response_model=ScoreOut, summary="Score the sentences of responses")
async def score(request: Request, body: ScoreIn, actor: Reader, project: str | None = None) -> Response:
    """Score responses by their texts, or by sentences that are cut already."""
    return await _scores(request, body, actor, project, "score")


@router.post("/disaggregate", response_model=ScoreOut, summary="Label sentences given their response's label")
async def disaggregate(request: Request, body: ScoreIn, actor: Reader, project: str | None = None) -> Response:
    """Return each sentence's probability given its response's label, and hard labels that agree with it."""
    return await _scores(request, body, actor, project, "disaggregate")


@predict_router.post("/predict", response_model=list[Prediction] | list[list[Prediction]], summary="Score as TEI does")
async def predict(request: Request, body: PredictIn, actor: Reader, project: str | None = None) -> Response:
    """Answer as text-embeddings-inference does: the score of each text as a whole; of a pair, of the second text."""
    single = isinstance(body.inputs, str)
    inputs = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    texts = [ResponseIn(text=one) if isinstance(one, str) else _pair(one) for one in inputs]
    if not texts:
        return _json([])
    version, records = await _prepared(request, texts, actor, project, None)
    scored = await _queued(request, version, "score", records)
    rows = [
        [{"score": item.response_score, "label": "good"}, {"score": 1 - item.response_score, "label": "bad"}]
        for item in scored
    ]
    return _json(rows[0] if single else rows)


def _pair(texts: Sequence[str]) -> ResponseIn:
    return ResponseIn(query=texts[0], text=texts[1]) if len(texts) == 2 else ResponseIn(text=texts[0])


async def _scores(request: Request, body: ScoreIn, actor: Actor, project: str | None, what: str) -> Response:
    version, records = await _prepared(request, body.responses, actor, project, body.scorer)
    scored = await _queued(request, version, what, records)
    return _json({"scorer": version.number, "results": [told(item) for item in scored]})


def told(scored: ScoredResponse) -> dict[str, Any]:
    """Return a scored response as the API gives it."""
    spread = scored.sentence_spread or (None,) * len(scored.sentence_scores)
    labels = scored.sentence_labels or (None,) * len(scored.sentence_scores)
    rows = zip(scored.response.sentences, scored.sentence_scores, spread, labels, strict=True)
    return {
        "id": scored.response.id,
        "response_score": scored.response_score,
        "sentences": [
            {"text": s.text, "start": s.start, "end": s.end, "score": score, "spread": wide, "label": label}
            for s, score, wide, label in rows
        ],
    }


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def _prepared(
    request: Request, asked: Sequence[ResponseIn], actor: Actor, slug: str | None, number: int | None
) -> tuple[ScorerVersion, list[Record]]:
    """Look up the scorer and cut the texts: away from the event loop, but for what takes less than the way there."""
    studio: Studio = request.app.state.studio

    def prepare() -> tuple[ScorerVersion, list[Record]]:
        key = (slug, actor.project)
        project = studio.projects.get(key) or studio.projects.put(key, project_of(request, actor, slug).id)
        version = studio.newest(project, number)
        records = [_record(one, version.facts.get("splitter", "sentences")) for one in asked]
        _refuse_many(records, studio.settings.limits.sentences, studio.settings.limits.characters)
        return version, records

    project = studio.projects.get((slug, actor.project))
    quick = project is not None and studio.versions.get((project, number)) is not None and len(asked) <= SMALL
    try:
        if quick and sum(len(one.text or "") for one in asked) <= SMALL_CHARACTERS:
            return prepare()
        return await run_in_threadpool(prepare)
    except BadData as error:
        raise HTTPException(404 if error.field == "scorer" else 422, str(error)) from None


def _record(asked: ResponseIn, splitter: str) -> Record:
    if (asked.text is None) == (asked.sentences is None):
        raise BadData("give the response's text or its sentences, one of them", field="responses")
    about: dict[str, Any] = {
        "query": asked.query,
        "context": tuple(asked.context),
        "label": asked.label,
    }
    if asked.sentences is not None:
        return Record.from_sentences(asked.id, asked.sentences, **about)
    parts: tuple[Sentence, ...] = SPLITTERS.build(splitter)(asked.text or "")
    return Record(id=asked.id, sentences=parts, text=asked.text or "", **about)


def _refuse_many(records: Sequence[Record], sentences: int, characters: int) -> None:
    count = sum(len(record.sentences) for record in records)
    if count > sentences:
        raise BadData(f"{count:,} sentences in one request: send at most {sentences:,}", field="responses")
    size = sum(len(r.text) + len(r.query) + sum(map(len, r.context)) for r in records)
    if size > characters:
        raise BadData(f"{size:,} characters in one request: send at most {characters:,}", field="responses")


async def _queued(
    request: Request, version: ScorerVersion, what: str, records: Sequence[Record]
) -> list[ScoredResponse]:
    """Wait for the scores, as long as somebody waits for the answer."""
    studio: Studio = request.app.state.studio
    if studio.batcher is None:
        raise HTTPException(503, "the studio is starting: try again in a moment", {"Retry-After": "1"})
    numbered = [dataclasses.replace(record, id=record.id or str(place)) for place, record in enumerate(records, 1)]
    work = asyncio.ensure_future(studio.batcher.score((version.folder_hash, what), numbered))
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        seconds = studio.settings.limits.request_seconds
        done, _ = await asyncio.wait({work, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if work in done:
            return work.result()
        if gone in done:
            raise HTTPException(499, "the client has gone")
        raise HTTPException(503, f"not scored within {seconds:g} seconds: send less at once", {"Retry-After": "5"})
    except QueueFull as full:
        studio.metrics.refused.inc()
        after = str(max(1, round(full.retry_after)))
        raise HTTPException(
            429, f"more waits than can be scored soon: try again in {after} s", {"Retry-After": after}
        ) from None
    finally:
        work.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
