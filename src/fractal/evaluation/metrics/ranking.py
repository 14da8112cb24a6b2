"""Metrics of order: does what is better get the higher score, wherever it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadSpec
from fractal.evaluation.metrics.base import (
    METRICS,
    BinaryMetric,
    Floats,
    Integers,
    Measurement,
    Metric,
    Sample,
    one_class,
)

CELLS_AT_ONCE = 1_000_000  # (item, resample) cells worked on at a time: stays in the cache's reach


@dataclasses.dataclass(frozen=True)
class Contests:
    """High items against low ones inside each segment, sorted once: who has the larger score, ties half."""

    owners: Integers  # (item,) the response of each item, by segment and rising score
    high: Floats  # (item, 1) 1 where the item should win
    ties: Integers  # (tie,) where each run of equal scores starts
    segments: Integers  # (segment,) the first tie of each segment

    @classmethod
    def of(cls, sample: Sample, high: NDArray[np.bool_], segment: Integers) -> Contests:
        """Sort the items by segment and score."""
        order = np.lexsort((sample.scores, segment))
        scores, segment = sample.scores[order], segment[order]
        new_segment, new_score = (np.r_[True, side[1:] != side[:-1]] for side in (segment, scores))
        ties = np.flatnonzero(new_segment | new_score)
        return cls(
            sample.groups[order], high[order].astype(np.float64)[:, None], ties, np.flatnonzero(new_segment[ties])
        )

    def counted(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return contests won and contests held, by segment: (segment, resample) each."""
        heavy = weights[self.owners]  # (item, resample)
        highs = _runs(heavy * self.high, self.ties)  # (tie, resample)
        lows = _runs(heavy, self.ties) - highs
        below = np.cumsum(lows, axis=0) - lows
        below -= np.repeat(below[self.segments], np.diff(self.segments, append=self.ties.size), axis=0)
        won = np.add.reduceat(highs * (below + lows / 2), self.segments, axis=0)
        held = np.add.reduceat(highs, self.segments, axis=0) * np.add.reduceat(lows, self.segments, axis=0)
        return won, held


def _runs(values: Floats, starts: Integers) -> Floats:
    """Add up runs of rows; where every row is its own run there is nothing to add."""
    if starts.size == len(values):
        return values
    added: Floats = np.add.reduceat(values, starts, axis=0)
    return added


