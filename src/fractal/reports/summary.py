"""What a report says about many scored responses at once: shares, distributions, and calibration by known labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from fractal.evaluation.calibration.decisions import ReliabilityBin, reliability
from fractal.records import ScoredResponse

HISTOGRAM_BINS = 20
CALIBRATION_BINS = 10
POSITIONS = 12  # sentences from here on share one place


@dataclasses.dataclass(frozen=True)
class Position:
    """The mean score of the first, second, … sentences; the last place stands for all later ones."""

    place: int
    score: float
    count: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """The numbers of an overview, for one aspect or for all."""

    aspect: str
    threshold: float
    responses: int
    sentences: int
    flagged: int  # sentences with a score below the threshold; of scores that find something, those above it
    touched: int  # responses with such a sentence
    histogram: tuple[int, ...]
    calibration: tuple[ReliabilityBin, ...]
    calibrated: str  # "sentence" or "response": whose labels the calibration reads; "" where none is known
    positions: tuple[Position, ...]
    finds: bool = False  # whether all scores find something: they were learned under a maximum

    @property
    def flagged_share(self) -> float:
        """Which share of the sentences is flagged."""
        return self.flagged / self.sentences if self.sentences else 0.0

    @property
    def touched_share(self) -> float:
        """Which share of the responses holds a flagged sentence."""
        return self.touched / self.responses if self.responses else 0.0


def summarise(scored: Sequence[ScoredResponse], threshold: float = 0.5, aspect: str = "") -> Summary:
    """Count what an overview shows."""
    scores = [score for item in scored for score in item.sentence_scores]
    histogram = [0] * HISTOGRAM_BINS
    for score in scores:
        histogram[min(HISTOGRAM_BINS - 1, int(score * HISTOGRAM_BINS))] += 1
    level, pairs = calibration_pairs(scored)
    marks = [marked(item, threshold) for item in scored]
    return Summary(
        aspect=aspect,
        threshold=threshold,
        responses=len(scored),
        sentences=len(scores),
        flagged=sum(marks),
        touched=sum(map(bool, marks)),
        histogram=tuple(histogram),
        calibration=calibration(pairs),
        calibrated=level,
        positions=positions(scored),
        finds=bool(scored) and all(map(finds, scored)),
    )


def marked(item: ScoredResponse, threshold: float) -> int:
    """Count the sentences that a reader looks for: those flagged as bad, or found as good under a maximum."""
    return sum((score >= threshold) == finds(item) for score in item.sentence_scores)


def finds(item: ScoredResponse) -> bool:
    """Whether a response is as good as its best sentence, so that high scores are what a reader looks for."""
    return item.aggregation == "max"


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
