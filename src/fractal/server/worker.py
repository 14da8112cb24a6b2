"""The worker: takes a job, does it, says that it is alive, and ends it in the same breath as it writes what it made."""

from __future__ import annotations

import json
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import select

from fractal.errors import BadData, FractalError
from fractal.server.audit import record
from fractal.server.database import Database
from fractal.server.importing import (
    ColumnMapping,
    add_records,
    chunks,
    content_hash,
    label_choices,
    new_dataset,
    parse,
    preview,
)
from fractal.server.jobs import LostLease, Queue, Stopped
from fractal.server.settings import Settings
from fractal.server.store import Store
from fractal.server.tables import Dataset, DatasetResponse, Job, Project, StoredResponse, Upload
from fractal.server.training import enter, plain_facts, train

__all__ = ["Worker", "run_worker"]

logger = logging.getLogger("fractal.server.worker")

POLL_SECONDS = 0.25
TOLD_EVERY = 0.25  # seconds between two events of one job
RECORDS_AT_ONCE = 500


class Worker:
    """Does jobs one after another."""

    def __init__(self, database: Database, store: Store, settings: Settings) -> None:
        self.database, self.store, self.settings = database, store, settings
        self.queue = Queue(database, settings.lease_seconds, settings.max_attempts)
        self._stopping = threading.Event()

    def run(self, alive: Callable[[], bool] = lambda: True) -> None:
        """Do jobs until told to stop, or until whoever started this worker is gone."""
        while not self._stopping.is_set() and alive():
            try:
                if not self.step():
                    self._stopping.wait(POLL_SECONDS)
            except Exception:  # the database may come back
                logger.exception("the queue cannot be read; trying again")
                self._stopping.wait(2.0)

    def stop(self) -> None:
        """Stop after the job at hand."""
        self._stopping.set()

    def step(self) -> bool:
        """Do one job, if one waits."""
        claimed = self.queue.claim()
        if claimed is None:
            return False
        job, lease = claimed
        logger.info("job %d (%s), attempt %d", job.id, job.kind, job.attempts)
        with _Heart(self.queue, job.id, lease) as heart:
            state, error = self._do(job, lease, heart)
        if state:
            try:
                self.queue.end(job.id, lease, state, error)
            except LostLease:
                logger.warning("job %d went to another worker", job.id)
        return True

    def _do(self, job: Job, lease: str, heart: _Heart) -> tuple[str, str]:
        """Do a job; return how it ended where it has no result, with the reason."""
        tell = _Teller(self.queue, job.id, lease, heart)
        try:
            getattr(self, f"_{job.kind}")(job, lease, tell)
        except Stopped:
            return "cancelled", ""
        except LostLease:
            logger.warning("job %d went to another worker", job.id)
        except (FractalError, ValueError) as error:
            return "failed", str(error)
        except Exception as error:  # a job must never take its worker down
            logger.exception("job %d failed", job.id)
            return "failed", f"{type(error).__name__}: look at the worker's log for job {job.id}"
        return "", ""

    def _upload(self, job: Job) -> Upload:
        with self.database.read() as session:
            upload = session.get(Upload, job.payload["upload"])
        if upload is None:
            raise BadData("the uploaded file is not there any more: upload it again")
        return upload

    def _preview(self, job: Job, lease: str, tell: _Teller) -> None:
        upload = self._upload(job)
        with _scratch(self.store, job.id):
            shown = plain_facts(preview(self.store.upload(upload.sha256), upload.file_name, self.settings.limits))
        shown["labels"] = {name: label_choices(values) for name, values in shown["values"].items()}
        with self.database.write() as session:
            session.merge(upload).preview = shown
            self.queue.finish(session, job.id, lease, {"upload": upload.id})
        self.store.clear_work(job.id)

    def _import(self, job: Job, lease: str, tell: _Teller) -> None:
        upload, mapping = self._upload(job), ColumnMapping.of(job.payload)
        path = self.store.upload(upload.sha256)
        rejects = self.store.work(job.id) / "rejects.jsonl"
        tell({"stage": "Reading", "share": 0.0}, always=True)
        with _scratch(self.store, job.id):
            records, report = parse(path, upload.file_name, mapping, self.settings.limits, rejects)
        if not records:
            first = next(iter(report.examples.values()), "the file is empty")
            raise BadData(f"no row could be read: {first}")
        dataset = self._begun(job, lease, upload)
        for place, run in chunks(records, RECORDS_AT_ONCE):
            with self.database.write() as session:
                self.queue.hold(session, job.id, lease)
                add_records(session, session.merge(dataset), place, run)
            tell({"stage": "Storing", "done": place + len(run), "total": len(records), "share": place / len(records)})
        facts = _import_facts(records, report, rejects)
        with self.database.write() as session:
            keys = select(StoredResponse.key).join(DatasetResponse, DatasetResponse.response_id == StoredResponse.id)
            row = session.merge(dataset)
            ordered = keys.where(DatasetResponse.dataset_id == row.id).order_by(DatasetResponse.place)
            row.content_hash = content_hash(session.scalars(ordered), {"mapping": dict(mapping.columns)})
            row.state, row.report = "sealed", facts
            project = session.get_one(Project, job.project_id)
            remembered = {name: job.payload[name] for name in ("columns", "words", "scale") if name in job.payload}
            project.settings = {**project.settings, "mapping": remembered}
            record(
                session, job.created_by, "import", f"{row.name} version {row.version}", {"rejected": report.rejected}
            )
            self.queue.finish(session, job.id, lease, {"dataset": row.id, **facts})
        self.store.clear_work(job.id)

    def _begun(self, job: Job, lease: str, upload: Upload) -> Dataset:
        """Return the version that this job fills: the one that an earlier attempt began, or a new one."""
        with self.database.write() as session:
            self.queue.hold(session, job.id, lease)
            row = session.get_one(Job, job.id)
            if "dataset" in row.payload:
                return session.get_one(Dataset, row.payload["dataset"])
            fields = {"state": "importing", "upload_id": upload.id, "report": {}}
            dataset = new_dataset(session, job.project_id, job.payload["name"], job.created_by, **fields)
            row.payload = {**row.payload, "dataset": dataset.id}
            return dataset

    def _train(self, job: Job, lease: str, tell: _Teller) -> None:
        trained = train(self.database, self.store, job.id, job.project_id, job.payload, tell)
        with self.database.write() as session:
            result = enter(session, job.project_id, job.id, trained)
            record(session, job.created_by, "train", f"scorer {result['scorer']}", {"job": job.id})
            self.queue.finish(session, job.id, lease, result)
        self.store.clear_work(job.id)


