"""`fractal export`: scored responses in the form that the next tool reads."""

from __future__ import annotations

from pathlib import Path

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, json_option, quiet_option, scored_options
from fractal.cli._output import note, print_json, target_of
from fractal.cli._promises import flagging_writer, saved_promises
from fractal.cli.show import filtered

__all__ = ["command"]


@subcommand(
    "export",
    "fractal export scores.jsonl --to csv -o scores.csv",
    "fractal score scorer/ answers.jsonl | fractal export - --to stepwise > steps.jsonl",
)
@click.argument("scores", default="-")
@click.option(
    "--to", "writer", default="auto", metavar="SPEC", help="See `fractal list writers`.  [default: by the ending]"
)
@click.option("-o", "--output", default="-", metavar="FILE", help="[default: stdout]")
@click.option("--aspect", metavar="NAME", help="Only the scores of this aspect.")
@click.option("--scorer", metavar="FOLDER", help="The scorer that made them: flags by its promise, if it has one.")
@click.option("--plain", is_flag=True, help="SCORES are responses without scores.")
@scored_options
@quiet_option
@json_option
def command(
    scores: str,
    writer: str,
    output: str,
    aspect: str | None,
    scorer: str | None,
    plain: bool,
    quiet: bool,
    as_json: bool,
    reading: ReadOptions,
) -> None:
    """Write scored responses in another form: a table, stepwise rewards, preferences, annotation tools.

    A record at a time goes through, so files may be of any size. With --plain, responses are converted as they are.
    """
    from fractal.writers import write

    records = reading.records(scores) if plain else filtered(reading.scored(scores), aspect=aspect)
    writer = flagging_writer(writer, output, saved_promises(scorer), aspect or "", quiet or as_json)
    left_out: dict[str, int] = {}
    count = write(records, target_of(output), writer, on_left_out=left_out.__setitem__)
    if as_json:
        facts = {"written": count, "rejected": reading.rejected, "left_out": left_out, "output": output}
        print_json(facts, stderr=output == "-")
    else:
        note(f"{count:,} records written to {'stdout' if output == '-' else output}", quiet)
        for reason, number in left_out.items():
            note(f"left out: {number:,} {reason}", quiet)
        if not count and (left_out or output == "-" or not Path(output).stat().st_size):
            note(f"It is empty: none of them is what {writer} asks for; see `fractal list writers`.", quiet)
