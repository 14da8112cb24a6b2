"""What a report says about many scored responses at once: shares, distributions, and calibration by known labels."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from typing import Literal

from fractal.evaluation.calibration.decisions import ReliabilityBin, reliability
from fractal.records import ScoredResponse
from fractal.reports.palette import gap_step, step
from fractal.reports.rivals import MARGIN, Standing, standings

HISTOGRAM_BINS = 20
CALIBRATION_BINS = 10
WIDEST_GAP = 0.5  # between a score and its rivals' mean that a chart shows apart
POSITIONS = 12  # sentences from here on share one place


@dataclasses.dataclass(frozen=True)
class Position:
    """The mean score of the first, second, … sentences; the last place stands for all later ones."""

    place: int
    score: float
    count: int


Aim = Literal["flag", "find", "compare"]
AIMS: tuple[Aim, ...] = ("flag", "find", "compare")


@dataclasses.dataclass(frozen=True)
class Summary:
    """The numbers of an overview, for one aspect or for all."""

    aspect: str
    threshold: float
    responses: int
    sentences: int
    aims: tuple[Aim, ...]  # what readers look for in these scores: one thing, unless aspects differ
    flagged: int  # sentences with a score below the threshold; of scores that find something, those above it
    touched: int  # responses with such a sentence
    better: int  # sentences of relative scores that lie above their rivals' mean by the margin
    worse: int
    compared: int  # responses of relative scores
    alone: int  # of them those without a rival here
    histogram: tuple[int, ...]
    gaps: tuple[int, ...]  # the same of relative scores, by how far they lie from their rivals' mean
    calibration: tuple[ReliabilityBin, ...]
    calibrated: str  # "sentence" or "response": whose labels the calibration reads; "" where none is known
    positions: tuple[Position, ...]

    @property
    def aim(self) -> str:
        """What readers look for, or "mixed" where aspects differ."""
        return self.aims[0] if len(self.aims) == 1 else "mixed"

    @property
    def finds(self) -> bool:
        """Whether all scores find something."""
        return self.aim == "find"

    @property
    def flagged_share(self) -> float:
        """Which share of the sentences is flagged."""
        return self.flagged / self.sentences if self.sentences else 0.0

    @property
    def touched_share(self) -> float:
        """Which share of the responses holds a flagged sentence."""
        return self.touched / self.responses if self.responses else 0.0


def summarise(
    scored: Sequence[ScoredResponse],
    threshold: float = 0.5,
    aspect: str = "",
    standing: Sequence[Standing | None] | None = None,
) -> Summary:
    """Count what an overview shows; of a part of the responses, `standing` says what theirs are among all."""
    scores = [score for item in scored for score in item.sentence_scores]
    absolute = [item for item in scored if not item.relative]
    level, pairs = calibration_pairs(absolute)
    marks = [marked(item, threshold) for item in absolute]
    among = standings(scored) if standing is None else standing
    compared = [(item, rivals) for item, rivals in zip(scored, among, strict=True) if rivals]
    gaps = [score - rivals.middle for item, rivals in compared for score in item.sentence_scores]
    aims = {aim_of(item) for item in scored}
    return Summary(
        aspect=aspect,
        threshold=threshold,
        responses=len(scored),
        sentences=len(scores),
        aims=tuple(aim for aim in AIMS if aim in aims),
        flagged=sum(marks),
        touched=sum(map(bool, marks)),
        better=sum(gap >= MARGIN for gap in gaps),
        worse=sum(gap <= -MARGIN for gap in gaps),
        compared=len(compared),
        alone=sum(not rivals.rivals for _, rivals in compared),
        histogram=_histogram(score for item in absolute for score in item.sentence_scores),
        gaps=_histogram(gap + WIDEST_GAP for gap in gaps) if gaps else (),
        calibration=calibration(pairs),
        calibrated=level,
        positions=positions(scored),
    )


def _histogram(scores: Iterable[float]) -> tuple[int, ...]:
    counts = [0] * HISTOGRAM_BINS
    for score in scores:
        counts[max(0, min(HISTOGRAM_BINS - 1, int(score * HISTOGRAM_BINS)))] += 1
    return tuple(counts)


def marked(item: ScoredResponse, threshold: float) -> int:
    """Count the sentences that a reader looks for: those flagged as bad, or found as good under a maximum."""
    return sum((score >= threshold) == finds(item) for score in item.sentence_scores)


def aim_of(item: ScoredResponse) -> Aim:
    """Say what a reader looks for: what is bad, what makes the response good, or what is better than its rival."""
    if item.relative:
        return "compare"
    return "find" if item.aggregation == "max" else "flag"


def finds(item: ScoredResponse) -> bool:
    """Whether a response is as good as its best sentence, so that high scores are what a reader looks for."""
    return aim_of(item) == "find"


def step_alone(item: ScoredResponse, score: float, threshold: float) -> int:
    """Return the colour of a score where no other response is at hand: relative ones stand beside their own mean."""
    if item.relative:
        return gap_step(score - statistics.fmean(item.sentence_scores), MARGIN)
    return step(score, threshold, finds(item))


def label_of(item: ScoredResponse) -> float | None:
    """Return the response's known label, of the aspect that the scores are about."""
    return item.response.label_of(item.aspect)


def calibration_pairs(scored: Iterable[ScoredResponse]) -> tuple[str, list[tuple[float, float]]]:
    """Return scores beside known labels: of sentences where any is known, else of responses."""
    items = list(scored)
    pairs = [
        (score, label)
        for item in items
        for score, label in zip(item.sentence_scores, item.response.sentence_labels, strict=True)
        if label is not None
    ]
    if pairs:
        return "sentence", pairs
    whole = [(item.response_score, label) for item in items if (label := label_of(item)) is not None]
    return ("response" if whole else ""), whole


def calibration(pairs: Sequence[tuple[float, float]], bins: int = CALIBRATION_BINS) -> tuple[ReliabilityBin, ...]:
    """Compare the mean of scores of about one size with the mean of their labels; empty bins are left out."""
    scores, labels = zip(*pairs, strict=True) if pairs else ((), ())
    return reliability(labels, scores, bins=bins, equal_mass=False, bootstrap=0)


def positions(scored: Iterable[ScoredResponse], places: int = POSITIONS) -> tuple[Position, ...]:
    """Return the mean score by the sentence's place in its response."""
    totals, counts = [0.0] * places, [0] * places
    for item in scored:
        for place, score in enumerate(item.sentence_scores):
            totals[min(place, places - 1)] += score
            counts[min(place, places - 1)] += 1
    return tuple(
        Position(place + 1, total / count, count)
        for place, (total, count) in enumerate(zip(totals, counts, strict=True))
        if count
    )
