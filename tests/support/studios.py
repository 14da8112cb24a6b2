"""Studios for tests: in this process, with a worker that does its jobs when it is told to."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from fractal import make_responses
from fractal.server.app import make_app
from fractal.server.people import create_key
from fractal.server.settings import Limits, Settings
from fractal.server.studio import Studio
from fractal.server.tables import Project
from fractal.server.worker import Worker

GOOD, BAD = "gut", "schlecht"
COLUMNS = {"response": "antwort", "label": "urteil", "query": "frage", "context": "quelle", "id": "nr", "group": "akte"}
WORDS = {GOOD: 1.0, BAD: 0.0}
QUICK = {"rule": "product", "encoder": "hashing", "epochs": 3}


def ratings_csv(count: int = 60, delimiter: str = ";", seed: int = 1) -> str:
    """Rated answers as a German colleague would export them: odd names of columns, words for labels, a model's name."""
    rows = make_responses(count, task="summaries", seed=seed)
    text = io.StringIO()
    table = csv.writer(text, delimiter=delimiter)
    table.writerow(["nr", "frage", "quelle", "antwort", "urteil", "modell", "akte"])
    for number, row in enumerate(rows):
        label = GOOD if row.label and row.label > 0.5 else BAD
        table.writerow([row.id, row.query, " ".join(row.context), row.text, label, "AB"[number % 2], row.group or ""])
    return text.getvalue()


@dataclass
class Opened:
    """A studio that is open in this process."""

    studio: Studio
    http: TestClient
    worker: Worker
    project: int
    keys: dict[str, str]

    def headers(self, role: str = "admin", **more: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[role]}", **more}

    def get(self, path: str, role: str = "admin", **options: Any) -> Any:
        return self.http.get(path, headers=self.headers(role), **options)

    def post(self, path: str, body: Any = None, role: str = "admin", **headers: str) -> Any:
        return self.http.post(path, json=body, headers=self.headers(role, **headers))

    def work(self) -> None:
        """Do every job that waits."""
        while self.worker.step():
            pass

    def upload(self, content: bytes | str, name: str = "ratings.csv", role: str = "admin") -> dict[str, Any]:
        data = content.encode() if isinstance(content, str) else content
        answer = self.http.post("/v1/uploads", files={"file": (name, data)}, headers=self.headers(role))
        assert answer.status_code == 202, answer.text
        self.work()
        return answer.json()

    def job(self, number: int) -> dict[str, Any]:
        return self.get(f"/v1/jobs/{number}").json()

    def bring(self, content: bytes | str, name: str = "ratings.csv", **options: Any) -> dict[str, Any]:
        """Upload and import, and return the job at its end."""
        told = self.upload(content, name)
        body = {"upload": told["upload"], "name": "ratings", **options}
        answer = self.post("/v1/datasets", body)
        assert answer.status_code == 202, answer.text
        self.work()
        return self.job(answer.json()["job"])

    def train(self, **options: Any) -> dict[str, Any]:
        answer = self.post("/v1/train", {**QUICK, **options})
        assert answer.status_code == 202, answer.text
        self.work()
        return self.job(answer.json()["job"])

    def browser(self) -> TestClient:
        """Another client, logged in by the one-time link."""
        client = TestClient(self.http.app, base_url="http://127.0.0.1:8765", follow_redirects=True)
        assert client.get(self.studio.link().partition("8765")[2], headers={"accept": "text/html"}).status_code == 200
        return client


@contextmanager
def opened(data: Path, database: str = "", limits: Limits | None = None, **options: Any) -> Iterator[Opened]:
    """Open a studio."""
    settings = replace(Settings(data, database, **options), limits=limits or Limits())
    studio = Studio.open(settings)
    with studio.database.read() as session:
        project = session.query(Project).order_by(Project.id).first()
    keys = {role: create_key(studio, project, role, role, "test") for role in ("reader", "annotator", "admin")}
    worker = Worker(studio.database, studio.store, settings)
    with TestClient(make_app(studio), base_url="http://127.0.0.1:8765") as http:
        yield Opened(studio, http, worker, project.id, keys)


def trained_folder(folder: Path) -> Path:
    """Make a data folder whose project holds ratings and a scorer."""
    with opened(folder) as one:
        assert one.bring(ratings_csv(), columns=COLUMNS, words=WORDS)["state"] == "done"
        told = one.train()
        assert told["state"] == "done", told["error"]
    return folder


@contextmanager
def copied(folder: Path, target: Path, **options: Any) -> Iterator[Opened]:
    """Open a copy of a data folder."""
    shutil.copytree(folder, target)
    with opened(target, **options) as one:
        yield one
