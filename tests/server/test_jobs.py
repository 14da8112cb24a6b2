"""Jobs: done once, taken over from workers that died, stopped and resumed; several people at once."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from fractal.client import Client
from fractal.server.database import Database
from fractal.server.jobs import LostLease, Queue, enqueue
from fractal.server.tables import Correction, Dataset, DatasetResponse, Job, LabelChange, ScorerVersion
from support.effort import few
from support.servers import Served, postgres, start_worker
from support.studios import COLUMNS, QUICK, WORDS, Opened, copied, ratings_csv


def test_a_job_has_one_worker_at_a_time(studio: Opened) -> None:
    queue = Queue(studio.studio.database, lease_seconds=0.2, max_attempts=3)
    with studio.studio.database.write() as session:
        number = enqueue(session, studio.project, "preview", {}, "ann").id
    first, lease = queue.claim()
    assert first.id == number
    assert queue.claim() is None
    time.sleep(0.3)
    _, second = queue.claim()
    with pytest.raises(LostLease):
        queue.beat(number, lease)
    with pytest.raises(LostLease), studio.studio.database.write() as session:
        queue.finish(session, number, lease, {})
    with studio.studio.database.write() as session:
        queue.finish(session, number, second, {"done": 1})
    assert studio.job(number)["state"] == "done"
    assert studio.job(number)["attempts"] == 2


def test_a_job_that_kills_its_workers_fails_in_the_end(studio: Opened) -> None:
    queue = Queue(studio.studio.database, lease_seconds=0.01, max_attempts=2)
    with studio.studio.database.write() as session:
        number = enqueue(session, studio.project, "preview", {}, "ann").id
    for _ in range(3):
        queue.claim()
        time.sleep(0.03)
    assert studio.job(number)["state"] == "failed"
    assert "workers died" in studio.job(number)["error"]


def test_stop_and_resume_give_the_same_scorer(trained: Path, tmp_path: Path) -> None:
    scorers = []
    for stop in (False, True):
        with copied(trained, tmp_path / f"s{stop}") as one:
            told = one.post("/v1/train", QUICK).json()
            if stop:
                events = []

                def halt(job: int, lease: str, data: dict, one: Opened = one, events: list = events) -> None:
                    events.append(data)
                    if data.get("epoch") and len(events) > 1:
                        one.post(f"/v1/jobs/{job}/cancel")
                        time.sleep(0.1)

                real, one.worker.queue.tell = one.worker.queue.tell, halt
                one.worker.queue.lease_seconds = 0.2
                one.work()
                one.worker.queue.tell, one.worker.queue.lease_seconds = real, 20.0
                assert one.job(told["job"])["state"] == "cancelled"
                assert one.post(f"/v1/jobs/{told['job']}/resume").json()["state"] == "queued"
            one.work()
            assert one.job(told["job"])["state"] == "done"
            scorers.append(one.get("/v1/scorers").json()[0])
    assert scorers[0]["folder_hash"] == scorers[1]["folder_hash"]


def annotate(served: Served, key: str, rows: list[dict], author: int, errors: list) -> None:
    try:
        with Client(served.url, key) as client:
            for row in rows:
                for place in range(len(row["scores"]) or 1):
                    verdict = ("good", "bad")[(row["response"] + place + author) % 2]
                    client.correct([{"response": row["response"], "place": place, "verdict": verdict}])
    except Exception as error:
        errors.append(error)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_five_annotators_at_once_lose_nothing(backend: str, tmp_path: Path) -> None:
    if backend == "sqlite":
        annotators(tmp_path / "s", "")
    else:
        with postgres() as url:
            annotators(tmp_path / "s", url)


def annotators(data: Path, database: str) -> None:
    from support.studios import create_key, opened

    with opened(data, database) as one:
        one.bring(ratings_csv(30), columns=COLUMNS, words=WORDS)
        with one.studio.database.read() as session:
            project = one.studio.scorers and session.execute(select(Job.project_id)).scalar()
        from fractal.server.tables import Project

        with one.studio.database.read() as session:
            row = session.get(Project, project)
        keys = [create_key(one.studio, row, f"ann {number}", "annotator", "test") for number in range(5)]
        rows = [{**card, "scores": card["verdicts"]} for card in one.get("/v1/responses").json()]
    options = ("--database", database) if database else ()
    errors: list = []
    with Served(data, *options, "--workers", "0") as served:
        threads = [
            threading.Thread(target=annotate, args=(served, key, rows, number, errors))
            for number, key in enumerate(keys)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
    store = Database(database or f"sqlite:///{(data / 'studio.db').resolve()}")
    with store.read() as session:
        counts = dict(session.execute(select(Correction.author, func.count()).group_by(Correction.author)).all())
    sentences = sum(len(row["scores"]) for row in rows)
    assert sorted(counts.values()) == [sentences] * 5
    store.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_of_worker_and_server_lose_nothing_confirmed(trained: Path, tmp_path: Path) -> None:
    """Kills −9 at random moments while files are imported, a scorer learns and people correct."""
    seed = random.Random(7)
    data = tmp_path / "s"
    with copied(trained, data) as one:
        key = one.keys["admin"]
        rows = one.get("/v1/responses").json()
    served = Served(data, "--workers", "0", lease=1.0)
    served.start()
    worker = start_worker(data, lease=1.0)
    confirmed: list[dict] = []
    jobs: list[int] = []
    stopping = threading.Event()
    people = threading.Thread(target=correct_on, args=(served, key, rows, confirmed, stopping))
    tasks = threading.Thread(target=work_on, args=(served, key, jobs, stopping, tmp_path))
    people.start()
    tasks.start()
    try:
        for number in range(few(12, 30)):
            time.sleep(seed.uniform(0.2, 1.5))
            if number % 3 == 0:
                served.kill()
                served.start()
            else:
                worker.kill()
                worker.wait()
                worker = start_worker(data, lease=1.0)
    finally:
        stopping.set()
        people.join(120)
        tasks.join(120)
    with Client(served.url, key, retries=8) as client:
        resume_failed(client, jobs)
        ended = [client.wait(job, 240)["state"] for job in jobs]
    served.stop()
    worker.terminate()
    worker.wait(60)
    assert set(ended) == {"done"}
    assert confirmed
    check_whole(data, confirmed, jobs)


def resume_failed(client: Client, jobs: list[int]) -> None:
    """A job that five workers died under gives up: that is meant, and somebody resumes it."""
    for job in jobs:
        for state in client.watch(job, 240):
            if state["state"] == "failed" and "workers died" in state["error"]:
                client.request("POST", f"/v1/jobs/{job}/resume")


def correct_on(served: Served, key: str, rows: list[dict], confirmed: list, stopping: threading.Event) -> None:
    chance = random.Random(1)
    with Client(served.url, key, retries=30) as client:
        while not stopping.is_set():
            row = chance.choice(rows)
            said = {"response": row["response"], "place": 0, "verdict": chance.choice(["good", "bad"])}
            confirmed += client.correct([said])["corrections"]
            time.sleep(0.02)


def work_on(served: Served, key: str, jobs: list[int], stopping: threading.Event, folder: Path) -> None:
    path = folder / "more.csv"
    with Client(served.url, key, retries=30) as client:
        for number in range(few(2, 3)):
            path.write_text(ratings_csv(40, seed=20 + number), encoding="utf-8")
            files = {"file": (path.name, path.read_bytes())}
            told = client.request("POST", "/v1/uploads", files=files)
            body = {"upload": told["upload"], "name": f"more {number}", "columns": COLUMNS, "words": WORDS}
            jobs.append(told["job"])
            jobs.append(client.request("POST", "/v1/datasets", json=body)["job"])
            jobs.append(client.request("POST", "/v1/train", json=QUICK)["job"])
            if stopping.wait(few(4, 8)):
                return


def check_whole(data: Path, confirmed: list[dict], jobs: list[int]) -> None:
    store = Database(f"sqlite:///{(data / 'studio.db').resolve()}")
    with store.read() as session:
        assert session.scalar(text("PRAGMA integrity_check")) == "ok"
        assert not session.execute(text("PRAGMA foreign_key_check")).all()
        ids = set(session.scalars(select(Correction.id)))
        assert {one["id"] for one in confirmed} <= ids
        per_job = session.execute(select(ScorerVersion.job_id, func.count()).group_by(ScorerVersion.job_id)).all()
        assert all(count == 1 for _, count in per_job)
        numbers = list(session.scalars(select(ScorerVersion.number).order_by(ScorerVersion.number)))
        assert numbers == list(range(1, len(numbers) + 1))
        trained = session.scalar(select(func.count()).select_from(Job).where(Job.kind == "train", Job.state == "done"))
        assert trained == len(numbers)
        for dataset in session.scalars(select(Dataset).where(Dataset.name.like("more %"))):
            members = select(func.count()).select_from(DatasetResponse).where(DatasetResponse.dataset_id == dataset.id)
            assert session.scalar(members) == 40
            assert dataset.version == 1
        twice = select(LabelChange.response_id).group_by(LabelChange.response_id).having(func.count() > 1)
        assert not list(session.scalars(twice.where(LabelChange.source == "import")))
    store.close()
