"""Experiment trackers get every finite number of an epoch, by stage: each tried with the real library, offline."""

from __future__ import annotations

import contextlib
import json
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fractal.errors import MissingExtra
from fractal.mil.training.callbacks import Epoch
from fractal.mil.training.trackers import MLflow, TensorBoard, WeightsAndBiases

STAGES = ("product (1 of 2) · own", "mean (2 of 2) · own")
NAMES = ("product-1-of-2-own", "mean-2-of-2-own")


def epoch(number: int, held_out: float = 0.5, stage: str = "") -> Epoch:
    parts = {"response": 0.7, "cosine(weight=2)": 0.1}
    return Epoch(number, 3, parts, held_out, 0.4, 1000.0, 2.0, 0.8, stage)


def test_tensorboard_gets_every_finite_number(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with TensorBoard(tmp_path) as listener:
        listener(epoch(1, held_out=math.nan))
        listener(epoch(2))
    read = accumulators.EventAccumulator(str(tmp_path))
    read.Reload()
    assert [event.step for event in read.Scalars("terms/response")] == [1, 2]
    assert [event.step for event in read.Scalars("held_out")] == [2]
    assert [event.value for event in read.Scalars("auc")] == pytest.approx([0.8, 0.8])


def test_tensorboard_has_a_run_for_every_stage(tmp_path):
    pytest.importorskip("tensorboard")
    with TensorBoard(tmp_path) as listener:
        for stage in STAGES:
            listener(epoch(1, stage=stage))
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES)


def test_without_tensorboard_the_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match="tensorboard"):
        TensorBoard(tmp_path)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    pytest.importorskip("wandb")
    for name, value in {"MODE": "offline", "SILENT": "true", "DIR": tmp_path, "CONFIG_DIR": tmp_path / "c"}.items():
        monkeypatch.setenv(f"WANDB_{name}", str(value))
    return tmp_path


def frames(written: bytes) -> Iterator[bytes]:
    """Yield the records of a run's file: frames of a checksum, a length and a kind, cut at blocks of 32 KiB."""
    place, parts = 7, b""
    while place + 7 <= len(written):
        if (room := -place % 32_768) and room < 7:
            place += room
            continue
        _, length, kind = struct.unpack("<IHB", written[place : place + 7])
        parts += written[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def run_file(folder: Path) -> tuple[list[dict[str, float]], dict[str, object], int]:
    """Return what a run logged, its settings and how it ended."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # waits for the process that writes the file
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    rows, settings, ended = [], {}, -1
    for frame in frames(path.read_bytes()):
        record = Record.FromString(frame)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            rows.append({name: json.loads(value) for name, value in items.items() if not name.startswith("_")})
        elif kind == "run":
            settings |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "exit":
            ended = record.exit.exit_code
    return rows, settings, ended


def test_weights_and_biases_gets_every_finite_number_by_stage(offline: Path) -> None:
    with WeightsAndBiases("scores", {"recipe": "own"}) as listener:
        for stage in STAGES:
            listener(epoch(1, math.nan, stage))
            listener(epoch(2, 0.5, stage))
    rows, settings, ended = run_file(offline)
    assert [row[f"{NAMES[0]}/epoch"] for row in rows[:2]] == [1, 2]
    assert [row.get(f"{NAMES[1]}/held_out") for row in rows] == [None, None, None, 0.5]
    assert rows[0][f"{NAMES[0]}/terms/cosine-weight-2"] == 0.1
    assert settings["recipe"] == "own"
    assert ended == 0


def test_a_training_that_fails_is_a_failed_run_of_weights_and_biases(offline: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), WeightsAndBiases("scores") as listener:
        listener(epoch(1))
        raise ZeroDivisionError
    rows, _, ended = run_file(offline)
    assert rows[0]["held_out"] == 0.5
    assert ended == 1


@pytest.mark.slow  # a database is set up
def test_mlflow_gets_every_finite_number_by_stage(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    place = f"sqlite:///{tmp_path}/runs.db"
    with MLflow("scores", {"recipe": "own", "encoder": "x" * 9_000}, tracking_uri=place) as listener:
        for stage in STAGES:
            listener(epoch(1, math.nan, stage))
            listener(epoch(2, 0.5, stage))
    client = mlflow.MlflowClient(tracking_uri=place)
    held_out = client.get_metric_history(listener.run_id, f"{NAMES[1]}/held_out")
    assert [(metric.step, metric.value) for metric in held_out] == [(2, 0.5)]
    assert [m.step for m in client.get_metric_history(listener.run_id, f"{NAMES[0]}/terms/cosine-weight-2")] == [1, 2]
    run = client.get_run(listener.run_id)
    assert (run.info.status, run.data.params["recipe"], len(run.data.params["encoder"])) == ("FINISHED", "own", 6_000)
    with contextlib.suppress(ZeroDivisionError), MLflow("scores", tracking_uri=place) as listener:
        raise ZeroDivisionError
    assert client.get_run(listener.run_id).info.status == "FAILED"


@pytest.mark.parametrize(("tracker", "package"), [(WeightsAndBiases, "wandb"), (MLflow, "mlflow")])
def test_a_missing_tracker_is_named_with_its_extra(tracker, package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"fractal-scores\[{package}\]"):
        tracker("scores")
