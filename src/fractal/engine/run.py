"""Files in, scored files out: the work is cut, done by a pool of workers, and recorded so that a run can go on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Protocol

from fractal.engine.ledger import Ledger, totals
from fractal.engine.storage import open_folder
from fractal.engine.units import UNIT_BYTES, Unit, cut, find_sources
from fractal.engine.work import Job, UnitRecord, Worker
from fractal.errors import BadSpec
from fractal.processes import ProcessPool, worker_count

__all__ = ["Pool", "RunReport", "disaggregate_files", "embed_files", "score_files"]

Inputs = str | PathLike[str] | Sequence[str | PathLike[str]]
Progress = Callable[[int, int], None]  # units done, units in all


class Pool(Protocol):
    """Workers, wherever they are."""

    def run(self, units: Sequence[Unit]) -> Iterator[UnitRecord]:
        """Yield the record of every unit as it gets done, in any order."""


@dataclasses.dataclass(frozen=True)
class RunReport:
    """What a run did, and what an earlier one had done of it."""

    output: str
    units: int
    resumed: int  # units that were done before
    responses: int
    sentences: int
    rejected: int
    reasons: Mapping[str, int]
    unlike: Mapping[str, int]  # responses by in what they are unlike training; those like it by the empty text


def score_files(scorer: str | PathLike[str], inputs: Inputs, output: str | PathLike[str], **options: Any) -> RunReport:
    """Score files, folders, globs or addresses into a folder of shards, one a unit of work, in the order of the input.

    `options` are those of `run`: workers, resume, writer, engine, … and `reading`, the options of `fractal.read`.
    """
    from fractal.scorers.persistence import load_folder

    model_hash = load_folder(scorer).digest
    return run(Job("score", str(scorer), str(output)), inputs, model_hash, **options)


def disaggregate_files(
    scorer: str | PathLike[str], inputs: Inputs, output: str | PathLike[str], **options: Any
) -> RunReport:
    """Label the sentences of rated responses, so that they agree with the ratings; otherwise as `score_files`."""
    from fractal.scorers.persistence import load_folder

    model_hash = load_folder(scorer).digest
    return run(Job("disaggregate", str(scorer), str(output)), inputs, model_hash, **options)


def embed_files(encoder: str, inputs: Inputs, output: str | PathLike[str], **options: Any) -> RunReport:
    """Encode the texts of files into the cache of vectors; the output folder keeps the record of what is done."""
    model_hash = hashlib.blake2b(encoder.encode(), digest_size=16).hexdigest()
    return run(Job("embed", encoder, str(output)), inputs, model_hash, **options)


def run(
    job: Job,
    inputs: Inputs,
    model_hash: str,
    *,
    workers: int | str = "auto",
    resume: bool = False,
    writer: str = "jsonl",
    cache: str | bool = True,
    reader: str = "auto",
    reading: Mapping[str, Any] | None = None,
    engine: str = "local",
    address: str | None = None,
    gpus_per_worker: float = 0,
    unit_bytes: int = UNIT_BYTES,
    progress: Progress | None = None,
) -> RunReport:
    """Do a job on all inputs; what is written does not depend on the number of workers, on the engine, or on kills."""
    job = dataclasses.replace(job, writer=writer, cache=cache, reading=dict(reading or {}))
    names = [inputs] if isinstance(inputs, str | PathLike) else list(inputs)
    sources = find_sources([str(name) for name in names])
    ledger = Ledger(open_folder(job.output), job, model_hash, sources, cut(sources, reader, unit_bytes))
    done = ledger.begin(resume)
    resumed = len(done)
    rest = [unit for unit in ledger.units if unit.number not in done]
    if progress is not None:
        progress(resumed, len(ledger.units))
    for record in _pool(job, engine, workers, address, gpus_per_worker).run(rest) if rest else ():
        done[record.number] = record
        if progress is not None:
            progress(len(done), len(ledger.units))
    ledger.finish(done)
    return RunReport(output=job.output, units=len(ledger.units), resumed=resumed, **totals(done.values()))


def _pool(job: Job, engine: str, workers: int | str, address: str | None, gpus: float) -> Pool:
    if engine == "local":
        return ProcessPool(functools.partial(Worker, job), worker_count(workers))
    if engine == "ray":
        from fractal.engine.ray import RayPool

        return RayPool(job, workers, address, gpus)
    raise BadSpec(f"engine={engine!r}: give 'local' or 'ray'")
