"""The pages: Import, Train, Look, Correct and Try, made on the server, with little script."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, HTTPException, Request, Response, UploadFile
from fastapi.responses import RedirectResponse
from sqlalchemy import func, select

from fractal.server import looking
from fractal.server.access import (
    Actor,
    project_of,
)
from fractal.server.api_data import newest_of, start_training, turn_of, upload
from fractal.server.audit import record
from fractal.server.corpus import current_datasets, whole_labels
from fractal.server.jobs import enqueue, resume
from fractal.server.opinions import agreement, relabel, since_training
from fractal.server.rendering import AdminForm, AnnotatorForm, Viewer, clean, render, studio_of, when
from fractal.server.schemas import Plain
from fractal.server.suggesting import dealt
from fractal.server.tables import (
    Correction,
    Dataset,
    DatasetPair,
    DatasetResponse,
    Job,
    LabelChange,
    Project,
    ScorerVersion,
    Scores,
    StoredResponse,
    Upload,
)
from fractal.server.training import ENCODERS, RULES
from fractal.server.wording import Colours, colours_of, verdict

__all__ = ["router"]

router = APIRouter()
ROLES = (  # what a column can be, as the page words it
    ("response", "The answer"),
    ("label", "Its rating"),
    ("query", "The question"),
    ("context", "What the answer rests on"),
    ("id", "An id"),
    ("group", "What must stay together"),
    ("chosen", "The better answer"),
    ("rejected", "The worse answer"),
)
ENOUGH = 10  # corrections after which the page says: retrain
SLICED = 4  # fields that slices are shown of


@router.get("/")
def home(request: Request, actor: Viewer) -> Response:
    """Show the projects, or the only one."""
    with studio_of(request).database.read() as session:
        projects = list(session.scalars(select(Project).order_by(Project.name)))
        if len(projects) == 1 and "all" not in request.query_params:
            page = "look" if newest_of(session, projects[0].id) else "import"
            return RedirectResponse(f"/p/{projects[0].slug}/{page}", 303)
    return render(request, "home.html", title="Projects", actor=actor, projects=projects)


@router.post("/projects")
def add_project(
    request: Request, actor: AdminForm, name: Annotated[Plain, Form(min_length=1, max_length=200)]
) -> Response:
    """Make a project."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:50] or "project"
    with studio_of(request).database.write() as session:
        taken = set(session.scalars(select(Project.slug)))
        free = next(one for one in (slug, *(f"{slug}-{n}" for n in range(2, 10_000))) if one not in taken)
        session.add(Project(slug=free, name=name, settings={}, created_at=time.time()))
        record(session, actor.name, "make project", free)
    return RedirectResponse(f"/p/{free}/import", 303)


@router.get("/p/{slug}/import")
def import_page(request: Request, slug: str, actor: Viewer) -> Response:
    """Ask for a file, and list what was imported."""
    project = project_of(request, actor, slug)
    with studio_of(request).database.read() as session:
        query = select(Dataset).where(Dataset.project_id == project.id, Dataset.state != "importing")
        datasets = list(session.scalars(query.order_by(Dataset.id.desc()).limit(200)))
    return render(
        request, "import.html", title="Import", actor=actor, project=project, here="import", datasets=datasets
    )


@router.post("/p/{slug}/import")
def import_file(
    request: Request,
    slug: str,
    actor: AnnotatorForm,
    file: UploadFile | None = None,
    pasted: Annotated[str, Form(max_length=3_000_000)] = "",
) -> Response:
    """Keep what was dropped or pasted, and have a worker look at it."""
    if file is None or not file.filename:
        if not pasted.strip():
            raise HTTPException(422, "choose a file, or paste some text")
        import io

        file = UploadFile(io.BytesIO(pasted.encode("utf-8", "replace")), filename="pasted text")
    row = upload(request, file, actor, slug)
    return RedirectResponse(f"/p/{slug}/import/{row['upload']}", 303)


@router.get("/p/{slug}/import/{number}")
def mapping_page(request: Request, slug: str, number: int, actor: Viewer) -> Response:
    """Show how a file would be read, to confirm or to change."""
    project = project_of(request, actor, slug)
    with studio_of(request).database.read() as session:
        row = session.get(Upload, number)
        if row is None or row.project_id != project.id:
            raise HTTPException(404, f"there is no upload {number}")
        jobs = session.scalars(select(Job).where(Job.project_id == project.id, Job.kind == "preview"))
        job = next((one for one in jobs if one.payload.get("upload") == number), None)
    values: dict[str, Any] = {"upload": row, "job": job, "title": row.file_name, "here": "import"}
    if row.preview:
        values |= _mapping(row, project, request)
    return render(request, "mapping.html", actor=actor, project=project, **values)


