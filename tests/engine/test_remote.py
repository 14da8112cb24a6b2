"""Addresses in and out, through fsspec: an S3 endpoint where moto is installed, and its local file system."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from fractal import SentenceScorer, TrainingPlan, make_responses, write
from fractal.engine import score_files
from fractal.engine.storage import open_folder
from support.effort import few
from support.folders import digests

pytest.importorskip("fsspec")
PLAN = TrainingPlan(epochs=2, members=2, folds=2, hidden=(8,))
OPTIONS = {"workers": 1, "cache": False, "unit_bytes": 8_000}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote")
    fitted = SentenceScorer(encoder="hashing(dim=32)", plan=PLAN, recipe="own", cache=False)
    fitted.fit(make_responses(40, task="summaries", seed=1)).save_pretrained(folder / "scorer")
    (folder / "in").mkdir()
    for number in range(2):
        write(make_responses(40, task="summaries", seed=number), folder / "in" / f"{number}.jsonl")
    return folder


@pytest.fixture
def s3(monkeypatch):
    """A bucket of a server on loopback; returns its address and a file system."""
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    s3fs = pytest.importorskip("s3fs")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    system = s3fs.S3FileSystem(skip_instance_cache=True)
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    system.mkdir(bucket)
    yield f"s3://{bucket}", system
    running.stop()


def sent(work, system, address) -> str:
    """Send the inputs to the store, and return the bucket's name."""
    bucket = address.removeprefix("s3://")
    for number in range(2):
        system.put_file(str(work / "in" / f"{number}.jsonl"), f"{bucket}/in/{number}.jsonl")
    return bucket


def shards(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(folder).items() if name.startswith("part-")}


def test_a_file_system_without_rename_gets_the_same_shards(tmp_path, work):
    score_files(work / "scorer", work / "in", tmp_path / "local", **OPTIONS)
    address = f"file://{tmp_path}/remote"
    report = score_files(work / "scorer", f"file://{work}/in", address, **OPTIONS)
    assert report.responses == 80
    assert shards(tmp_path / "remote") == shards(tmp_path / "local")
    assert sorted(path.name for path in (tmp_path / "remote").iterdir() if path.suffix != ".jsonl") == ["manifest.json"]
    again = score_files(work / "scorer", f"file://{work}/in/*.jsonl", address, resume=True, **OPTIONS)
    assert again.resumed == again.units


def test_an_object_store_gets_the_same_shards(tmp_path, work, s3):
    address, system = s3
    bucket = sent(work, system, address)
    score_files(work / "scorer", work / "in", tmp_path / "local", **OPTIONS)

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_files(work / "scorer", f"{address}/in", f"{address}/out", progress=stop, **OPTIONS)
    assert open_folder(f"{address}/out").read("manifest.json") is None
    report = score_files(work / "scorer", f"{address}/in", f"{address}/out", resume=True, **OPTIONS)
    assert report.resumed >= 2
    system.get(f"{bucket}/out", str(tmp_path / "got"), recursive=True)
    assert shards(tmp_path / "got") == shards(tmp_path / "local")
    assert not any(path.name.startswith("_fractal") for path in (tmp_path / "got").iterdir())


DRIVER = """
import sys
from fractal.engine import score_files
if __name__ == "__main__":
    score_files(*sys.argv[1:4], resume=True, workers=2, cache=False, unit_bytes=2_000)
"""


@pytest.mark.slow
def test_kills_leave_an_object_store_as_an_undisturbed_run_does(tmp_path, work, s3):
    address, system = s3
    bucket, draw = sent(work, system, address), random.Random(0)
    score_files(work / "scorer", work / "in", tmp_path / "local", **{**OPTIONS, "unit_bytes": 2_000})
    kills, most = 0, few(2, 4)
    while True:
        before = len(objects(system, bucket))
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, work / "scorer", f"{address}/in", f"{address}/out"])
        while kills < most and driver.poll() is None and len(objects(system, bucket)) < before + draw.randint(2, 6):
            time.sleep(0.02)
        if kills == most:
            assert driver.wait(timeout=120) == 0
            break
        assert driver.poll() is None, "it was over before it was killed: give more units"
        assert not system.exists(f"{bucket}/out/manifest.json")  # by which alone the folder counts as complete
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        kills += 1
    system.invalidate_cache()
    system.get(f"{bucket}/out", str(tmp_path / "got"), recursive=True)
    assert shards(tmp_path / "got") == shards(tmp_path / "local")
    assert sorted(path.name for path in (tmp_path / "got").iterdir() if path.suffix != ".jsonl") == ["manifest.json"]


def objects(system, bucket) -> list[str]:
    system.invalidate_cache()
    return list(system.find(f"{bucket}/out"))
