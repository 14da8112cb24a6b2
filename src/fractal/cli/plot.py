"""`fractal plot`: figures for papers, from scored responses or from a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, quiet_option, scored_options
from fractal.cli._output import emit, note
from fractal.cli.evaluate import refuse_unlabelled, with_truth
from fractal.errors import BadData

__all__ = ["command", "epochs_of"]

KINDS = ("roc", "precision_recall", "calibration", "positions", "history")


@subcommand(
    "plot",
    "fractal plot roc scores.jsonl -o roc.pdf",
    "fractal train ratings.jsonl -o scorer/ --log epochs.jsonl && fractal plot history epochs.jsonl -o history.svg",
)
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("source", default="-")
@click.option("-o", "--output", metavar="FILE", help="pdf, svg or png by its ending.  [default: KIND.pdf]")
@click.option("--truth", metavar="DATA", help="Labelled responses, met by id, where the scores carry no labels.")
@quiet_option
@scored_options
def command(kind: str, source: str, output: str | None, truth: str | None, quiet: bool, reading: ReadOptions) -> None:
    """Draw a figure: ROC, precision-recall, calibration, scores by position, or the history of a training.

    SOURCE holds scored responses; for `history` it is the file of `fractal train --log`.
    """
    from fractal.reports import plots

    if kind == "history":
        figure = plots.plot_history(epochs_of(source))
    else:
        labelled = list(reading.responses(truth)) if truth else None
        items = with_truth(reading.scored(source), labelled)
        if kind != "positions":
            refuse_unlabelled(items)
        figure = plots.PLOTS[kind](items)
    Path(output or ".").parent.mkdir(parents=True, exist_ok=True)
    path = plots.save_plot(figure, output or f"{kind}.pdf")
    note("Drawn:", quiet)
    emit(str(path))


def epochs_of(source: str) -> list[Any]:
    """Read what `fractal train --log` wrote."""
    try:
        with click.open_file(source, encoding="utf-8") as stream:
            epochs = [json.loads(line) for line in stream if line.strip()]
    except ValueError as error:
        raise BadData(
            f"no epochs as JSON lines ({error}): give the file of `fractal train --log`", source=Path(source).name
        ) from error
    if not all(isinstance(epoch, dict) and isinstance(epoch.get("parts"), dict) for epoch in epochs):
        raise BadData("lines without epochs: give the file of `fractal train --log`", source=Path(source).name)
    return epochs
