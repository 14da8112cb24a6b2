"""`fractal evaluate`: how good scores are, measured against the labels that they carry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, json_option, scored_options
from fractal.cli._output import emit, note, print_json
from fractal.errors import BadData, BadSpec
from fractal.files import exclusive, whole_file
from fractal.records import ScoredResponse

if TYPE_CHECKING:
    from fractal.evaluation import Evaluation
    from fractal.evaluation.tables import Table

__all__ = ["command", "has_labels", "refuse_unlabelled", "with_truth"]

SHARE = click.FloatRange(0, 1, min_open=True)


@subcommand(
    "evaluate",
    "fractal evaluate scores.jsonl --truth labelled.jsonl",
    "fractal evaluate new.jsonl --against old.jsonl --metric roc_auc --metric brier",
    "fractal evaluate scores.jsonl --wanted-precision 0.9",
)
@click.argument("scores", default="-")
@click.option("--against", metavar="SCORES", help="Other scores of the same responses to compare with.")
@click.option(
    "--truth",
    metavar="DATA",
    help="Labelled responses, met by id, where the scores carry no labels; cut otherwise, by character places.",
)
@click.option(
    "-m", "--metric", "metrics", multiple=True, metavar="SPEC", help="See `fractal list metrics`. Repeatable."
)
@click.option("--wanted-precision", type=SHARE, metavar="P", help="Find the threshold that gives it.")
@click.option("--wanted-recall", type=SHARE, metavar="R", help="Find the threshold that gives it.")
@click.option(
    "--of",
    type=click.Choice(["bad", "good"]),
    default="bad",
    show_default=True,
    help="The sentences that the threshold is to pick out.",
)
@click.option("--bootstrap", default=1000, show_default=True, help="Resamples behind the intervals; 0 for none.")
@click.option("--confidence", default=0.95, show_default=True, help="Of the intervals.")
@click.option("--seed", default=0, show_default=True)
@click.option("--aspect", metavar="NAME", help="Measure the scores of this aspect.")
@click.option(
    "--by", metavar="FIELD", help="Also by the values of a field that responses carry, as model or meta.topic."
)
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@click.option("-o", "--output", metavar="FILE", help="Also write the result as JSON.")
@json_option
@scored_options
def command(
    scores: str,
    against: str | None,
    truth: str | None,
    metrics: tuple[str, ...],
    wanted_precision: float | None,
    wanted_recall: float | None,
    of: str,
    bootstrap: int,
    confidence: float,
    seed: int,
    aspect: str | None,
    by: str | None,
    markdown: bool,
    output: str | None,
    as_json: bool,
    reading: ReadOptions,
) -> None:
    """Measure scores against known labels, with intervals.

    Whole responses are resampled, so the intervals hold though sentences of one response are alike. Needs no torch, and
    judges anybody's scores. With --wanted-precision or --wanted-recall it also says where to cut, by the labels of
    sentences: the threshold, and the precision and recall that it gives.
    """
    from fractal.evaluation import LabelledScores, compare, evaluate
    from fractal.evaluation.calibration import thresholds
    from fractal.evaluation.slices import slices

    wanted: dict[str, Any] = {"precision": wanted_precision, "recall": wanted_recall}
    cut = wanted_precision is not None or wanted_recall is not None
    if cut and against:
        raise BadSpec("a threshold is for one set of scores: leave out --against, or the wanted precision or recall")
    labelled = list(reading.responses(truth)) if truth else None
    notes: list[str] = []
    items = with_truth(reading.scored(scores), labelled, notes)
    refuse_unlabelled(items)
    names = list(metrics) or None
    common: dict[str, Any] = {"bootstrap": bootstrap, "confidence": confidence, "seed": seed}
    if against:
        others = with_truth(reading.scored(against), labelled)
        table: Table = compare(items, others, names, names=(scores, against), aspect=aspect, **common)
    else:
        table = evaluate(items, names, aspect=aspect, **common)
    plain, lines = table.to_dict(), [table.to_markdown() if markdown else str(table)]
    if cut:
        sample = LabelledScores.of(items, aspect).sentences
        threshold = thresholds(sample.truth, sample.scores, groups=sample.groups, of=of, **wanted, **common)
        plain["threshold"] = threshold.to_dict()
        lines += ["", str(threshold)]
    plain["rejected"] = reading.rejected
    if notes:
        plain["notes"] = notes
    if by:
        measured = {
            value: evaluate(part, names, aspect=aspect, **common)
            for value, part in slices(items, by).items()
            if has_labels(part)
        }
        plain["by"] = {"field": by, "slices": {value: one.to_dict() for value, one in measured.items()}}
        lines += ["", *_by_lines(by, measured)]
    if output:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        with exclusive(output), whole_file(output) as beside:
            beside.write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if as_json:
        print_json(plain)
    else:
        emit("\n".join(lines))


def _by_lines(field: str, measured: Mapping[str, Evaluation]) -> list[str]:
    """Return a table of the slices: a row a value, a column a metric, with its interval."""
    from fractal.evaluation.tables import markdown

    metrics = list(dict.fromkeys(row.metric for one in measured.values() for row in one.rows))
    rows = []
    for value, one in measured.items():
        cells = {row.metric: "–" if row.value != row.value else f"{row.value:.3f}" for row in one.rows}
        rows.append([value, f"{one.responses:,}", *(cells.get(metric, "–") for metric in metrics)])
    return [markdown([field, "responses", *metrics], rows)] if rows else [f"No value of {field} has labels."]


def has_labels(items: Iterable[ScoredResponse]) -> bool:
    """Whether a response or a sentence has a known label."""
    from fractal.reports.summary import label_of

    return any(label is not None for item in items for label in (label_of(item), *item.response.sentence_labels))


def refuse_unlabelled(items: Iterable[ScoredResponse]) -> None:
    """Refuse scores without one label to hold them against."""
    if has_labels(items):
        return
    raise BadData("the scores carry no labels to hold them against: give labelled responses, as in --truth DATA")


def with_truth(
    scored: Iterable[ScoredResponse], labelled: Iterable[object] | None, said: list[str] | None = None
) -> list[ScoredResponse]:
    """Give scores the labels of the responses with the same ids; what could not be met is said, and added to `said`."""
    from fractal.evaluation.truth import meet_truth

    if labelled is None:
        return list(scored)
    met = meet_truth(scored, labelled)
    if text := str(met):
        note(text)
        if said is not None:
            said.append(f"Labels: {text}.")
    return met.scored