def _mapping(row: Upload, project: Project, request: Request) -> dict[str, Any]:
    """Return the choices that the form begins with: those asked for, those remembered, those guessed."""
    shown: dict[str, Any] = row.preview or {}
    remembered = project.settings.get("mapping", {})
    remembered_columns = {
        role: column for role, column in remembered.get("columns", {}).items() if column in shown["columns"]
    }
    asked = {
        role: request.query_params[f"column.{role}"] for role, _ in ROLES if f"column.{role}" in request.query_params
    }
    chosen = {**shown["roles"], **remembered_columns, **asked}
    label = shown["labels"].get(chosen.get("label", ""), {"unknown": [], "scale": ""})
    name = re.sub(r"\.(jsonl?|csv|tsv|xlsx|parquet|gz|txt)", "", row.file_name, flags=re.I) or "ratings"
    return {
        "roles": ROLES,
        "chosen": chosen,
        "words": label["unknown"][:30],
        "remembered_words": remembered.get("words", {}),
        "scale": label["scale"] or (remembered.get("scale", "") if remembered_columns else ""),
        "name": name[:200],
    }


@router.post("/p/{slug}/import/{number}")
async def confirm_mapping(request: Request, slug: str, number: int, actor: AnnotatorForm) -> Response:
    """Import a file as it was confirmed, or show it again under other columns."""
    form = await request.form()
    texts = {name: clean(value) for name, value in form.items() if isinstance(value, str)}
    columns = {name.removeprefix("column."): value for name, value in texts.items() if name.startswith("column.")}
    if texts.get("do") == "again":
        query = urlencode({f"column.{role}": column for role, column in columns.items()})
        return RedirectResponse(f"/p/{slug}/import/{number}?{query}", 303)
    words = {name.removeprefix("word."): value for name, value in texts.items() if name.startswith("word.") and value}
    payload = {
        "upload": number,
        "name": texts.get("name", "").strip()[:200] or "ratings",
        "columns": {role: column for role, column in columns.items() if role in dict(ROLES) and column},
        "words": {word: min(max(float(value), 0.0), 1.0) for word, value in words.items() if _number(value)},
        "scale": texts.get("scale", "").strip()[:40],
        "splitter": texts.get("splitter") if texts.get("splitter") in ("sentences", "steps", "lines") else "sentences",
    }
    job = _enqueued(request, actor, slug, number, payload)
    return RedirectResponse(f"/p/{slug}/jobs/{job}", 303)


def _number(text: str) -> bool:
    return bool(re.fullmatch(r"\d+(\.\d+)?", text))


def _enqueued(request: Request, actor: Actor, slug: str, number: int, payload: dict[str, Any]) -> int:
    project = project_of(request, actor, slug)
    with studio_of(request).database.write() as session:
        row = session.get(Upload, number)
        if row is None or row.project_id != project.id:
            raise HTTPException(404, f"there is no upload {number}")
        return enqueue(session, project.id, "import", payload, actor.name).id


@router.get("/p/{slug}/jobs/{number}")
def job_page(request: Request, slug: str, number: int, actor: Viewer) -> Response:
    """Show how a job goes, and what came of it."""
    project = project_of(request, actor, slug)
    with studio_of(request).database.read() as session:
        job = session.get(Job, number)
        if job is None or job.project_id != project.id:
            raise HTTPException(404, f"there is no job {number}")
        if job.kind == "preview" and job.state == "done":
            return RedirectResponse(f"/p/{slug}/import/{job.payload['upload']}", 303)
        scorer = session.scalars(select(ScorerVersion).where(ScorerVersion.job_id == number)).first()
    values: dict[str, Any] = {"scorer": scorer, "verdict": verdict(scorer.facts, scorer.evaluation) if scorer else None}
    here = "train" if job.kind == "train" else "import"
    return render(
        request, "job.html", title=f"Job {number}", actor=actor, project=project, here=here, job=job, **values
    )


@router.post("/p/{slug}/jobs/{number}/{act}")
def act_on_job(request: Request, slug: str, number: int, act: str, actor: AnnotatorForm) -> Response:
    """Stop a job, or let it go on."""
    project = project_of(request, actor, slug)
    with studio_of(request).database.write() as session:
        job = session.get(Job, number)
        if job is None or job.project_id != project.id or act not in ("cancel", "resume"):
            raise HTTPException(404, f"there is no job {number}, or nothing called {act[:20]!r} to do with it")
        if act == "resume":
            resume(session, job)
        elif job.state == "queued":
            job.state, job.finished_at = "cancelled", time.time()
        elif job.state == "running":
            job.cancel = True
        record(session, actor.name, f"{act} job", f"job {number}")
    return RedirectResponse(f"/p/{slug}/jobs/{number}", 303)


