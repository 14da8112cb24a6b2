"""The API for data and work: uploads, data sets, labels, corrections, feedback, jobs, scorers, exports."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from sqlalchemy import select, update
from starlette.background import BackgroundTask

from fractal.errors import FractalError
from fractal.records import Response as Record
from fractal.server import looking
from fractal.server.access import Actor, needs, project_of
from fractal.server.api_scoring import ERRORS
from fractal.server.audit import record
from fractal.server.corpus import insert_responses, now, response_key
from fractal.server.idempotency import once
from fractal.server.importing import new_dataset
from fractal.server.jobs import enqueue, resume
from fractal.server.opinions import agreement, correct, relabel, since_training, take_back
from fractal.server.schemas import (
    Accepted,
    CorrectionsIn,
    CorrectionsOut,
    DatasetIn,
    DatasetOut,
    FeedbackIn,
    FeedbackOut,
    JobOut,
    LabelIn,
    LabelOut,
    ResponseOut,
    RowId,
    ScorerOut,
    TrainIn,
)
from fractal.server.snapshots import scored_responses, seal_feedback
from fractal.server.studio import Studio
from fractal.server.suggesting import dealt
from fractal.server.tables import Correction, Dataset, DatasetResponse, Job, JobEvent, Project, ScorerVersion, Upload
from fractal.server.training import last_afresh

__all__ = ["router"]

router = APIRouter(prefix="/v1", responses=ERRORS, tags=["data"])
Reader = Annotated[Actor, Depends(needs("reader"))]
Annotator = Annotated[Actor, Depends(needs("annotator"))]
Admin = Annotated[Actor, Depends(needs("admin"))]
Slug = Annotated[str | None, Query(max_length=60)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200, pattern=r"^[\x21-\x7e]+$")]
WATCH_SECONDS = 0.4
MEDIA = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
ENDINGS = {"csv": ".csv", "parquet": ".parquet", "label_studio": ".json"}


def studio_of(request: Request) -> Studio:
    """Return the studio that a request is for."""
    studio: Studio = request.app.state.studio
    return studio


@router.post("/uploads", status_code=202, response_model=Accepted, summary="Upload a file")
def upload(request: Request, file: UploadFile, actor: Annotator, project: Slug = None) -> Any:
    """Keep a file and have a worker look at it; the job's end says how its columns would be read."""
    studio, scope = studio_of(request), project_of(request, actor, project)

    def parts() -> Iterator[bytes]:
        while part := file.file.read(1 << 20):
            yield part

    sha256, size = studio.store.put_bytes(parts(), studio.settings.limits.upload_bytes)
    name = _shown_name(file.filename or "")
    with studio.database.write() as session:
        row = Upload(
            project_id=scope.id, sha256=sha256, file_name=name, size=size, created_at=time.time(), created_by=actor.name
        )
        session.add(row)
        session.flush()
        job = enqueue(session, scope.id, "preview", {"upload": row.id}, actor.name)
        record(session, actor.name, "upload", name, {"bytes": size, "sha256": sha256})
        return {"job": job.id, "upload": row.id}