class _Heart:
    """Keeps the lease while a job is done, and hears when somebody wants it stopped."""

    def __init__(self, queue: Queue, job: int, lease: str) -> None:
        self._queue, self._job, self._lease = queue, job, lease
        self._done = threading.Event()
        self.stop, self.lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> _Heart:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._done.wait(min(self._queue.lease_seconds / 4, 1.0)):
            try:
                if self._queue.beat(self._job, self._lease):
                    self.stop.set()
            except LostLease:
                self.lost.set()
                return
            except Exception:  # a database that is away for a moment is no reason to give up
                logger.warning("the lease of job %d could not be renewed", self._job, exc_info=True)


class _Teller:
    """Tells how a job goes, not too often, and ends it where somebody wants it stopped."""

    def __init__(self, queue: Queue, job: int, lease: str, heart: _Heart) -> None:
        self._queue, self._job, self._lease, self._heart = queue, job, lease, heart
        self._last = 0.0

    def __call__(self, data: dict[str, Any], always: bool = False) -> None:
        if self._heart.stop.is_set():
            raise Stopped
        if self._heart.lost.is_set():
            raise LostLease
        if always or time.monotonic() - self._last >= TOLD_EVERY:
            self._last = time.monotonic()
            self._queue.tell(self._job, self._lease, data)


class _scratch:
    """Puts temporary files where they vanish with the job."""

    def __init__(self, store: Store, job: int) -> None:
        self._folder, self._before = str(store.work(job)), tempfile.tempdir

    def __enter__(self) -> None:
        tempfile.tempdir = self._folder

    def __exit__(self, *_: object) -> None:
        tempfile.tempdir = self._before
        for path in Path(self._folder).glob("fractal-upload-*"):
            path.unlink(missing_ok=True)


def _import_facts(records: list[Any], report: Any, rejects: Any) -> dict[str, Any]:
    """Return what a person is told after an import: counts, the checks of the data, the rejected rows."""
    from fractal.evaluation.data_checks import data_checks
    from fractal.records import Response
    from fractal.server.importing import DATA_CHECKED

    wholes = [item for item in records if isinstance(item, Response)][:DATA_CHECKED]
    checks = [finding.to_dict() for finding in data_checks(wholes)] if wholes else []
    rejected = [json.loads(line) for line in rejects.read_bytes().splitlines()] if rejects.exists() else []
    return plain_facts(
        {
            "responses": report.responses,
            "preferences": report.preferences,
            "sentences": report.sentences,
            "labelled": report.labelled,
            "rejected": report.rejected,
            "reasons": report.reasons,
            "columns": report.columns,
            "carried": sorted(report.carried),
            "notes": report.notes,
            "checks": checks,
            "rejects": rejected[:10_000],
            "rejects_left_out": max(0, len(rejected) - 10_000),
        }
    )


def run_worker(settings: Settings, parent: int = 0) -> None:
    """Run a worker until it is told to stop; with a parent process, until that is gone."""
    from fractal.server.database import open_database

    database = open_database(settings)
    worker = Worker(database, Store(settings.data), settings)

    def stop(_: int, __: FrameType | None) -> None:
        worker.stop()

    signal.signal(signal.SIGTERM, stop)
    try:
        worker.run(lambda: not parent or os.getppid() == parent)
    finally:
        database.close()