@router.get("/p/{slug}/train")
def train_page(request: Request, slug: str, actor: Viewer) -> Response:
    """Show what would be learned from, with sensible choices; and what the last scorer is worth."""
    from fractal.writers import WRITERS

    project = project_of(request, actor, slug)
    with studio_of(request).database.read() as session:
        scorer = newest_of(session, project.id)
        counts = _counts(session, project.id)
        query = select(Job).where(Job.project_id == project.id, Job.kind != "preview").order_by(Job.id.desc())
        jobs = list(session.scalars(query.limit(10)))
        options = _last_options(session, project.id)
    said = verdict(scorer.facts, scorer.evaluation) if scorer else None
    return render(
        request,
        "train.html",
        title="Train",
        actor=actor,
        project=project,
        here="train",
        scorer=scorer,
        verdict=said,
        counts=counts,
        jobs=jobs,
        rules=RULES,
        encoders=ENCODERS,
        options=options,
        writers=WRITERS.names(),
    )


def _counts(session: Any, project: int) -> dict[str, int]:
    datasets = current_datasets(session, project)
    query = select(DatasetResponse.response_id).where(DatasetResponse.dataset_id.in_(datasets)).distinct()
    ids = list(session.scalars(query))
    labels = whole_labels(session, ids)
    pairs = session.scalar(select(func.count()).select_from(DatasetPair).where(DatasetPair.dataset_id.in_(datasets)))
    judged = (
        select(Correction.response_id, Correction.place)
        .join(StoredResponse, StoredResponse.id == Correction.response_id)
        .where(StoredResponse.project_id == project, Correction.source == "person", Correction.new.is_not(None))
        .distinct()
    )
    corrections = session.scalar(select(func.count()).select_from(judged.subquery()))
    labelled = sum(label is not None for label in labels.values())
    return {"responses": len(ids), "labelled": labelled, "pairs": pairs or 0, "corrections": corrections or 0}


def _last_options(session: Any, project: int) -> dict[str, Any]:
    query = select(Job.payload).where(Job.project_id == project, Job.kind == "train").order_by(Job.id.desc()).limit(1)
    payload: dict[str, Any] = session.scalar(query) or {}
    return {name: payload[name] for name in ("rule", "encoder", "epochs") if payload.get(name)}


@router.post("/p/{slug}/train")
def begin_training(
    request: Request,
    slug: str,
    actor: AnnotatorForm,
    rule: Annotated[str, Form(max_length=20)] = "auto",
    encoder: Annotated[str, Form(max_length=20)] = "minilm",
    epochs: Annotated[str, Form(pattern=r"^\d{0,3}$")] = "",
    again: Annotated[str, Form(max_length=5)] = "",
) -> Response:
    """Have a worker train; `again` takes the choices of the last training, and its rule where that was decided."""
    project = project_of(request, actor, slug)
    if rule not in RULES or encoder not in ENCODERS:
        raise HTTPException(422, "choose a rule and an encoder that the page offers")
    options: dict[str, Any] = {"rule": rule, "encoder": encoder, "epochs": int(epochs) if epochs else None}
    with studio_of(request).database.write() as session:
        if again:
            scorer = newest_of(session, project.id)
            options = {**options, **_last_options(session, project.id)}
            if scorer is not None:
                options |= {"rule": scorer.facts["aggregation"], "go_on": True}
        job = start_training(session, project.id, options, actor.name).id
    return RedirectResponse(f"/p/{slug}/jobs/{job}", 303)


def _look(session: Any, project: int) -> tuple[ScorerVersion | None, Colours]:
    """Return the newest scorer and what its colours mean."""
    scorer = newest_of(session, project)
    if scorer is None:
        return None, Colours()
    scores: list[float] = []
    if scorer.facts["data"].get("preferences"):
        for row in session.scalars(select(Scores.sentences).where(Scores.scorer_id == scorer.id).limit(2_000)):
            scores += row
    return scorer, colours_of(scorer.facts, scores)


