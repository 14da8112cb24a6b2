"""`fractal demo`: the whole way in one command, on made responses whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fractal.cli._command import subcommand
from fractal.cli._options import json_option, quiet_option
from fractal.cli._output import console, emit, note, print_json, table
from fractal.files import exclusive

if TYPE_CHECKING:
    from fractal.cli._demo import Demo, Standout
    from fractal.records import Response
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["command"]


@subcommand("demo", "fractal demo", "fractal demo --output demo --seed 7")
@click.option("-o", "--output", default="demo", show_default=True, metavar="FOLDER")
@click.option("-n", "--responses", default=1_500, show_default=True, type=click.IntRange(120), help="How many to make.")
@click.option("--encoder", default="minilm", show_default=True, metavar="SPEC")
@click.option("--seed", default=0, show_default=True)
@quiet_option
@json_option
def command(output: str, responses: int, encoder: str, seed: int, quiet: bool, as_json: bool) -> None:
    """Go the whole way on made responses whose truth is known.

    Makes rated responses of two tasks, learns from the ratings alone, scores sentences and compares with the
    truth. Takes a few minutes and no network. Leaves data, scorers, scores and a report in FOLDER.
    """
    from fractal.cli._demo import run_demo
    from fractal.cli.train import fit

    def train(scorer: SentenceScorer, rated: Sequence[Response]) -> None:
        fit(scorer, rated, quiet or as_json)

    Path(output).resolve().parent.mkdir(parents=True, exist_ok=True)
    with exclusive(output):
        demo = run_demo(
            output,
            responses=responses,
            seed=seed,
            encoder=encoder,
            train=train,
            log=lambda text: note(text, quiet or as_json),
        )
    if as_json:
        print_json(_facts(demo))
    else:
        _show(demo, output, quiet)


def _facts(demo: Demo) -> dict[str, object]:
    return {
        "report": demo.report,
        "seconds": round(demo.seconds, 1),
        "tasks": {part.task: {"folder": part.folder, **part.evaluation.to_dict()} for part in demo.parts},
        "standouts": [
            {"id": one.scored.response.id, "sentence": one.text, "score": one.score, "truth": one.truth}
            for one in demo.standouts
        ],
    }


def _show(demo: Demo, output: str, quiet: bool) -> None:
    if not quiet:
        rows = [
            (
                part.task,
                f"{part.trained_on:,}",
                f"{len(part.scored):,}",
                part.aggregation,
                _interval(part, "roc_auc"),
                _interval(part, "response_roc_auc"),
            )
            for part in demo.parts
        ]
        head = ("task", "trained on", "measured on", "aggregation", "sentence AUC", "response AUC")
        table("Learned from labels on whole responses alone", head, rows)
        first = demo.parts[0].folder
        note(f"{demo.seconds:.0f} s. Look further:")
        note(f"  fractal show {first}/scores.jsonl --limit 3")
        note(f"  fractal evaluate {first}/scores.jsonl --truth {first}/truth.jsonl")
        note()
    for standout in demo.standouts:
        _print_standout(standout)
    emit(f"Report: {demo.report}")


def _interval(part: object, metric: str) -> str:
    row = part.evaluation[metric]  # type: ignore[attr-defined]
    return f"{row.value:.3f} ({row.low:.2f}–{row.high:.2f})"


def _print_standout(standout: Standout) -> None:
    """Print a sentence in colour, blue for good, orange for bad, and beneath it what stands around it."""
    from rich.text import Text

    from fractal.printable import visible

    good = standout.score >= 0.5
    truth = "" if standout.truth is None else f" (in truth {standout.truth:.2g})"
    head = f"{'▲ good' if good else '▼ bad'} {standout.score:.2f}{truth}  "
    text = Text(head + visible(standout.text), style="bold #2f80c0" if good else "bold #d75f00")
    sentences = [visible(sentence.text) for sentence in standout.scored.response.sentences]
    around = [" ".join(part) for part in (sentences[: standout.place], sentences[standout.place + 1 :])]
    text.append(f"\n  in: {around[0]} […] {around[1]}".replace("  […]", " […]").rstrip(), style="not bold dim default")
    console().print(text)
    console().print()
