"""`fractal suggest`: which sentences people should label next, and their answers back into the data."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, quiet_option, reading_options, trust_option
from fractal.cli._output import note
from fractal.cli._scoring import missing_option, read_as_in_training
from fractal.errors import BadData, BadSpec

if TYPE_CHECKING:
    from fractal.records import Response, ScoredResponse
    from fractal.scorers.active_learning import Suggestion
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["command"]

SUREST = 0.99  # of ratings whose estimate is 1: a second opinion on them may still be asked for


@subcommand(
    "suggest",
    "fractal suggest scorer/ answers.jsonl -k 100 -o to_label.jsonl",
    "fractal suggest scorer/ answers.jsonl --answers to_label.jsonl -o labelled.jsonl",
)
@click.argument("scorer")
@click.argument("data")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="Where the lines go.")
@click.option("-k", "--count", default=50, show_default=True, type=click.IntRange(1), help="How many sentences.")
@click.option("--annotator", "annotators", multiple=True, metavar="NAME", help="Who labels. Repeatable.")
@click.option("--overlap", default=0.0, show_default=True, help="Share of sentences that two annotators get.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    default=("label",),
    show_default=True,
    type=click.Choice(["label", "opinion", "rating"]),
    help="What may be asked: labels, second opinions on labels, ratings of responses. Repeatable.",
)
@click.option(
    "--reliability",
    type=float,
    help="Share of labels and ratings that are right; opinions: < 1. Default: what annotators of DATA show, else 1.",
)
@click.option(
    "--rated-by",
    metavar="FIELD",
    help="Field of DATA that names who rated, or holds ratings by name. Default: annotator or ratings, if there.",
)
@click.option(
    "--reading",
    "reading_cost",
    default=0.25,
    show_default=True,
    help="How much words count against; 1: worth per word.",
)
@click.option("--seed", default=0, show_default=True, help="Sentences are drawn: same seed, same sentences.")
@click.option(
    "--answers",
    multiple=True,
    metavar="FILE",
    help="Filled-in lines: write DATA with these labels instead. Repeatable.",
)
@missing_option
@reading_options(splitter=False)
@trust_option
@quiet_option
def command(
    scorer: str,
    data: str,
    output: str,
    count: int,
    annotators: tuple[str, ...],
    overlap: float,
    kinds: tuple[str, ...],
    reliability: float | None,
    rated_by: str | None,
    reading_cost: float,
    seed: int,
    answers: tuple[str, ...],
    allow_missing: bool,
    quiet: bool,
    reading: ReadOptions,
) -> None:
    """Choose sentences whose labels would teach the scorer much.

    Each line of the output is a sentence with what it answers to; people fill in `label`, from 0, bad, to 1, good.
    With --answers the filled-in lines become sentence labels of DATA, to train on. With several --kind it is chosen
    between labels, second opinions on those that are there, and ratings of whole responses, by what each would settle.
    How often people are right is estimated where two of them rated the same responses of DATA.
    """
    from fractal.scorers.active_learning import (
        agreement,
        apply_answers,
        read_answers,
        suggest_labels,
        write_suggestions,
    )
    from fractal.scorers.aspects import load_scorer
    from fractal.scorers.sentence import SentenceScorer

    loaded = load_scorer(scorer)
    if not isinstance(loaded, SentenceScorer):
        raise BadSpec(
            f"{scorer} scores several aspects, and a sentence has one label for all of them: "
            "give a scorer trained without --aspect"
        )
    responses = list(read_as_in_training(loaded, reading, data, allow_missing=allow_missing, quiet=quiet))
    if answers:
        from fractal.writers import write

        answered = [answer for path in answers for answer in read_answers(path)]
        write(apply_answers(responses, answered), output)
        labelled, same = sum(answer.label is not None for answer in answered), agreement(answered)
        together = "" if same != same else f"; annotators agree on {same:.0%} of what two of them saw"
        note(f"{labelled} of {len(answered)} sentences have a label{together}. Wrote {output}.", quiet)
        return
    suggestions = suggest_labels(
        loaded,
        responses,
        count,
        annotators=annotators,
        overlap=overlap,
        reading=reading_cost,
        seed=seed,
        kinds=kinds,
        reliability=_estimated(loaded, responses, rated_by, quiet) if reliability is None else reliability,
    )
    write_suggestions(suggestions, output)
    note(f"Wrote {_counted(suggestions, kinds)} to {output}: fill in `label`, then:", quiet)
    note(f"  {_next(scorer, data, output, reading, allow_missing=allow_missing)}", quiet)


def _estimated(scorer: SentenceScorer, responses: Sequence[Response], field: str | None, quiet: bool) -> float:
    """Return how often the people who rated these responses are right, 1 where nothing tells; say which."""
    from fractal.evaluation.annotators import FIELDS, annotator_quality
    from fractal.evaluation.slices import carried_value

    there = [name for name in FIELDS if any(carried_value(response, name) for response in responses)]
    if field is None and not there:
        return 1.0

    def held_out() -> Iterator[ScoredResponse]:
        yield from scorer.held_out_scores(responses)

    try:
        report = annotator_quality(responses, field or there[0], held_out())
    except BadData as error:
        if field is not None:
            raise
        note(f"Ratings are taken to be right ({error}); say otherwise with --reliability.", quiet)
        return 1.0
    if field is None and not any(one.shared for one in report.annotators):
        note(
            "Ratings are taken to be right, as no two people rated one response; see --rated-by, --reliability.", quiet
        )
        return 1.0
    if report.reliability <= 0.5:
        raise BadData(
            f"ratings are right {report.reliability:.0%} of the time, by {report.compared_with}: look at them with "
            "`fractal inspect --annotator`, and write their common label with --combined",
            field=field or there[0],
        )
    people = ", ".join(f"{one.name} {one.accuracy:.2f}" for one in report.annotators if one.accuracy == one.accuracy)
    note(f"Ratings are right {report.reliability:.0%} of the time ({people}), by {report.compared_with}.", quiet)
    return min(report.reliability, SUREST)


def _counted(suggestions: Sequence[Suggestion], kinds: Sequence[str]) -> str:
    """Say how many of each kind there are."""
    if tuple(kinds) == ("label",):
        return f"{len(suggestions)} sentences"
    names = {"label": "sentences to label", "opinion": "to give a second opinion on", "rating": "responses to rate"}
    counts = Counter(one.kind for one in suggestions)
    return ", ".join(f"{counts[kind]} {names[kind]}" for kind in names if kind in kinds)


def _next(scorer: str, data: str, output: str, reading: ReadOptions, *, allow_missing: bool) -> str:
    """Return the command that takes the filled-in lines."""
    flags = [*reading.flags(), *(["--allow-missing"] if allow_missing else [])]
    return f"fractal suggest {shlex.join([scorer, data, *flags, '--answers', output])} -o labelled.jsonl"
