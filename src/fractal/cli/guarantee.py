"""`fractal guarantee`: a threshold of a trained scorer, with a promise of what it flags and what it misses."""

from __future__ import annotations

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, json_option, quiet_option, reading_options, trust_option
from fractal.cli._output import emit, note, print_json
from fractal.cli._promises import Promises, promise_options
from fractal.cli._scoring import missing_option, read_as_in_training
from fractal.errors import BadSpec

__all__ = ["command"]


@subcommand(
    "guarantee",
    "fractal guarantee scorer/ rated.jsonl --false-alarms 0.05",
    "fractal guarantee scorer/ rated.jsonl --misses 0.1 --confidence 0.9 --json",
)
@click.argument("scorer")
@click.argument("data", default="-")
@promise_options
@click.option("--aspect", default="", metavar="NAME", help="Of a scorer of several aspects: which one.")
@missing_option
@reading_options(splitter=False)
@trust_option
@quiet_option
@json_option
def command(
    scorer: str,
    data: str,
    promises: Promises,
    aspect: str,
    allow_missing: bool,
    quiet: bool,
    as_json: bool,
    reading: ReadOptions,
) -> None:
    """Find the threshold that holds a promise, by rated responses, and keep it with the scorer.

    With responses that the scorer did not train on, the promise is exact. Of those that it trained on, the heads that
    held them out give the scores, which is near to it. `fractal report`, `show`, `export` and `score` then flag by it.
    """
    from fractal.scorers.aspects import load_scorer

    if not promises:
        raise BadSpec("say what is to be promised: --false-alarms 0.05, --misses 0.1, or both")
    loaded = load_scorer(scorer)
    silent = quiet or as_json
    responses = list(read_as_in_training(loaded, reading, data, allow_missing=allow_missing, quiet=silent))
    promises.keep(loaded, responses, [aspect])
    promise = loaded.guarantees_[aspect]
    folder = loaded.save_pretrained(scorer)
    if as_json:
        print_json({**promise.to_dict(), "rejected": reading.rejected, "folder": str(folder)})
        return
    emit(str(promise))
    if promise.left_out:
        note(f"{promise.left_out:,} responses are rated neither clean nor flawed, and say nothing.", quiet)
    note(f"Kept in {folder}.", quiet)
