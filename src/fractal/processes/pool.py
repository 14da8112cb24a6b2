"""Some processes of this machine, each with what it works with; a unit whose worker dies is given to another."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Self, TypeVar

from fractal.errors import BadSpec, FractalError, WorkersDied
from fractal.processes.queue import UnitQueue, Work

__all__ = ["ONE_THREAD", "ProcessPool", "worker_count"]

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux

Result = TypeVar("Result")
_STARTING = threading.Lock()  # environment and main module are those of the whole process


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
class _Process(Generic[Work]):
    process: Any
    pipe: Connection
    unit: Work | None = None


class ProcessPool(Generic[Work, Result]):
    """Some worker processes; they compute on one thread each, so that their number does not change a bit.

    A worker calls `start` with its first unit, and what that returns with every unit. `on_death` is told of each worker
    that died. With `imports_main` workers import the caller's script anew, as `multiprocessing` does, so that what it
    registers is known to them; without, a script that is not guarded by `if __name__ == "__main__"` may start them.
    """

    def __init__(
        self,
        start: Callable[[], Callable[[Work], Result]],
        workers: int,
        *,
        imports_main: bool = True,
        on_death: Callable[[str], None] | None = None,
    ) -> None:
        self.start, self.workers, self.imports_main, self.on_death = start, workers, imports_main, on_death
        self._running: list[_Process[Work]] = []
        self._stay = False

    def __enter__(self) -> Self:
        self._stay = True
        return self

    def __exit__(self, *_: object) -> None:
        self._stay = False
        self.close()

    def run(self, units: Sequence[Work]) -> Iterator[Result]:
        """Yield the result of every unit as it gets done, in any order; inside `with`, workers stay for more units."""
        queue = UnitQueue(units)
        try:
            while len(queue):
                while len(self._running) < min(self.workers, len(queue)):
                    self._running.append(self._started())
                for worker in self._running:
                    if worker.unit is None and (unit := queue.take()):
                        _give(worker, unit)
                for worker in self._answering():
                    yield from self._take(worker, queue)
            queue.raise_failure()
        finally:
            if not self._stay:
                self.close()

    def _answering(self) -> list[_Process[Work]]:
        """Wait for workers that have something to say, or died."""
        by_handle: dict[Any, _Process[Work]] = {}
        for worker in self._running:
            by_handle[worker.process.sentinel] = worker
            if worker.unit is not None:
                by_handle[worker.pipe] = worker
        return list(dict.fromkeys(by_handle[handle] for handle in wait(list(by_handle))))

    def _take(self, worker: _Process[Work], queue: UnitQueue[Work]) -> Iterator[Result]:
        """Yield what a worker made of its unit; tell the queue where it failed or died, as it has ended then."""
        try:
            answer = worker.pipe.recv() if worker.pipe.poll() else None
        except (EOFError, OSError):
            answer = None
        unit = worker.unit
        if unit is not None and isinstance(answer, _Done):
            queue.done(unit)
            worker.unit = None
            yield answer.result
            return
        self._running.remove(worker)
        worker.process.join()
        if unit is not None and isinstance(answer, BaseException):
            queue.fail(unit, answer)
        elif unit is not None:
            exit_code = f"exit {worker.process.exitcode}"
            if self.on_death is not None:
                self.on_death(f"a worker died ({exit_code}) on {unit}")
            queue.put_back(unit, f" ({exit_code}): is there too little memory?")

    def close(self) -> None:
        """End all workers."""
        for worker in self._running:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._running:
            worker.process.join()
        self._running = []

    def _started(self) -> _Process[Work]:
        """Start a worker that computes on one thread."""
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(self.start, there), daemon=True)
        with _STARTING, _one_thread(), contextlib.nullcontext() if self.imports_main else _no_main():
            try:
                process.start()
            except (pickle.PicklingError, AttributeError, TypeError, AssertionError) as error:
                # what cannot be sent, or a process that may not have children
                raise WorkersDied(f"no worker process can be started ({error})") from error
        there.close()
        return _Process(process, here)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Let a process that is started know of no main module: it would import it, and run a script that has no guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@dataclasses.dataclass(frozen=True)
class _Done:
    result: Any


def _give(worker: _Process[Work], unit: Work) -> None:
    worker.unit = unit
    with contextlib.suppress(OSError):  # it is dead, which the next look will tell
        worker.pipe.send(unit)


def _work(start: Callable[[], Callable[[Any], Any]], pipe: Connection) -> None:
    """Work on units until no more come; end when the driver ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    try:
        work: Callable[[Any], Any] | None = None
        while True:
            unit = pipe.recv()
            work = work or start()
            pipe.send(_Done(work(unit)))
    except (EOFError, OSError):
        return
    except Exception as error:
        pipe.send(error if isinstance(error, FractalError) else FractalError(f"{type(error).__name__}: {error}"))