@router.get("/p/{slug}/look")
def look_page(
    request: Request,
    slug: str,
    actor: Viewer,
    search: str = "",
    show: str = "all",
    order: str = "worst",
    where: str = "",
    page: int = 1,
) -> Response:
    """Show the responses with their colours, the slices, the worst sentences, and the faults that recur."""
    project = project_of(request, actor, slug)
    field, _, value = where.partition("=")
    words = clean(search)[:200]
    chosen = looking.Filter(words, clean(field).replace('"', ""), clean(value), show, order, page)
    with studio_of(request).database.read() as session:
        scorer, colours = _look(session, project.id)
        shown = looking.page(session, project, scorer, chosen)
        fields = looking.fields_of(session, project.id, scorer)
        extra: dict[str, Any] = {"slices": {}, "inbox": [], "faults": []}
        if scorer is not None:
            names = [name for name, values in fields.items() if len(values) > 1][:SLICED]
            worst = looking.inbox(session, project.id, scorer, 400)
            bad = [one for one in worst if one["score"] < colours.threshold]
            extra = {
                "slices": {name: looking.slices(session, project.id, scorer, name) for name in names},
                "inbox": worst,
                "faults": looking.recurring(bad),
            }

    def link(**changes: Any) -> str:
        return urlencode({"search": words, "show": show, "order": order, "where": where, "page": page} | changes)

    return render(
        request,
        "look.html",
        title="Look",
        actor=actor,
        project=project,
        here="look",
        scorer=scorer,
        colours=colours,
        chosen=chosen,
        fields=fields,
        link=link,
        cards=shown["cards"],
        total=shown["total"],
        number=shown["page"],
        pages=shown["pages"],
        **extra,
    )


@router.get("/p/{slug}/look/{number}")
def response_page(request: Request, slug: str, number: int, actor: Viewer, place: int = 0) -> Response:
    """Show one response, all that was said of it, and let it be judged."""
    project = project_of(request, actor, slug)
    with studio_of(request).database.read() as session:
        scorer, colours = _look(session, project.id)
        cards = looking.cards(session, project.id, scorer, [number])
        if not cards:
            raise HTTPException(404, f"there is no response {number} in the project's data")
        history = _history(session, number)
    return render(
        request,
        "response.html",
        title=cards[0]["id"],
        actor=actor,
        project=project,
        here="look",
        card=cards[0],
        colours=colours,
        chosen=place,
        history=history,
    )


def _history(session: Any, response: int) -> list[str]:
    rows: list[tuple[float, str]] = []
    for one in session.scalars(select(LabelChange).where(LabelChange.response_id == response)):
        note = f" ({one.note})" if one.note else ""
        rows.append((one.created_at, f"{one.author}: the response {_shown(one.old)} → {_shown(one.new)}{note}"))
    for one in session.scalars(select(Correction).where(Correction.response_id == response)):
        note = f" ({one.note})" if one.note else ""
        rows.append((one.created_at, f"{one.author}: sentence {one.place + 1} {one.verdict}{note}"))
    return [f"{when(moment)} {text}" for moment, text in sorted(rows)]


def _shown(label: float | None) -> str:
    return "unknown" if label is None else f"{label:.2f}"


@router.post("/p/{slug}/look/{number}/label")
def change_label(
    request: Request,
    slug: str,
    number: int,
    actor: AnnotatorForm,
    label: Annotated[str, Form(pattern=r"^(0|0\.5|1)?$")] = "",
    note: Annotated[Plain, Form(max_length=400)] = "",
) -> Response:
    """Change the label of a whole response; what it was stays on record."""
    project = project_of(request, actor, slug)
    with studio_of(request).database.write() as session:
        row = relabel(session, project.id, actor.name, number, float(label) if label else None, note)
        record(session, actor.name, "label", f"response {number}", {"from": row.old, "to": row.new})
    return RedirectResponse(f"/p/{slug}/look/{number}", 303)


@router.get("/p/{slug}/correct")
def correct_page(request: Request, slug: str, actor: Viewer, at: str = "") -> Response:
    """Show the sentence that this person should judge next."""
    project = project_of(request, actor, slug)
    values: dict[str, Any] = {"card": None, "chosen": 0, "waiting": 0}
    with studio_of(request).database.read() as session:
        scorer, colours = _look(session, project.id)
        since, agreed = since_training(session, project.id), agreement(session, project.id)
        if scorer is not None:
            queue = dealt(session, scorer, actor.name, 400, turn_of(actor.name))
            back = re.fullmatch(r"(\d{1,18})\.(\d{1,9})", at)
            target = (int(back[1]), int(back[2])) if back else None
            if target is None and queue:
                target = (queue[0]["response"], queue[0]["place"])
            shown = looking.cards(session, project.id, scorer, [target[0]]) if target else []
            if shown and target:
                values = {"card": shown[0], "chosen": target[1], "waiting": max(0, len(queue) - 1)}
    return render(
        request,
        "correct.html",
        title="Correct",
        actor=actor,
        project=project,
        here="correct",
        scorer=scorer,
        colours=colours,
        since=since,
        agreement=agreed,
        enough=ENOUGH,
        **values,
    )


@router.get("/p/{slug}/try")
def try_page(request: Request, slug: str, actor: Viewer) -> Response:
    """Let an answer be pasted and coloured at once."""
    project = project_of(request, actor, slug)
    with studio_of(request).database.read() as session:
        scorer, colours = _look(session, project.id)
    return render(
        request, "try.html", title="Try", actor=actor, project=project, here="try", scorer=scorer, colours=colours
    )
