"""`fractal worker`: does the jobs of a studio, on this machine or another one."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import click

from fractal.cli._command import subcommand
from fractal.cli.serve import studio_options
from fractal.errors import MissingExtra

__all__ = ["command"]


@subcommand(
    "worker",
    "fractal worker",
    "fractal worker --data /srv/fractal --database postgresql+psycopg://fractal@db/fractal",
)
@studio_options
@click.option("--parent", default=0, hidden=True, type=int, help="End when this process does.")
def command(data: str, database: str, parent: int) -> None:
    """Do the jobs of a studio: read uploads, import, train.

    It shares the database and the data folder with `fractal serve`. A worker that dies loses nothing: the next one
    takes its job over when its lease ends, and training goes on from its checkpoint.
    """
    try:
        from fractal.server.serving import configure_logs
        from fractal.server.settings import Settings
        from fractal.server.worker import run_worker
    except ModuleNotFoundError as error:
        raise MissingExtra("The studio", "serve", error.name or "") from error
    configure_logs()
    settings = Settings(Path(data), database)
    lease = os.environ.get("FRACTAL_LEASE_SECONDS")
    run_worker(dataclasses.replace(settings, lease_seconds=float(lease)) if lease else settings, parent)