def _shown_name(name: str) -> str:
    """Return a file's name for people to read: its last part, without what no name holds."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in last if character.isprintable())[:200] or "pasted text"


@router.get("/uploads/{upload}", summary="How an uploaded file would be read")
def get_upload(request: Request, upload: RowId, actor: Reader, project: Slug = None) -> dict[str, Any]:
    """Return the preview; null until a worker has looked at the file."""
    scope = project_of(request, actor, project)
    with studio_of(request).database.read() as session:
        row = session.get(Upload, upload)
    if row is None or row.project_id != scope.id:
        raise HTTPException(404, f"there is no upload {upload}")
    return {"upload": row.id, "file_name": row.file_name, "size": row.size, "preview": row.preview}


@router.post("/datasets", status_code=202, response_model=Accepted, summary="Import an uploaded file")
def add_dataset(
    request: Request, response: Response, body: DatasetIn, actor: Annotator, project: Slug = None, key: Key = None
) -> Any:
    """Have a worker read an uploaded file into the next version of a data set."""
    studio, scope = studio_of(request), project_of(request, actor, project)

    def do(session: Any) -> dict[str, Any]:
        row = session.get(Upload, body.upload)
        if row is None or row.project_id != scope.id:
            raise HTTPException(404, f"there is no upload {body.upload}")
        job = enqueue(session, scope.id, "import", body.model_dump(), actor.name)
        return {"job": job.id, "upload": row.id}

    response.status_code = 202
    return once(studio.database, actor.name, key, body.model_dump(), response, do)


@router.get("/datasets", response_model=list[DatasetOut], summary="List data sets")
def list_datasets(request: Request, actor: Reader, project: Slug = None) -> Any:
    """List every version of every data set, the newest first."""
    scope = project_of(request, actor, project)
    with studio_of(request).database.read() as session:
        query = select(Dataset).where(Dataset.project_id == scope.id, Dataset.state != "importing")
        return [_dataset(row) for row in session.scalars(query.order_by(Dataset.id.desc()).limit(500))]


def _dataset(row: Dataset) -> dict[str, Any]:
    names = ("id", "name", "version", "state", "content_hash", "created_at", "created_by")
    report = {name: value for name, value in row.report.items() if name != "rejects"}
    return {**{name: getattr(row, name) for name in names}, "report": report}


@router.get(
    "/datasets/{dataset}/rejects",
    summary="The rows that could not be read",
    response_class=Response,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "A line of JSON a row"}},
)
def rejects(request: Request, dataset: RowId, actor: Reader, project: Slug = None) -> Response:
    """Return the rejected rows with their reasons, as JSON lines."""
    scope = project_of(request, actor, project)
    with studio_of(request).database.read() as session:
        row = session.get(Dataset, dataset)
    if row is None or row.project_id != scope.id:
        raise HTTPException(404, f"there is no data set {dataset}")
    lines = "".join(json.dumps(one, ensure_ascii=True) + "\n" for one in row.report.get("rejects", []))
    headers = {"content-disposition": f'attachment; filename="rejects-{row.id}.jsonl"'}
    return Response(lines, media_type="application/x-ndjson", headers=headers)


@router.get("/responses", response_model=list[ResponseOut], summary="List responses")
def list_responses(
    request: Request,
    actor: Reader,
    project: Slug = None,
    search: Annotated[str, Query(max_length=200)] = "",
    show: str = "all",
    order: str = "worst",
    page: Annotated[int, Query(ge=1, le=10**9)] = 1,
) -> Any:
    """List responses with their newest scores, twenty at a time."""
    scope = project_of(request, actor, project)
    chosen = looking.Filter(_writable(search), "", "", show, order, page)
    with studio_of(request).database.read() as session:
        return looking.page(session, scope, newest_of(session, scope.id), chosen)["cards"]


def _writable(text: str) -> str:
    return "".join(c for c in text if c != "\0" and not "\ud800" <= c <= "\udfff")


def newest_of(session: Any, project: int) -> ScorerVersion | None:
    """Return a project's newest scorer, if it has one."""
    query = select(ScorerVersion).where(ScorerVersion.project_id == project).order_by(ScorerVersion.number.desc())
    shown: ScorerVersion | None = session.scalars(query.limit(1)).first()
    return shown


@router.post("/labels", response_model=LabelOut, summary="Label a whole response")
def add_label(
    request: Request, response: Response, body: LabelIn, actor: Annotator, project: Slug = None, key: Key = None
) -> Any:
    """Enter a label; the newest counts, and all stay."""
    studio, scope = studio_of(request), project_of(request, actor, project)

    def do(session: Any) -> dict[str, Any]:
        row = relabel(session, scope.id, actor.name, body.response, body.label, body.note)
        record(session, actor.name, "label", f"response {body.response}", {"from": row.old, "to": row.new})
        return {"id": row.id, "response": row.response_id, "old": row.old, "new": row.new, "author": row.author}

    return once(studio.database, actor.name, key, body.model_dump(), response, do)


