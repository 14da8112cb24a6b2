"""Worker processes of this machine: units of work, given out in order, and again where a worker dies."""

from fractal.processes.pool import ONE_THREAD, ProcessPool, worker_count
from fractal.processes.queue import MOST_TRIES, Unit, UnitQueue
from fractal.processes.spans import Span, spans

__all__ = ["MOST_TRIES", "ONE_THREAD", "ProcessPool", "Span", "Unit", "UnitQueue", "spans", "worker_count"]
