"""`fractal score`: a score for every sentence of a stream of responses."""

from __future__ import annotations

import click

from fractal.cli._command import subcommand
from fractal.cli._engine import EngineOptions, engine_options, run_engine
from fractal.cli._options import ReadOptions, json_option, quiet_option, reading_options, trust_option
from fractal.cli._output import print_json
from fractal.cli._promises import flagging_writer, saved_promises
from fractal.cli._scoring import (
    loaded_for_scoring,
    missing_option,
    output_options,
    read_as_in_training,
    records_each,
    write_scored,
)

__all__ = ["command"]


@subcommand(
    "score",
    "fractal score scorer/ answers.jsonl > scores.jsonl",
    "zcat answers.jsonl.gz | fractal score scorer/ - -o scores.jsonl --resume",
    "fractal score scorer/ answers/ s3://bucket/more/*.parquet -o scores/ --workers auto --resume",
)
@click.argument("scorer")
@click.argument("data", nargs=-1)
@output_options
@engine_options
@click.option("--no-cache", is_flag=True, help="Keep no vectors of these responses.")
@missing_option
@reading_options(splitter=False)
@trust_option
@quiet_option
@json_option
def command(
    scorer: str,
    data: tuple[str, ...],
    output: str,
    writer: str,
    resume: bool,
    batch: int,
    no_cache: bool,
    allow_missing: bool,
    spread: EngineOptions,
    quiet: bool,
    as_json: bool,
    reading: ReadOptions,
) -> None:
    """Score every sentence of responses, as they come and however many.

    SCORER is a folder of `fractal train`, or a repository of the Hub; DATA anything that can be read, `-` is stdin. No
    label is needed, and those in the data have no influence. Columns, label scale and sentences are read as those of
    the scorer's training data were, and what was taken is said. A scorer of several aspects gives every response one
    record an aspect.

    Several DATA, folders, globs and addresses such as s3://bucket/x are scored into a folder of shards, -o FOLDER/, by
    as many processes as --workers says: each unit of work appears whole or not at all, and what is written does not
    depend on their number. The folder's manifest.json says what was read and written.
    """
    silent = quiet or as_json
    if spread.needed(data, output):
        from fractal.engine import score_files

        summary = run_engine(
            score_files,
            scorer,
            data,
            output,
            spread,
            reading,
            resume=resume,
            writer=flagging_writer(writer, output, saved_promises(scorer), "", silent),
            cache=not no_cache,
            quiet=silent,
        )
        if as_json:
            print_json(summary)
        return
    from fractal.readers import ReadReport
    from fractal.scorers.persistence import load_folder

    saved = load_folder(scorer)
    loaded = loaded_for_scoring(scorer, saved, cache=not no_cache)
    report, source = ReadReport(), data[0] if data else "-"
    responses = read_as_in_training(loaded, reading, source, report, allow_missing=allow_missing, quiet=silent)
    count = write_scored(
        loaded.score_responses,
        responses,
        output=output,
        writer=flagging_writer(writer, output, loaded.guarantees_, "", silent),
        resume=resume,
        batch=batch,
        each=records_each(loaded),
        belongs_to=saved.digest,
        quiet=silent,
    )
    if as_json:
        summary = {"read": report.read, "scored": count, "rejected": reading.rejected, "output": output}
        print_json(summary, stderr=output == "-")
