"""`fractal rate`: judge models label whole responses, once each."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, json_option, quiet_option, reading_options
from fractal.cli._output import note, print_json, target_of
from fractal.errors import BadSpec

__all__ = ["command"]


@subcommand(
    "rate",
    "fractal rate answers.jsonl --judge \"openai(model='m', base_url='http://127.0.0.1:8000/v1')\" -o rated.jsonl",
    "fractal rate answers.jsonl --judge \"openai(model='m', input_price=0.15)\" --estimate",
)
@click.argument("source", default="-")
@click.option("-o", "--output", default="-", show_default=True, metavar="FILE")
@click.option(
    "--judge", "judges", multiple=True, required=True, metavar="SPEC", help="openai(model=…); repeat for several."
)
@click.option("--rubric", metavar="TEXT|FILE", help="What is good and what is bad; a file that exists is read.")
@click.option("--cache", metavar="FILE", help="Where answers are kept; beside the output if left out.")
@click.option("--estimate", "only_estimate", is_flag=True, help="Say what it would cost, and ask no judge.")
@click.option("--most", type=float, metavar="COST", help="Ask no judge where the estimate is above it.")
@reading_options
@quiet_option
@json_option
def command(
    source: str,
    output: str,
    judges: tuple[str, ...],
    rubric: str | None,
    cache: str | None,
    only_estimate: bool,
    most: float | None,
    quiet: bool,
    as_json: bool,
    reading: ReadOptions,
) -> None:
    """Let judge models rate whole responses by a rubric; then train as with any ratings.

    The estimate is said before the first call, the bill after the last. Answers are kept, so a second run asks for what
    is missing alone. Three judges or more are weighed by how well they foretell one another.
    """
    from fractal.datasets.judges import JUDGES, RUBRIC, Bill, Judgements, estimate, rate
    from fractal.writers import write

    asked = [JUDGES.build(judge) for judge in judges]
    text = RUBRIC if rubric is None else Path(rubric).read_text("utf-8") if _is_file(rubric) else rubric
    responses = list(reading.responses(source))
    kept = Judgements(cache or (f"{output}.judgements.jsonl" if output != "-" else None))
    before = estimate(responses, asked, text, kept)
    note(f"Estimate: {before}", quiet)
    if only_estimate:
        print_json(dataclasses.asdict(before)) if as_json else None
        return
    if most is not None and before.cost > most:
        raise BadSpec(f"the estimate {before.cost:.4f} is above --most {most:g}: rate fewer responses, or allow more")
    bill = Bill()
    rated, report = rate(responses, asked, rubric=text, kept=kept, bill=bill)
    write(rated, target_of(output), "jsonl")
    for line in report:
        note(line, quiet)
    unrated = sum(response.label is None for response in rated)
    note(f"Bill: {bill}; {unrated:,} of {len(rated):,} responses have no label", quiet)
    if output != "-" and unrated < len(rated):
        note(f"Next:\n  fractal train {shlex.quote(output)} -o scorer/", quiet)
    if as_json and output != "-":
        print_json({**dataclasses.asdict(bill), "rated": len(rated) - unrated, "unrated": unrated})


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # a text too long for a name
        return False