def in_blocks(under: Callable[[Floats], Floats], items: int) -> Callable[[Floats], Floats]:
    """Work on few resamples at a time, so that memory stays small."""
    step = max(1, CELLS_AT_ONCE // max(items, 1))

    def blocks(weights: Floats) -> Floats:
        columns = [under(weights[:, at : at + step]) for at in range(0, weights.shape[1], step)]
        return np.concatenate(columns) if columns else np.empty(0)

    return blocks


@METRICS.register("roc_auc")
@dataclasses.dataclass(frozen=True)
class RocAuc(BinaryMetric):
    """Chance that a good one scores above a bad one, over all sentences; ties count half."""

    def read(self, sample: Sample) -> Measurement:
        """Count the contests that good ones win, by rank."""
        sample = self.binary(sample)
        if reason := one_class(sample):
            return Measurement(sample.truth.size, sample.responses, None, reason)
        contests = Contests.of(sample, sample.truth > 0, np.zeros_like(sample.groups))

        def under(weights: Floats) -> Floats:
            won, held = contests.counted(weights)
            area: Floats = won[0] / held[0]
            return area

        return Measurement(sample.truth.size, sample.responses, in_blocks(under, sample.truth.size))


@METRICS.register("average_precision")
@dataclasses.dataclass(frozen=True)
class AveragePrecision(BinaryMetric):
    """Precision averaged over the recall reached at every score; `of='bad'` searches the bad from the low end."""

    of: str = "good"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of not in ("good", "bad"):
            raise BadSpec(f"of={self.of!r}: precision is of the 'good' or of the 'bad'")

    def read(self, sample: Sample) -> Measurement:
        """Walk down from the most wanted score."""
        sample = self.binary(sample)
        if reason := one_class(sample):
            return Measurement(sample.truth.size, sample.responses, None, reason)
        wanted = sample.truth > 0 if self.of == "good" else sample.truth == 0
        downwards = dataclasses.replace(sample, scores=-sample.scores if self.of == "good" else sample.scores)
        contests = Contests.of(downwards, wanted, np.zeros_like(sample.groups))

        def under(weights: Floats) -> Floats:
            heavy = weights[contests.owners]
            gains = _runs(heavy * contests.high, contests.ties)  # (tie, resample)
            hits, seen = np.cumsum(gains, axis=0), np.cumsum(_runs(heavy, contests.ties), axis=0)
            precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
            share: Floats = (gains * precision).sum(axis=0) / hits[-1]
            return np.where(seen[-1] > hits[-1], share, np.nan)  # of one class there is none

        return Measurement(sample.truth.size, sample.responses, in_blocks(under, sample.truth.size))


@METRICS.register("concordance")
@dataclasses.dataclass(frozen=True)
class Concordance(Metric):
    """Chance that of two differently labelled sentences the better scores higher: ROC AUC for graded labels."""

    def read(self, sample: Sample) -> Measurement:
        """Split the levels in halves again and again; each pair of unlike labels is parted exactly once."""
        sample = sample.known()
        if reason := one_class(sample):
            return Measurement(sample.truth.size, sample.responses, None, reason)
        levels, level = np.unique(sample.truth, return_inverse=True)
        rounds = [
            Contests.of(sample, (level >> bit) & 1 == 1, level >> (bit + 1))
            for bit in range(int(levels.size - 1).bit_length())
        ]

        def under(weights: Floats) -> Floats:
            counts = [contests.counted(weights) for contests in rounds]
            won, held = (sum(part[side].sum(axis=0) for part in counts) for side in (0, 1))
            return np.asarray(won / held)

        return Measurement(sample.truth.size, sample.responses, in_blocks(under, sample.truth.size))


@METRICS.register("spearman")
@dataclasses.dataclass(frozen=True)
class Spearman(Metric):
    """Correlation of the ranks of labels and scores; ties share their mean rank."""

    def read(self, sample: Sample) -> Measurement:
        """Rank both sides anew under every weighting."""
        sample = sample.known()
        reason = one_class(sample) or ("every score is the same" if np.ptp(sample.scores) == 0 else "")
        if reason:
            return Measurement(sample.truth.size, sample.responses, None, reason)
        sides = [np.unique(side, return_inverse=True)[1].ravel() for side in (sample.truth, sample.scores)]
        orders = [(np.argsort(side, kind="stable"), side) for side in sides]

        def under(weights: Floats) -> Floats:
            heavy = weights[sample.groups]  # (item, resample)
            truth, scores = (_mean_ranks(order, codes, heavy) for order, codes in orders)
            return _correlation(truth, scores, heavy)

        return Measurement(sample.truth.size, sample.responses, in_blocks(under, sample.truth.size))


def _mean_ranks(order: Integers, codes: Integers, heavy: Floats) -> Floats:
    """Return the middle of each item's run of ties, in items counted with their weights: (item, resample)."""
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    runs = _runs(heavy[order], starts)
    middles: Floats = np.cumsum(runs, axis=0) - runs / 2
    return middles[codes]


def _correlation(left: Floats, right: Floats, heavy: Floats) -> Floats:
    total = heavy.sum(axis=0)
    left = left - (left * heavy).sum(axis=0) / total
    right = right - (right * heavy).sum(axis=0) / total
    both: Floats = (left * right * heavy).sum(axis=0)
    spread = (left * left * heavy).sum(axis=0) * (right * right * heavy).sum(axis=0)
    return both / np.sqrt(np.where(spread > 0, spread, np.nan))


@METRICS.register("response_roc_auc")
@dataclasses.dataclass(frozen=True)
class ResponseRocAuc(RocAuc):
    """Chance that a good response's score is above a bad one's; ties count half."""

    level: ClassVar[Literal["sentence", "response"]] = "response"


@METRICS.register("response_concordance")
@dataclasses.dataclass(frozen=True)
class ResponseConcordance(Concordance):
    """Chance that of two differently labelled responses the better scores higher."""

    level: ClassVar[Literal["sentence", "response"]] = "response"


@METRICS.register("response_spearman")
@dataclasses.dataclass(frozen=True)
class ResponseSpearman(Spearman):
    """Correlation of the ranks of response labels and response scores."""

    level: ClassVar[Literal["sentence", "response"]] = "response"
