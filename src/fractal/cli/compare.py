"""`fractal compare`: saved scorers side by side, and on the same labelled responses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, json_option, quiet_option, reading_options, trust_option
from fractal.cli._output import emit, print_json, table
from fractal.cli._scoring import loaded_for_scoring, missing_option, read_as_in_training
from fractal.cli.evaluate import refuse_unlabelled
from fractal.errors import BadSpec

if TYPE_CHECKING:
    from fractal.evaluation import Comparison
    from fractal.records import ScoredResponse
    from fractal.scorers.comparison import SideBySide

__all__ = ["command"]


@subcommand(
    "compare",
    "fractal compare scorer-a/ scorer-b/",
    "fractal compare scorer-a/ scorer-b/ scorer-c/ --on labelled.jsonl --metric roc_auc --metric within_response_auc",
)
@click.argument("scorers", nargs=-1, required=True, metavar="SCORER...")
@click.option("--on", "data", metavar="DATA", help="Labelled responses to score with each, on the same resamples.")
@click.option(
    "-m", "--metric", "metrics", multiple=True, metavar="SPEC", help="See `fractal list metrics`. Repeatable."
)
@click.option("--bootstrap", default=1000, show_default=True, help="Resamples behind the intervals; 0 for none.")
@click.option("--confidence", default=0.95, show_default=True, help="Of the intervals.")
@click.option("--seed", default=0, show_default=True)
@click.option("--aspect", metavar="NAME", help="Compare the scores of this aspect.")
@missing_option
@trust_option
@reading_options(splitter=False)
@quiet_option
@json_option
def command(
    scorers: tuple[str, ...],
    data: str | None,
    metrics: tuple[str, ...],
    bootstrap: int,
    confidence: float,
    seed: int,
    aspect: str | None,
    allow_missing: bool,
    quiet: bool,
    as_json: bool,
    reading: ReadOptions,
) -> None:
    """Lay saved scorers side by side: settings that differ, training data, held-out figures.

    Held-out figures are each of its own training data, so they compare only where these are the same. With --on, every
    scorer scores the same labelled responses, and each is held against the first: both on the same resamples of whole
    responses, with an interval of the difference. The labels have no influence on the scores.
    """
    from fractal.evaluation import compare
    from fractal.scorers.comparison import side_by_side
    from fractal.scorers.persistence import load_folder

    if len(scorers) < 2:
        raise BadSpec(f"one scorer, {scorers[0]}: give two or more folders to compare")
    if data:
        reading.refuse_read_once(data)
    saved = [load_folder(scorer) for scorer in scorers]
    names = _short(scorers)
    beside = side_by_side([one.config for one in saved])
    comparisons: dict[str, Comparison] = {}
    if data:
        loaded = [loaded_for_scoring(scorer, one) for scorer, one in zip(scorers, saved, strict=True)]
        scored = [_scored(one, data, reading, allow_missing=allow_missing, quiet=quiet or as_json) for one in loaded]
        refuse_unlabelled(scored[0])
        common: dict[str, Any] = {"bootstrap": bootstrap, "confidence": confidence, "seed": seed, "aspect": aspect}
        for name, other in zip(names[1:], scored[1:], strict=True):
            comparisons[name] = compare(scored[0], other, list(metrics) or None, names=(names[0], name), **common)
    if as_json:
        on = {name: one.to_dict() for name, one in comparisons.items()}
        print_json({"scorers": list(scorers), **dataclasses.asdict(beside), "on": on, "rejected": reading.rejected})
        return
    _tell(names, beside)
    for comparison in comparisons.values():
        emit(f"\n{comparison}")


def _scored(scorer: Any, data: str, reading: ReadOptions, *, allow_missing: bool, quiet: bool) -> list[ScoredResponse]:
    """Score the responses with their labels beside the scores."""
    responses = read_as_in_training(scorer, reading, data, allow_missing=allow_missing, quiet=quiet)
    return list(scorer.stream(responses))


def _short(scorers: Sequence[str]) -> list[str]:
    """Return the names of the folders, or their paths where names repeat."""
    names = [Path(scorer).name or scorer for scorer in scorers]
    if len(set(names)) == len(names):
        return names
    if len(set(scorers)) < len(scorers):
        raise BadSpec("a scorer is named twice: give different folders")
    return list(scorers)


def _tell(names: Sequence[str], beside: SideBySide) -> None:
    parts = (
        (f"Settings that differ ({beside.equal_settings} are equal)", "setting", beside.settings),
        ("What was learned from", "count", beside.data),
        ("Held-out figures, each of its own training data", "figure", beside.held_out),
    )
    for title, what, rows in parts:
        if rows:
            table(title, (what, *names), _cells(rows))
        elif rows is beside.settings:
            emit(f"All {beside.equal_settings} settings are equal.")


def _cells(rows: Mapping[str, tuple[Any, ...]]) -> list[tuple[str, ...]]:
    return [
        (name, *(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values))
        for name, values in rows.items()
    ]
