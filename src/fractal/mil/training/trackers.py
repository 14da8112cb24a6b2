"""Experiment trackers that can listen to a training: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from fractal.errors import MissingExtra
from fractal.mil.training.callbacks import Closing, Epoch

__all__ = ["MLflow", "TensorBoard", "WeightsAndBiases"]

FIGURES = ("held_out", "best", "auc", "sentences_per_second")
LONGEST_PARAM = 6_000  # characters that MLflow takes


class TensorBoard(Closing):
    """Writes every number of an epoch as a scalar for TensorBoard; every stage is a run of its own there."""

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as missing:
            raise MissingExtra("Listening with TensorBoard", "tensorboard", "tensorboard") from missing
        self._open: Callable[[str], Any] = SummaryWriter
        self._folder = Path(folder)
        self._writers: dict[str, Any] = {}

    def __call__(self, epoch: Epoch) -> None:
        if epoch.stage not in self._writers:
            self._writers[epoch.stage] = self._open(str(self._folder / _plain_name(epoch.stage)))
        writer = self._writers[epoch.stage]
        for name, value in _scalars(epoch).items():
            writer.add_scalar(name, value, epoch.epoch)
        writer.flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()


class WeightsAndBiases(Closing):
    """Logs every number of an epoch to one run of Weights & Biases, the name of its stage before it.

    Every stage counts its own epochs. `settings` are values to keep with the run; `options` go to `wandb.init`, as in
    `mode="offline"`.
    """

    def __init__(self, project: str, settings: Mapping[str, Any] | None = None, **options: Any) -> None:
        try:
            import wandb
        except ImportError as missing:
            raise MissingExtra("Listening with Weights & Biases", "wandb", "wandb") from missing
        self._run = wandb.init(project=project, config=dict(settings or {}), **options)
        self._stages: set[str] = set()

    def __call__(self, epoch: Epoch) -> None:
        prefix = _prefix(epoch.stage)
        if prefix not in self._stages:
            self._stages.add(prefix)
            self._run.define_metric(f"{prefix}epoch")
            self._run.define_metric(f"{prefix}*", step_metric=f"{prefix}epoch")
        scalars = {f"{prefix}{name}": value for name, value in _scalars(epoch).items()}
        self._run.log({f"{prefix}epoch": epoch.epoch, **scalars})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run.finish(exit_code=0 if kind is None else 1)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class MLflow(Closing):
    """Logs every number of an epoch to one run of MLflow, the name of its stage before it and its epoch as the step.

    `settings` are kept as the run's parameters. Where the run goes is said by `tracking_uri`, or by the environment
    variable MLFLOW_TRACKING_URI; MLflow's default is a database in the working folder.
    """

    def __init__(
        self, experiment: str, settings: Mapping[str, Any] | None = None, *, tracking_uri: str | None = None
    ) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param
        except ImportError as missing:
            raise MissingExtra("Listening with MLflow", "mlflow", "mlflow-skinny") from missing
        self._metric: Callable[..., Any] = Metric
        self._client = MlflowClient(tracking_uri=tracking_uri)
        existing = self._client.get_experiment_by_name(experiment)
        number = existing.experiment_id if existing else self._client.create_experiment(experiment)
        self.run_id: str = self._client.create_run(number).info.run_id
        params = [Param(_plain_name(name), str(value)[:LONGEST_PARAM]) for name, value in (settings or {}).items()]
        self._client.log_batch(self.run_id, params=params)

    def __call__(self, epoch: Epoch) -> None:
        now, prefix = int(time.time() * 1000), _prefix(epoch.stage)
        metrics = [self._metric(f"{prefix}{name}", value, now, epoch.epoch) for name, value in _scalars(epoch).items()]
        self._client.log_batch(self.run_id, metrics=metrics)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.set_terminated(self.run_id, "FINISHED" if kind is None else "FAILED")

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self.run_id)


def _scalars(epoch: Epoch) -> dict[str, float]:
    """Return every finite number of an epoch by name."""
    scalars = {f"terms/{_plain_name(name)}": value for name, value in epoch.parts.items()}
    scalars |= {name: getattr(epoch, name) for name in FIGURES}
    return {name: value for name, value in scalars.items() if math.isfinite(value)}


def _prefix(stage: str) -> str:
    return f"{_plain_name(stage)}/" if stage else ""


def _plain_name(name: str) -> str:
    """Return a name as files and trackers take it: `product (1 of 3) · own` is `product-1-of-3-own`."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-")
