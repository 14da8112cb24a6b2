"""`fractal report`: scored responses as one HTML page that needs no network."""

from __future__ import annotations

from pathlib import Path

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, quiet_option, scored_options
from fractal.cli._output import emit, note
from fractal.cli._promises import saved_promises, threshold_of, threshold_option
from fractal.cli.evaluate import with_truth
from fractal.cli.plot import epochs_of
from fractal.cli.show import filtered

__all__ = ["command"]


@subcommand(
    "report",
    "fractal report scores.jsonl -o report.html",
    "fractal report scores.jsonl --scorer scorer/ --truth labelled.jsonl --log epochs.jsonl -o report.html",
)
@click.argument("scores", default="-")
@click.option("-o", "--output", default="report.html", show_default=True, metavar="FILE")
@click.option("--title", default="Sentence scores", show_default=True)
@click.option("--truth", metavar="DATA", help="Labelled responses, met by id, where the scores carry no labels.")
@click.option("--scorer", metavar="FOLDER", help="The scorer that made them: shows its checks, flags by its promise.")
@click.option("--log", metavar="FILE", help="What `fractal train --log` wrote: shows how the training went.")
@click.option("--aspect", metavar="NAME", help="Only the scores of this aspect.")
@threshold_option
@click.option("--bootstrap", default=1000, show_default=True, help="Resamples behind the intervals; 0 for none.")
@quiet_option
@scored_options
def command(
    scores: str,
    output: str,
    title: str,
    truth: str | None,
    scorer: str | None,
    log: str | None,
    aspect: str | None,
    threshold: float | None,
    bootstrap: int,
    quiet: bool,
    reading: ReadOptions,
) -> None:
    """Write one self-contained HTML page: overview, metrics, and every response as coloured sentences.

    The page loads nothing from the network and can be sent as it is. Metrics appear where labels are known.
    """
    from fractal.evaluation import evaluate
    from fractal.reports import write_report
    from fractal.reports.summary import label_of

    labelled = list(reading.responses(truth)) if truth else None
    items = with_truth(filtered(reading.scored(scores), aspect=aspect), labelled)
    evaluations = {}
    for name in sorted({item.aspect for item in items}):
        of_aspect = [item for item in items if item.aspect == name]
        if any(label is not None for item in of_aspect for label in (label_of(item), *item.response.sentence_labels)):
            evaluations[name] = evaluate(of_aspect, bootstrap=bootstrap)
    cut = threshold_of(threshold, saved_promises(scorer), items, quiet)
    loaded = _loaded(scorer)
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    path = write_report(
        output,
        items,
        title=title,
        evaluation=evaluations or None,
        checks=getattr(loaded, "checks_", ()),
        history=epochs_of(log) if log else (),
        threshold=cut,
    )
    note(f"A report on {len(items):,} responses; open it in a browser:", quiet)
    emit(str(path))


def _loaded(folder: str | None) -> object:
    if folder is None:
        return None
    from fractal.scorers.aspects import load_scorer

    return load_scorer(folder)
