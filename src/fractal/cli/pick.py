"""`fractal pick`: the best of several responses to each query."""

from __future__ import annotations

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, json_option, quiet_option, scored_options
from fractal.cli._output import note, print_json, target_of
from fractal.cli.show import filtered

__all__ = ["command"]

WAYS = ("response", "sentence", "min", "max", "mean")


@subcommand(
    "pick",
    "fractal pick scores.jsonl -o best.jsonl",
    "fractal score scorer/ answers.jsonl | fractal pick - --by sentence --kappa 1",
)
@click.argument("scores", default="-")
@click.option(
    "--by",
    type=click.Choice(WAYS),
    default="response",
    show_default=True,
    help="What counts: the score of the whole response, the sentence that decides (the worst under a minimum, the best "
    "under a maximum), or the worst, the best, the mean of the sentences.",
)
@click.option(
    "--per", type=click.Choice(("query", "group")), default="query", show_default=True, help="What belongs together."
)
@click.option("--kappa", default=0.0, show_default=True, help="Spreads that are taken off each sentence's score first.")
@click.option("--aspect", metavar="NAME", help="Only the scores of this aspect.")
@click.option("-o", "--output", default="-", metavar="FILE", help="[default: stdout]")
@scored_options
@quiet_option
@json_option
def command(
    scores: str,
    by: str,
    per: str,
    kappa: float,
    aspect: str | None,
    output: str,
    quiet: bool,
    as_json: bool,
    reading: ReadOptions,
) -> None:
    """Pick the best response to each query: a line a query, with the score and the runners-up.

    Where responses have no query, their group says which belong together. Of even ones the first is taken, and how
    many queries that decides is said; `tied` names them.
    """
    from fractal.evaluation.best_of import best_of
    from fractal.files import open_target
    from fractal.writers.jsonl import encoded

    picks = best_of(filtered(reading.scored(scores), aspect=aspect), by, kappa, per)
    with open_target(target_of(output)) as stream:
        for pick in picks:
            stream.write(encoded(pick.to_dict()) + b"\n")
    alone, tied = sum(not pick.runners_up for pick in picks), sum(bool(pick.tied) for pick in picks)
    if as_json:
        facts = {"queries": len(picks), "alone": alone, "tied": tied, "rejected": reading.rejected, "output": output}
        print_json(facts, stderr=output == "-")
        return
    note(
        f"{len(picks):,} queries: {alone:,} have one response alone, {tied:,} are decided by order among even ones.",
        quiet,
    )
