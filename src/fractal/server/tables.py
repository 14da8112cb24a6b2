"""The data model: what is imported never changes, what people say is only ever added."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "ApiKey",
    "AuditEntry",
    "Base",
    "Correction",
    "Dataset",
    "DatasetPair",
    "DatasetResponse",
    "IdempotencyKey",
    "Job",
    "JobEvent",
    "LabelChange",
    "LoginSession",
    "Project",
    "ScorerVersion",
    "Scores",
    "StoredResponse",
    "StoredSentence",
    "Upload",
    "User",
]

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by themselves only where the type is INTEGER


class Base(DeclarativeBase):
    """What every table shares. Times are seconds since 1970, in UTC."""


class Project(Base):
    """Data, scorers and people's corrections that belong together."""

    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    slug: Mapped[str] = mapped_column(String(60), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    settings: Mapped[dict[str, Any]] = mapped_column(
        JSON, default=dict
    )  # the mapping of columns that was last confirmed
    created_at: Mapped[float] = mapped_column(Float(53))


class Upload(Base):
    """A file as it came: its bytes stand in the store, under their hash."""

    __tablename__ = "uploads"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    sha256: Mapped[str] = mapped_column(String(64))
    file_name: Mapped[str] = mapped_column(String(255))  # for people to read; never a path
    size: Mapped[int] = mapped_column(BigInteger)
    preview: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(Float(53))
    created_by: Mapped[str] = mapped_column(String(200))


class Dataset(Base):
    """One immutable version of a data set; the newest version of each name is what a project learns from."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("project_id", "name", "version"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(20))  # importing, open (feedback still arrives), sealed
    content_hash: Mapped[str] = mapped_column(String(64), default="")  # once it is sealed
    upload_id: Mapped[int | None] = mapped_column(ForeignKey("uploads.id"))
    report: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[float] = mapped_column(Float(53))
    created_by: Mapped[str] = mapped_column(String(200))


class StoredResponse(Base):
    """A response of a project, once, whichever data sets hold it."""

    __tablename__ = "responses"
    __table_args__ = (UniqueConstraint("project_id", "key"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    key: Mapped[str] = mapped_column(String(64))  # the hash of all that never changes
    external_id: Mapped[str] = mapped_column(Text)
    query: Mapped[str] = mapped_column(Text)
    context: Mapped[list[str]] = mapped_column(JSON)
    text: Mapped[str] = mapped_column(Text)
    group: Mapped[str | None] = mapped_column("group_name", Text)
    aspects: Mapped[dict[str, float]] = mapped_column(JSON, default=dict)
    columns: Mapped[dict[str, list[float]]] = mapped_column(JSON, default=dict)
    extra: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class StoredSentence(Base):
    """A sentence of a response, by its place."""

    __tablename__ = "sentences"
    __table_args__ = (UniqueConstraint("response_id", "place"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    response_id: Mapped[int] = mapped_column(ForeignKey("responses.id"))
    place: Mapped[int] = mapped_column(Integer)
    text: Mapped[str] = mapped_column(Text)
    start: Mapped[int] = mapped_column("start_at", Integer)
    end: Mapped[int] = mapped_column("end_at", Integer)


class DatasetResponse(Base):
    """Which responses a data set holds, in order."""

    __tablename__ = "dataset_responses"
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    response_id: Mapped[int] = mapped_column(ForeignKey("responses.id"), index=True)


class DatasetPair(Base):
    """Which response of a data set is preferred over which."""

    __tablename__ = "dataset_pairs"
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    better_id: Mapped[int] = mapped_column(ForeignKey("responses.id"))
    worse_id: Mapped[int] = mapped_column(ForeignKey("responses.id"))
    tie: Mapped[bool] = mapped_column(Boolean)
    external_id: Mapped[str] = mapped_column(Text, default="")


class LabelChange(Base):
    """What someone or some file said of a whole response: from what, to what; the newest counts. Never altered."""

    __tablename__ = "label_changes"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    response_id: Mapped[int] = mapped_column(ForeignKey("responses.id"), index=True)
    old: Mapped[float | None] = mapped_column(Float(53))
    new: Mapped[float | None] = mapped_column(Float(53))
    source: Mapped[str] = mapped_column(String(20))  # import, person, feedback
    author: Mapped[str] = mapped_column(String(200))
    note: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[float] = mapped_column(Float(53))


class Correction(Base):
    """What someone said of a sentence; of each author the newest counts. Never altered: undo adds another."""

    __tablename__ = "corrections"
    __table_args__ = (Index("ix_corrections_response_author", "response_id", "author"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    response_id: Mapped[int] = mapped_column(ForeignKey("responses.id"))
    place: Mapped[int] = mapped_column(Integer)
    verdict: Mapped[str] = mapped_column(String(10))  # good, bad, skip, part (a label between), none (taken back)
    old: Mapped[float | None] = mapped_column(Float(53))  # the same author's label before
    new: Mapped[float | None] = mapped_column(Float(53))
    source: Mapped[str] = mapped_column(String(20))  # import, person
    author: Mapped[str] = mapped_column(String(200))
    note: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[float] = mapped_column(Float(53))


class ScorerVersion(Base):
    """A trained scorer: its folder stands in the store, under its hash."""

    __tablename__ = "scorers"
    __table_args__ = (UniqueConstraint("project_id", "number"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    number: Mapped[int] = mapped_column(Integer)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"), unique=True)
    folder_hash: Mapped[str] = mapped_column(String(64))
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)  # aggregation, encoder, data, metrics, choices, checks
    evaluation: Mapped[dict[str, Any]] = mapped_column(JSON)  # on held-out labels, beside the scorer before
    created_at: Mapped[float] = mapped_column(Float(53))


class Scores(Base):
    """What one scorer says of one response."""

    __tablename__ = "scores"
    __table_args__ = (Index("ix_scores_lowest", "scorer_id", "lowest"),)
    scorer_id: Mapped[int] = mapped_column(ForeignKey("scorers.id"), primary_key=True)
    response_id: Mapped[int] = mapped_column(ForeignKey("responses.id"), primary_key=True, index=True)
    response_score: Mapped[float] = mapped_column(Float(53))  # by heads that never saw the response, without its label
    lowest: Mapped[float] = mapped_column(Float(53))
    flagged: Mapped[int] = mapped_column(Integer)  # sentences below one half
    sentences: Mapped[list[float]] = mapped_column(JSON)  # given the response's label, where it has one
    unseen: Mapped[list[float]] = mapped_column(JSON)  # without it, by heads that never saw the response
    spread: Mapped[list[float]] = mapped_column(JSON)


class Job(Base):
    """Work for a worker: whoever holds the lease does it, and only they may finish it."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_state", "state", "lease_until"),)
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))  # preview, import, train
    state: Mapped[str] = mapped_column(String(20))  # queued, running, done, failed, cancelled
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    error: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    lease: Mapped[str] = mapped_column(String(64), default="")  # who holds it
    lease_until: Mapped[float] = mapped_column(Float(53), default=0.0)
    cancel: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[float] = mapped_column(Float(53))
    started_at: Mapped[float | None] = mapped_column(Float(53))
    finished_at: Mapped[float | None] = mapped_column(Float(53))
    created_by: Mapped[str] = mapped_column(String(200))


