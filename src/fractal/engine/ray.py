"""Many machines: actors of Ray hold the scorer, and work on the same units as the processes of one machine."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fractal.engine.storage import is_remote
from fractal.engine.units import Unit
from fractal.engine.work import Job, UnitRecord, Worker
from fractal.errors import BadSpec, FractalError, MissingExtra
from fractal.processes import ONE_THREAD, UnitQueue

__all__ = ["RayPool", "score_dataset"]


class RayPool:
    """Some actors, one a core (or a GPU) of the cluster unless told otherwise; units of dead ones go to others."""

    def __init__(self, job: Job, workers: int | str, address: str | None, gpus_per_worker: float) -> None:
        model = str(Path(job.model).resolve()) if Path(job.model).is_dir() else job.model
        output = job.output if is_remote(job.output) else str(Path(job.output).resolve())
        self.job = dataclasses.replace(job, model=model, output=output)
        self.ray = _connected(address)
        self.gpus = gpus_per_worker
        self.workers = self._count(workers)

    def _count(self, asked: int | str) -> int:
        if asked != "auto":
            if not str(asked).isdigit() or int(asked) < 1:
                raise BadSpec(f"workers={asked!r}: give 'auto' or a whole number from 1")
            return int(asked)
        held = self.ray.cluster_resources()
        return max(1, int(held.get("GPU", 0) / self.gpus) if self.gpus else int(held.get("CPU", 1)))

    def run(self, units: Sequence[Unit]) -> Iterator[UnitRecord]:
        """Yield the record of every unit as it gets done, in any order."""
        queue = UnitQueue(map(_absolute, units))
        idle = [self._actor() for _ in range(min(self.workers, len(units)))]
        busy: dict[Any, tuple[Any, Unit]] = {}
        while len(queue):
            while idle and (unit := queue.take()):
                actor = idle.pop()
                busy[actor.work.remote(unit)] = (actor, unit)
            for answer in self.ray.wait(list(busy), num_returns=1)[0]:
                actor, unit = busy.pop(answer)
                try:
                    record: UnitRecord = self.ray.get(answer)
                except self.ray.exceptions.RayTaskError as error:
                    queue.fail(unit, _cause(error))
                    idle.append(actor)
                except self.ray.exceptions.RayError as error:  # the actor, its process or its node is dead
                    queue.put_back(unit, f": {error}")
                    idle.append(self._actor())
                else:
                    queue.done(unit)
                    idle.append(actor)
                    yield record
        queue.raise_failure()
        for actor in idle:
            self.ray.kill(actor)

    def _actor(self) -> Any:
        options = {"num_gpus": self.gpus} if self.gpus else {"num_cpus": 1}
        environment = {"env_vars": dict.fromkeys(ONE_THREAD, "1")}
        return self.ray.remote(_Actor).options(runtime_env=environment, **options).remote(self.job)


class _Actor:
    """A worker somewhere in the cluster, whose scorer is loaded with its first unit."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.worker: Worker | None = None

    def work(self, unit: Unit) -> UnitRecord:
        """Work on a unit."""
        self.worker = self.worker or Worker(self.job)
        return self.worker(unit)


def score_dataset(scorer: str | os.PathLike[str], dataset: Any, *, batch_size: int = 2_048, **resources: Any) -> Any:
    """Score a `ray.data.Dataset` whose rows are records, as `fractal.read` takes them; return a dataset of scored rows.

    `resources` are those of `map_batches`: concurrency, num_gpus, …. A row that cannot be read is an error.
    """
    _package()
    resources.setdefault("concurrency", 1)
    return dataset.map_batches(
        _Batches,
        fn_constructor_args=(str(Path(scorer).resolve()),),
        batch_size=batch_size,
        batch_format="pyarrow",
        **resources,
    )


class _Batches:
    """Scores tables of rows."""

    def __init__(self, scorer: str) -> None:
        from fractal.scorers.runtime import NeedsTorch, load_runtime

        self.scorer: Any
        try:
            self.scorer = load_runtime(scorer)
        except NeedsTorch:
            from fractal.scorers.aspects import load_scorer

            self.scorer = load_scorer(scorer)

    def __call__(self, table: Any) -> Any:
        import pyarrow

        from fractal.engine.work import responses_of
        from fractal.readers import read
        from fractal.writers.native import to_native

        responses = responses_of(read(table, "arrow", splitter=self.scorer.splitter))
        rows: list[Mapping[str, Any]] = [to_native(scored) for scored in self.scorer.stream(responses)]
        return pyarrow.Table.from_pylist(rows)


def _package() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("Work on many machines", "ray", "ray") from error
    return ray


def _connected(address: str | None) -> Any:
    """Join the cluster of that address, the one this process is in already, or a new one on this machine."""
    ray = _package()
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    return ray


def _absolute(unit: Unit) -> Unit:
    return unit if is_remote(unit.path) else dataclasses.replace(unit, path=str(Path(unit.path).resolve()))


def _cause(error: Any) -> BaseException:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, FractalError) else FractalError(str(error).strip().rpartition("\n")[2])
