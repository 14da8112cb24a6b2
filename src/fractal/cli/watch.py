"""`fractal watch`: whether new responses are like those before, with an exit code for a scheduled job."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, json_option, quiet_option, reading_options, trust_option
from fractal.cli._output import emit, note, print_json
from fractal.errors import BadData, BadSpec

if TYPE_CHECKING:
    from fractal.records import Response, ScoredResponse

__all__ = ["command"]

DRIFTED = 1
TIMES = ("time", "timestamp", "created_at", "date")


@subcommand(
    "watch",
    "fractal watch scorer/ answers.jsonl --since 2026-01-01",
    "fractal watch scorer/ new.jsonl --against old.jsonl --threshold 0.3 || echo look",
)
@click.argument("scorer")
@click.argument("data", default="-")
@click.option(
    "--since", metavar="TIME", help="What is new begins here; what stands before it in DATA is compared with."
)
@click.option("--time", "field", metavar="FIELD", help=f"The field with the time; else {', '.join(TIMES)}.")
@click.option("--against", metavar="DATA", help="Responses to compare with, where all of DATA is new.")
@click.option("--threshold", default=0.5, show_default=True, help="Sentences below it count as flagged.")
@click.option("--margin", default=0.05, show_default=True, help="A difference that is surely smaller is none.")
@reading_options(splitter=False)
@trust_option
@quiet_option
@json_option
def command(
    scorer: str,
    data: str,
    since: str | None,
    field: str | None,
    against: str | None,
    threshold: float,
    margin: float,
    quiet: bool,
    as_json: bool,
    reading: ReadOptions,
) -> int:
    """Compare new responses with those before: sentences flagged, inputs unlike training, scores against new ratings.

    Each is compared with an interval of 95%, drawn by response. Exits with 1 where something has surely moved by more
    than the margin.
    """
    from fractal.evaluation.drift import calibration_drift, share_drift
    from fractal.scorers.aspects import load_scorer
    from fractal.scorers.likeness import sentence_far
    from fractal.scorers.sentence import SentenceScorer

    loaded = load_scorer(scorer)
    if not isinstance(loaded, SentenceScorer):
        raise BadSpec(f"{scorer} scores several aspects: watch a scorer of one label")
    if (since is None) == (against is None):
        raise BadSpec("say what is new: give --since, or --against")
    responses = list(reading.responses(data, splitter=loaded.splitter))
    if against is not None:
        before, after = list(reading.responses(against, splitter=loaded.splitter)), responses
    else:
        before, after = _parted(responses, _moment(str(since)), field, quiet)
    old, new = loaded.score_responses(before), loaded.score_responses(after)
    low, lower = _flags(old, threshold), _flags(new, threshold)
    far, farther = sentence_far(loaded, before), sentence_far(loaded, after)
    drifts = [
        share_drift("flagged sentences", low, lower, margin),
        share_drift("sentences unlike training", far, farther, margin),
        share_drift("responses unlike training", _unlike(old), _unlike(new), margin),
    ]
    rated = calibration_drift(new, margin)
    drifts += [rated] if rated else []
    if rated is None:
        note("No new response is rated: calibration is not compared.", quiet)
    if as_json:
        print_json([dataclasses.asdict(drift) for drift in drifts])
    else:
        for drift in drifts:
            emit(str(drift))
    return DRIFTED if any(drift.drifted for drift in drifts) else 0


def _flags(scored: Iterable[ScoredResponse], threshold: float) -> list[list[bool]]:
    return [[score < threshold for score in item.sentence_scores] for item in scored]


def _unlike(scored: Iterable[ScoredResponse]) -> list[list[bool]]:
    return [[bool(item.unlike)] for item in scored]


def _parted(
    responses: Iterable[Response], since: datetime.datetime, field: str | None, quiet: bool
) -> tuple[list[Response], list[Response]]:
    before: list[Response] = []
    after: list[Response] = []
    without = 0
    for response in responses:
        names = (field,) if field else TIMES
        value = next((response.extra[name] for name in names if response.extra.get(name) is not None), None)
        if value is None:
            without += 1
        else:
            (after if _moment(str(value)) >= since else before).append(response)
    if without:
        note(f"Responses without a time, left out: {without:,}", quiet)
    return before, after


def _moment(text: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise BadData(
            f"found {text[:40]!r}: write a time as in 2026-01-31 or 2026-01-31T12:00:00Z", field="time"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