class JobEvent(Base):
    """How a job goes, for whoever watches."""

    __tablename__ = "job_events"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(Float(53))


class User(Base):
    """A person. Without a password they can come in by a one-time link alone."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    password_hash: Mapped[str] = mapped_column(String(200), default="")
    role: Mapped[str] = mapped_column(String(20))  # reader, annotator, admin
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    created_at: Mapped[float] = mapped_column(Float(53))


class LoginSession(Base):
    """A browser that is logged in; the cookie's hash stands here, not the cookie."""

    __tablename__ = "login_sessions"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    csrf: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[float] = mapped_column(Float(53))


class ApiKey(Base):
    """A program's way in, to one project; its hash stands here, not the key."""

    __tablename__ = "api_keys"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str] = mapped_column(String(200))
    prefix: Mapped[str] = mapped_column(String(16))  # what people know it by
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[float] = mapped_column(Float(53))
    created_by: Mapped[str] = mapped_column(String(200))
    revoked_at: Mapped[float | None] = mapped_column(Float(53))


class IdempotencyKey(Base):
    """What was answered to a request that may be sent again."""

    __tablename__ = "idempotency_keys"
    actor: Mapped[str] = mapped_column(String(200), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[int] = mapped_column(Integer)
    answer: Mapped[Any] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(Float(53))


class AuditEntry(Base):
    """Who did what. Never altered."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    created_at: Mapped[float] = mapped_column(Float(53), index=True)
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(60))
    target: Mapped[str] = mapped_column(String(200))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    request_id: Mapped[str] = mapped_column(String(64), default="")
