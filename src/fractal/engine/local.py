"""Every core of one machine: a few processes, each with the scorer; a unit whose worker dies is given to another."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from fractal.engine.unit_queue import UnitQueue
from fractal.engine.units import Unit
from fractal.engine.work import Job, UnitRecord, Worker
from fractal.errors import BadSpec, FractalError

__all__ = ["LocalPool", "worker_count"]

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def worker_count(asked: str | int) -> int:
    """Return how many workers to start: as many as asked, or one a core that this process may use."""
    if asked == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        count = int(asked)
    except ValueError:
        count = 0
    if count < 1:
        raise BadSpec(f"workers={asked!r}: give 'auto' or a whole number from 1")
    return count


@dataclasses.dataclass(eq=False)
class _Process:
    process: Any
    pipe: Connection
    unit: Unit | None = None


class LocalPool:
    """Some worker processes; they compute on one thread each, so that their number does not change a bit."""

    def __init__(self, job: Job, workers: int) -> None:
        self.job, self.workers = job, workers
        self._running: list[_Process] = []

    def run(self, units: Sequence[Unit]) -> Iterator[UnitRecord]:
        """Yield the record of every unit as it gets done, in any order."""
        queue = UnitQueue(units)
        try:
            while len(queue):
                while len(self._running) < min(self.workers, len(queue)):
                    self._running.append(_started(self.job))
                for worker in self._running:
                    if worker.unit is None and (unit := queue.take()):
                        _give(worker, unit)
                for worker in self._answering():
                    record = self._take(worker, queue)
                    if record is not None:
                        yield record
            queue.raise_failure()
        finally:
            self.close()

    def _answering(self) -> list[_Process]:
        """Wait for workers that have something to say, or died."""
        by_handle: dict[Any, _Process] = {}
        for worker in self._running:
            by_handle[worker.process.sentinel] = worker
            if worker.unit is not None:
                by_handle[worker.pipe] = worker
        return list(dict.fromkeys(by_handle[handle] for handle in wait(list(by_handle))))

    def _take(self, worker: _Process, queue: UnitQueue) -> UnitRecord | None:
        """Return what a worker made of its unit; tell the queue where it failed or died, as it has ended then."""
        try:
            answer = worker.pipe.recv() if worker.pipe.poll() else None
        except (EOFError, OSError):
            answer = None
        if isinstance(answer, UnitRecord) and worker.unit is not None:
            queue.done(worker.unit)
            worker.unit = None
            return answer
        self._running.remove(worker)
        worker.process.join()
        if worker.unit is not None and isinstance(answer, BaseException):
            queue.fail(worker.unit, answer)
        elif worker.unit is not None:
            queue.put_back(
                worker.unit, f" ({worker.unit.name}, exit {worker.process.exitcode}): is there too little memory?"
            )
        return None

    def close(self) -> None:
        """End all workers."""
        for worker in self._running:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._running:
            worker.process.join()
        self._running = []


def _started(job: Job) -> _Process:
    """Start a worker that computes on one thread."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(job, there), daemon=True)
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        process.start()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    there.close()
    return _Process(process, here)


def _give(worker: _Process, unit: Unit) -> None:
    worker.unit = unit
    with contextlib.suppress(OSError):  # it is dead, which the next look will tell
        worker.pipe.send(unit)


def _work(job: Job, pipe: Connection) -> None:
    """Work on units until no more come; end when the driver ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    try:
        worker: Worker | None = None
        while True:
            unit = pipe.recv()
            worker = worker or Worker(job)
            pipe.send(worker(unit))
    except (EOFError, OSError):
        return
    except Exception as error:
        pipe.send(error if isinstance(error, FractalError) else FractalError(f"{type(error).__name__}: {error}"))
