"""The options of work that is cut into units: how many workers, where, and when an output is a folder of shards."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fractal.cli._options import ReadOptions
from fractal.cli._progress import ProgressReporter
from fractal.errors import BadSpec

if TYPE_CHECKING:
    from fractal.engine import RunReport

__all__ = ["EngineOptions", "engine_options", "run_engine"]

ENGINE = (
    click.option(
        "--workers", metavar="N|auto", help="Processes; 'auto' is one a core. For -o FOLDER/.  [default: auto]"
    ),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        help="Where units are worked on: here, or on a cluster of Ray.",
    ),
    click.option("--address", metavar="HOST:PORT", help="Of the Ray cluster; without it one is started here."),
    click.option("--gpus-per-worker", type=float, default=0.0, help="Of --engine ray.  [default: 0]"),
)


@dataclasses.dataclass(frozen=True)
class EngineOptions:
    """How work is spread, as it was asked for."""

    workers: str | None = None
    engine: str = "local"
    address: str | None = None
    gpus_per_worker: float = 0.0

    def needed(self, data: Sequence[str], output: str) -> bool:
        """Whether the output is a folder of shards: it is asked for, or more is to be read than one stream."""
        several = len(data) > 1 or any("://" in name or "*" in name or Path(name).is_dir() for name in data)
        folder = output.endswith("/") or "://" in output or Path(output).is_dir()
        if (several or self.workers or self.engine != "local") and not folder:
            raise BadSpec(f"several inputs and --workers write a folder of shards: give -o FOLDER/ (found {output!r})")
        return folder


def engine_options(function: Callable[..., Any]) -> Any:
    """Give a command the options of the engine; it receives them as one `spread`."""

    @functools.wraps(function)
    def with_engine_options(**options: Any) -> Any:
        names = [field.name for field in dataclasses.fields(EngineOptions)]
        return function(**options | {"spread": EngineOptions(**{name: options.pop(name) for name in names})})

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(ENGINE), with_engine_options)


def run_engine(
    work: Callable[..., RunReport],
    model: str,
    data: Sequence[str],
    output: str,
    spread: EngineOptions,
    reading: ReadOptions,
    *,
    resume: bool,
    writer: str = "auto",
    cache: str | bool = True,
    quiet: bool = False,
) -> dict[str, Any]:
    """Do the work into a folder and return what there is to say of it; data of a later run may be taken up."""
    if reading.rejects is not None:
        raise BadSpec("--rejects: into a folder, rejected records go to its rejects.jsonl (with --on-error reject)")
    from fractal.evaluation.unlike import UnlikeTraining, unlike_summary
    from fractal.scorers.persistence import load_folder

    reading = reading.as_in_training(load_folder(model).config.get("reading", {}), data[0])
    options = {
        "remembered": dict(reading.remembered),
        "label_words": dict(reading.words),
        "columns": dict(reading.columns),
        "label_scale": reading.scale,
        "levels": reading.levels,
        "on_error": reading.on_error,
    }
    with ProgressReporter("units done", quiet) as progress:
        report = work(
            model,
            list(data),
            output,
            workers=spread.workers or "auto",
            engine=spread.engine,
            address=spread.address,
            gpus_per_worker=spread.gpus_per_worker,
            resume=resume,
            writer="jsonl" if writer == "auto" else writer,
            cache=cache,
            reader=reading.reader,
            reading={name: value for name, value in options.items() if value},
            progress=progress,
        )
    if not quiet:
        resumed = f", {report.resumed:,} of them by an earlier run" if report.resumed else ""
        rejected = f", {report.rejected:,} records rejected" if report.rejected else ""
        click.echo(
            f"{output}: {report.responses:,} responses, {report.sentences:,} sentences in {report.units:,} units"
            f"{resumed}{rejected}",
            err=True,
        )
    if summary := unlike_summary(report.unlike):
        warnings.warn(summary, UnlikeTraining, stacklevel=2)
    return dataclasses.asdict(report)