@router.post("/corrections", response_model=CorrectionsOut, summary="Correct sentences")
def add_corrections(
    request: Request, response: Response, body: CorrectionsIn, actor: Annotator, project: Slug = None, key: Key = None
) -> Any:
    """Enter corrections, all or none; of each author the newest counts, and nobody overwrites another."""
    studio, scope = studio_of(request), project_of(request, actor, project)

    def do(session: Any) -> dict[str, Any]:
        rows = correct(session, scope.id, actor.name, [one.model_dump() for one in body.corrections])
        return {"corrections": [_correction(row) for row in rows], "since_training": since_training(session, scope.id)}

    return once(studio.database, actor.name, key, body.model_dump(), response, do)


@router.post("/corrections/undo", response_model=CorrectionsOut, summary="Take back one's last correction")
def undo_correction(
    request: Request, response: Response, actor: Annotator, project: Slug = None, key: Key = None
) -> Any:
    """Take back the last thing that the caller said, by entering what they had said before."""
    studio, scope = studio_of(request), project_of(request, actor, project)

    def do(session: Any) -> dict[str, Any]:
        rows = take_back(session, scope.id, actor.name)
        return {"corrections": [_correction(row) for row in rows], "since_training": since_training(session, scope.id)}

    return once(studio.database, actor.name, key, "undo", response, do)


def _correction(row: Correction) -> dict[str, Any]:
    names = ("id", "place", "verdict", "old", "new", "author")
    return {"response": row.response_id, **{name: getattr(row, name) for name in names}}


@router.get("/agreement", summary="How far people agree")
def get_agreement(request: Request, actor: Reader, project: Slug = None) -> dict[str, Any]:
    """Return how often people who judged the same sentence said the same."""
    scope = project_of(request, actor, project)
    with studio_of(request).database.read() as session:
        return agreement(session, scope.id)


@router.post("/feedback", response_model=FeedbackOut, status_code=201, summary="A response and a thumb")
def feedback(
    request: Request, response: Response, body: FeedbackIn, actor: Annotator, project: Slug = None, key: Key = None
) -> Any:
    """Take what a reader of a chat product thought of a response into the project's data."""
    studio, scope = studio_of(request), project_of(request, actor, project)
    label = body.label if body.label is not None else {"up": 1.0, "down": 0.0, None: None}[body.thumb]
    parts = _cut(body.response)
    response_in = Record(
        id=body.id or f"feedback-{response_hash(body)}",
        sentences=parts,
        text=body.response,
        query=body.query,
        context=tuple(body.context),
        extra=body.fields,
    )

    def do(session: Any) -> dict[str, Any]:
        session.execute(
            update(Project).where(Project.id == scope.id).values(created_at=Project.created_at)
        )  # one at a time
        query = select(Dataset).where(Dataset.project_id == scope.id, Dataset.state == "open")
        dataset = session.scalars(query).first()
        if dataset is None:
            count = len(session.scalars(select(Dataset.id).where(Dataset.project_id == scope.id)).all())
            fields = {"state": "open", "report": {"feedback": True}}
            dataset = new_dataset(session, scope.id, f"feedback {count + 1}", "feedback", **fields)
        rows = insert_responses(session, scope.id, [response_in], actor.name, "feedback")
        number = rows[response_key(response_in)]
        _join(session, dataset.id, number)
        if label is not None:
            relabel(session, scope.id, actor.name, number, label, source="feedback")
        return {"response": number, "dataset": dataset.name, "label": label}

    response.status_code = 201
    return once(studio.database, actor.name, key, body.model_dump(), response, do)


def _cut(text: str) -> Any:
    from fractal.records.splitting import SPLITTERS

    return SPLITTERS.build("sentences")(text)


