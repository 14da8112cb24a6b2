"""`fractal report`: scored responses as one HTML page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, quiet_option, scored_options, trust_option
from fractal.cli._output import emit, note
from fractal.cli._promises import saved_promises, threshold_of, threshold_option
from fractal.cli.evaluate import has_labels, with_truth
from fractal.cli.plot import epochs_of
from fractal.cli.show import filtered
from fractal.records import ScoredResponse

if TYPE_CHECKING:
    from fractal.evaluation import Evaluation

__all__ = ["command"]


@subcommand(
    "report",
    "fractal report scores.jsonl -o report.html",
    "fractal report scores.jsonl --scorer scorer/ --truth labelled.jsonl --log epochs.jsonl -o report.html",
    "fractal report scores.jsonl --by model -o report.html",
)
@click.argument("scores", default="-")
@click.option("-o", "--output", default="report.html", show_default=True, metavar="FILE")
@click.option("--title", default="Sentence scores", show_default=True)
@click.option("--truth", metavar="DATA", help="Labelled responses, met by id; cut otherwise, by character places.")
@click.option("--scorer", metavar="FOLDER", help="The scorer that made them: shows its checks, flags by its promise.")
@click.option("--log", metavar="FILE", help="What `fractal train --log` wrote: shows how the training went.")
@click.option("--aspect", metavar="NAME", help="Only the scores of this aspect.")
@click.option(
    "--by", metavar="FIELD", help="A row for each value of a field that responses carry, as model or meta.topic."
)
@threshold_option
@click.option("--bootstrap", default=1000, show_default=True, help="Resamples behind the intervals; 0 for none.")
@trust_option
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
    by: str | None,
    threshold: float | None,
    bootstrap: int,
    quiet: bool,
    reading: ReadOptions,
) -> None:
    """Write one self-contained HTML page: overview, metrics, and every response as coloured sentences.

    The page loads nothing from the network and can be sent as it is. Metrics appear where labels are known. Scores that
    were learned from preferences alone are shown against those of the other answers to the same query. In the page the
    threshold can be moved, fields that responses carry are filters, and every response has a link.
    """
    from fractal.evaluation.slices import slices
    from fractal.reports import write_report

    labelled = list(reading.responses(truth)) if truth else None
    notes: list[str] = []
    items = with_truth(filtered(reading.scored(scores), aspect=aspect), labelled, notes)
    evaluations = _by_aspect(items, bootstrap)
    by_evaluation: dict[str, dict[str, Any]] = {}
    for value, part in (slices(items, by) if by else {}).items():
        for name, evaluation in _by_aspect(part, bootstrap).items():
            by_evaluation.setdefault(name, {})[value] = evaluation
    if truth and not evaluations:
        notes.append(f"No label was met: {Path(truth).name} says nothing of these responses, so nothing is measured.")
        note(notes[-1], quiet)
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
        by=by or "",
        by_evaluation=by_evaluation,
        notes=notes,
    )
    note(f"A report on {len(items):,} responses; open it in a browser:", quiet)
    emit(str(path))


def _by_aspect(items: Sequence[ScoredResponse], bootstrap: int) -> dict[str, Evaluation]:
    """Measure each aspect that has a label."""
    from fractal.evaluation import evaluate

    by_aspect = {name: [item for item in items if item.aspect == name] for name in sorted({i.aspect for i in items})}
    return {name: evaluate(part, bootstrap=bootstrap) for name, part in by_aspect.items() if has_labels(part)}


def _loaded(folder: str | None) -> object:
    if folder is None:
        return None
    from fractal.scorers.aspects import load_scorer

    return load_scorer(folder)
