"""The queue of jobs, in the database: one worker holds a job by a lease, and only who holds it may finish it."""

from __future__ import annotations

import secrets
import time
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from fractal.server.database import Database
from fractal.server.tables import Job, JobEvent

__all__ = ["LostLease", "Queue", "Stopped", "enqueue", "resume"]


class LostLease(Exception):
    """Another worker has the job by now: whatever this one has made of it does not count."""


class Stopped(Exception):
    """Somebody stopped the job."""


def enqueue(session: Session, project: int, kind: str, payload: dict[str, Any], by: str) -> Job:
    """Add a job; it is there once the session is committed."""
    job = Job(
        project_id=project, kind=kind, state="queued", payload=payload, created_at=time.time(), created_by=by, error=""
    )
    session.add(job)
    session.flush()
    return job


def resume(session: Session, job: Job) -> bool:
    """Queue a job again that was stopped or that failed; it goes on from what it kept."""
    changed: Any = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state.in_(("cancelled", "failed")))
        .values(state="queued", cancel=False, error="", attempts=0, lease="", lease_until=0.0, finished_at=None)
    )
    return bool(changed.rowcount)


class Queue:
    """The jobs as a worker sees them."""

    def __init__(self, database: Database, lease_seconds: float, max_attempts: int) -> None:
        self.database, self.lease_seconds, self.max_attempts = database, lease_seconds, max_attempts

    def claim(self) -> tuple[Job, str] | None:
        """Take the oldest job that waits, or one whose worker has fallen silent."""
        now, lease = time.time(), secrets.token_hex(16)
        with self.database.write() as session:
            waiting = (Job.state == "queued") | ((Job.state == "running") & (Job.lease_until < now))
            job = session.scalars(
                select(Job).where(waiting).order_by(Job.id).limit(1).with_for_update(skip_locked=True)
            ).first()
            if job is None:
                return None
            if job.attempts >= self.max_attempts:
                job.state, job.finished_at = "failed", now
                job.error = f"{job.attempts} workers died under this job: look at the worker's log"
                return None
            if job.cancel:
                job.state, job.finished_at = "cancelled", now
                return None
            job.state, job.lease, job.lease_until = "running", lease, now + self.lease_seconds
            job.attempts += 1
            job.started_at = job.started_at or now
            return job, lease

    def beat(self, job: int, lease: str) -> bool:
        """Say that the job is being done; return whether somebody wants it stopped."""
        with self.database.write() as session:
            self.hold(session, job, lease)
            return bool(session.scalar(select(Job.cancel).where(Job.id == job)))

    def hold(self, session: Session, job: int, lease: str) -> None:
        """Make sure, inside a session that writes, that the job is still ours, and hold on to it."""
        held: Any = session.execute(
            update(Job)
            .where(Job.id == job, Job.lease == lease, Job.state == "running")
            .values(lease_until=time.time() + self.lease_seconds)
        )
        if not held.rowcount:
            raise LostLease(f"job {job} has gone to another worker")

    def finish(self, session: Session, job: int, lease: str, result: dict[str, Any]) -> None:
        """Enter the result, in the session that writes what the job has made: both are there, or neither."""
        self.hold(session, job, lease)
        session.execute(
            update(Job).where(Job.id == job).values(state="done", result=result, finished_at=time.time(), lease="")
        )

    def end(self, job: int, lease: str, state: str, error: str = "") -> None:
        """End a job that has no result."""
        with self.database.write() as session:
            self.hold(session, job, lease)
            session.execute(
                update(Job).where(Job.id == job).values(state=state, error=error, finished_at=time.time(), lease="")
            )

    def tell(self, job: int, lease: str, data: dict[str, Any]) -> None:
        """Say how a job goes, to whoever watches."""
        with self.database.write() as session:
            self.hold(session, job, lease)
            session.add(JobEvent(job_id=job, data=data, created_at=time.time()))