def response_hash(body: FeedbackIn) -> str:
    """Return a short name for feedback that comes without an id."""
    return hashlib.sha256(f"{body.query}\0{body.response}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _join(session: Any, dataset: int, response: int) -> None:
    query = select(DatasetResponse.place, DatasetResponse.response_id).where(DatasetResponse.dataset_id == dataset)
    rows = session.execute(query).all()
    if all(row != response for _, row in rows):
        place = max((place for place, _ in rows), default=-1) + 1
        session.add(DatasetResponse(dataset_id=dataset, place=place, response_id=response))
        session.flush()


@router.post("/train", status_code=202, response_model=Accepted, summary="Train a scorer")
def add_training(
    request: Request, response: Response, body: TrainIn, actor: Annotator, project: Slug = None, key: Key = None
) -> Any:
    """Have a worker learn from all data of the project, as they are now."""
    studio, scope = studio_of(request), project_of(request, actor, project)

    def do(session: Any) -> dict[str, Any]:
        job = start_training(session, scope.id, body.model_dump(), actor.name)
        return {"job": job.id}

    response.status_code = 202
    return once(studio.database, actor.name, key, body.model_dump(), response, do)


def start_training(session: Any, project: int, options: dict[str, Any], by: str) -> Job:
    """Queue a training on what the project holds at this moment."""
    seal_feedback(session, project)
    moment = dataclasses.asdict(now(session, project))
    afresh = last_afresh(newest_of(session, project)) if options.get("go_on") else None
    earlier = {} if afresh is None else {"earlier": afresh}  # that one, however often the job is killed
    job = enqueue(session, project, "train", {**options, "moment": moment, **earlier}, by)
    record(session, by, "start training", f"job {job.id}", options)
    return job


@router.get("/jobs", response_model=list[JobOut], summary="List jobs")
def list_jobs(request: Request, actor: Reader, project: Slug = None) -> Any:
    """List the jobs of a project, the newest first."""
    scope = project_of(request, actor, project)
    with studio_of(request).database.read() as session:
        query = select(Job).where(Job.project_id == scope.id).order_by(Job.id.desc()).limit(100)
        return [job_out(row) for row in session.scalars(query)]


def job_out(row: Job, progress: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a job as the API gives it."""
    names = ("id", "kind", "state", "attempts", "error", "created_at", "started_at", "finished_at")
    result = {name: value for name, value in (row.result or {}).items() if name != "rejects"}
    return {**{name: getattr(row, name) for name in names}, "result": result or None, "progress": progress}


def _job(request: Request, actor: Actor, project: str | None, job: int) -> Job:
    scope = project_of(request, actor, project)
    with studio_of(request).database.read() as session:
        row = session.get(Job, job)
    if row is None or row.project_id != scope.id:
        raise HTTPException(404, f"there is no job {job}")
    return row


@router.get("/jobs/{job}", response_model=JobOut, summary="How a job is")
def get_job(request: Request, job: RowId, actor: Reader, project: Slug = None) -> Any:
    """Return a job with the last that it told."""
    row = _job(request, actor, project, job)
    with studio_of(request).database.read() as session:
        query = select(JobEvent).where(JobEvent.job_id == job).order_by(JobEvent.id.desc()).limit(1)
        last = session.scalars(query).first()
    return job_out(row, last.data if last is not None else None)


@router.post("/jobs/{job}/cancel", response_model=JobOut, summary="Stop a job")
def cancel_job(request: Request, job: RowId, actor: Annotator, project: Slug = None) -> Any:
    """Stop a job soon; what it kept stays, so that it can be resumed."""
    row = _job(request, actor, project, job)
    with studio_of(request).database.write() as session:
        scope = session.merge(row)
        if scope.state == "queued":
            scope.state, scope.finished_at = "cancelled", time.time()
        elif scope.state == "running":
            scope.cancel = True
        record(session, actor.name, "stop job", f"job {job}")
        return job_out(scope)


@router.post("/jobs/{job}/resume", response_model=JobOut, summary="Resume a job")
def resume_job(request: Request, job: RowId, actor: Annotator, project: Slug = None) -> Any:
    """Queue a job again that was stopped or that failed."""
    row = _job(request, actor, project, job)
    with studio_of(request).database.write() as session:
        if not resume(session, row):
            raise HTTPException(409, f"job {job} is {row.state}: only what was stopped or failed can be resumed")
        record(session, actor.name, "resume job", f"job {job}")
        return job_out(session.get_one(Job, job, populate_existing=True))


@router.get(
    "/jobs/{job}/events",
    summary="Watch a job",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events until the job ends"}},
)
async def watch_job(request: Request, job: RowId, actor: Reader, project: Slug = None) -> StreamingResponse:
    """Send what a job tells as it goes, and its state at the end."""
    from fastapi.concurrency import run_in_threadpool

    await run_in_threadpool(_job, request, actor, project, job)
    database = studio_of(request).database

    def look(last: int) -> tuple[list[JobEvent], Job | None]:
        with database.read() as session:
            query = select(JobEvent).where(JobEvent.job_id == job, JobEvent.id > last).order_by(JobEvent.id)
            return list(session.scalars(query)), session.get(Job, job)

    async def events() -> AsyncIterator[str]:
        last = 0
        while not await request.is_disconnected():
            rows, scope = await run_in_threadpool(look, last)
            for row in rows[-1:]:  # who comes late needs no old news
                last = row.id
                yield f"event: progress\ndata: {json.dumps(row.data)}\n\n"
            if scope is None or scope.state in ("done", "failed", "cancelled"):
                yield f"event: end\ndata: {json.dumps(job_out(scope) if scope else {})}\n\n"
                return
            yield f"event: state\ndata: {json.dumps({'state': scope.state})}\n\n"
            await asyncio.sleep(WATCH_SECONDS)

    return StreamingResponse(events(), media_type="text/event-stream")


@router.get("/scorers", response_model=list[ScorerOut], summary="List scorers")
def list_scorers(request: Request, actor: Reader, project: Slug = None) -> Any:
    """List the scorers of a project, the newest first."""
    studio, scope = studio_of(request), project_of(request, actor, project)
    with studio.database.read() as session:
        query = select(ScorerVersion).where(ScorerVersion.project_id == scope.id)
        rows = session.scalars(query.order_by(ScorerVersion.number.desc()).limit(100))
        return [studio.scorers.facts(row) for row in rows]


@router.get("/suggestions", summary="Which sentences to judge next")
def suggestions(
    request: Request, actor: Reader, project: Slug = None, count: Annotated[int, Query(ge=1, le=200)] = 20
) -> list[dict[str, Any]]:
    """Return the sentences whose labels should teach most, with what is needed to judge them."""
    studio, scope = studio_of(request), project_of(request, actor, project)
    with studio.database.read() as session:
        version = newest_of(session, scope.id)
        return [] if version is None else dealt(session, version, actor.name, count, turn_of(actor.name))


def turn_of(name: str) -> int:
    """Return where in the queue a person begins, so that several seldom judge the same sentence at once."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


@router.get(
    "/exports/{writer}",
    summary="Export the scores",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The file"}},
)
def export(request: Request, writer: str, actor: Reader, project: Slug = None, scorer: int | None = None) -> Response:
    """Write all responses with their scores and corrections as a writer of the command line does."""
    from fractal.writers import WRITERS, write

    studio, scope = studio_of(request), project_of(request, actor, project)
    if writer not in WRITERS.names():
        raise HTTPException(404, f"no writer is called {writer!r}: there are {', '.join(WRITERS.names())}")
    with studio.database.read() as session:
        version = studio.scorers.version(scope.id, scorer)
        scored = scored_responses(session, scope.id, version)
    handle = tempfile.NamedTemporaryFile(dir=studio.store.root / "tmp", delete=False)  # noqa: SIM115 (sent, then removed)
    handle.close()
    path = Path(handle.name)
    try:
        write(scored, path, writer)
    except (FractalError, OSError) as error:
        path.unlink(missing_ok=True)
        raise HTTPException(422, str(error)) from error
    with studio.database.write() as session:
        record(session, actor.name, "export", writer, {"scorer": version.number, "responses": len(scored)})
    name = f"{scope.slug}-scorer-{version.number}{ENDINGS.get(writer, '.jsonl')}"
    return FileResponse(
        path,
        media_type=MEDIA.get(writer, "application/octet-stream"),
        filename=name,
        background=BackgroundTask(path.unlink),
    )


@router.get("/responses/{response}", response_model=ResponseOut, summary="One response")
def get_response(request: Request, response: RowId, actor: Reader, project: Slug = None) -> Any:
    """Return a response with its newest scores and what people said of its sentences."""
    scope = project_of(request, actor, project)
    with studio_of(request).database.read() as session:
        shown = looking.cards(session, scope.id, newest_of(session, scope.id), [response])
    if not shown:
        return JSONResponse({"detail": f"there is no response {response}", "errors": []}, 404)
    return shown[0]
