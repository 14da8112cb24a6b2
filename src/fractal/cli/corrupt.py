"""`fractal corrupt`: negatives for summaries, made of good ones."""

from __future__ import annotations

import dataclasses

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, json_option, quiet_option, reading_options
from fractal.cli._output import note, print_json, target_of
from fractal.cli._shell import in_shell_words
from fractal.errors import BadData
from fractal.records import Response

__all__ = ["command"]


@subcommand(
    "corrupt",
    "fractal corrupt wikicatsum/film --reader wikicatsum -o summaries.jsonl",
    "fractal corrupt good.jsonl --generator \"openai(base_url='http://127.0.0.1:8000/v1', model='m')\" > new.jsonl",
)
@click.argument("source", default="-")
@click.option("-o", "--output", default="-", show_default=True, metavar="FILE")
@click.option(
    "--corruptor", "corruptors", multiple=True, metavar="SPEC", help="sentences or words; repeat for several."
)
@click.option("--generator", default="rules", show_default=True, metavar="SPEC", help="rules, openai or transformers.")
@click.option("--share", default=0.5, show_default=True, help="Share of the good responses that is corrupted.")
@click.option("--keep-originals", is_flag=True, help="Let the original stand before its corrupted version.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same corruptions.")
@reading_options
@quiet_option
@json_option
def command(
    source: str,
    output: str,
    corruptors: tuple[str, ...],
    generator: str,
    share: float,
    keep_originals: bool,
    seed: int,
    quiet: bool,
    as_json: bool,
    reading: ReadOptions,
) -> None:
    """Corrupt a share of good summaries, so that there is something to tell them from.

    Label and sentence labels say what is wrong. Without --corruptor, three of four have whole sentences replaced and
    the others words, about as in the paper. What cannot be corrupted is left out and counted, never kept as good.
    """
    from fractal.datasets.corruption import CorruptionReport, corrupt
    from fractal.datasets.corruption.corrupting import PAPER
    from fractal.readers import ReadReport
    from fractal.writers import write

    read_report = ReadReport()
    records = list(reading.records(source, read_report))
    responses = [record for record in records if isinstance(record, Response)]
    if len(responses) < len(records):
        raise BadData(f"{source} holds preferences: corruption is for responses", source=source)
    note(in_shell_words(str(read_report)), quiet)
    report = CorruptionReport()
    corrupted = corrupt(
        responses,
        corruptors or PAPER,
        generator,
        share=share,
        keep_originals=keep_originals,
        seed=seed,
        report=report,
    )
    write(corrupted, target_of(output), "jsonl")
    note(str(report), quiet)
    if as_json and output != "-":
        print_json(dataclasses.asdict(report))
