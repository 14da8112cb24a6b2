"""`fractal embed`: fills the cache of vectors with the texts of files, on every core."""

from __future__ import annotations

import click

from fractal.cli._command import subcommand
from fractal.cli._engine import EngineOptions, engine_options, run_engine
from fractal.cli._options import ReadOptions, json_option, quiet_option, reading_options
from fractal.cli._output import print_json

__all__ = ["command"]


@subcommand(
    "embed",
    "fractal embed minilm ratings.jsonl -o embedded/",
    "fractal embed minilm ratings/ answers.jsonl -o embedded/ --workers auto",
)
@click.argument("encoder")
@click.argument("data", nargs=-1, required=True)
@click.option("-o", "--output", required=True, metavar="FOLDER/", help="Where the record of what is done is kept.")
@click.option("--cache", metavar="FOLDER", help="Instead of FRACTAL_CACHE or the platform's place.")
@click.option("--resume", is_flag=True, help="Go on where a run to the same -o FOLDER was stopped.")
@engine_options
@reading_options(splitter=False)
@quiet_option
@json_option
def command(
    encoder: str,
    data: tuple[str, ...],
    output: str,
    cache: str | None,
    resume: bool,
    spread: EngineOptions,
    quiet: bool,
    as_json: bool,
    reading: ReadOptions,
) -> None:
    """Encode the texts of files into the cache, so that training and scoring find their vectors there.

    ENCODER is written as in `fractal list encoders`; DATA are files, folders, globs or addresses such as s3://bucket/x.
    Raw texts are cut into sentences. Vectors of whole texts and comparisons token by token are kept.
    """
    from fractal.engine import embed_files

    report = run_engine(
        embed_files, encoder, data, output, spread, reading, resume=resume, cache=cache or True, quiet=quiet or as_json
    )
    if as_json:
        print_json(report)
