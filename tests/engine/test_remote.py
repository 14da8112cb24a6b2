"""Addresses in and out, through fsspec: an S3 endpoint where moto is installed, and its local file system."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from fractal import SentenceScorer, TrainingPlan, make_responses, write
from fractal.engine import score_files
from fractal.engine.storage import open_folder
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
    bucket = address.removeprefix("s3://")
    for number in range(2):
        system.put_file(str(work / "in" / f"{number}.jsonl"), f"{bucket}/in/{number}.jsonl")
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
