"""Metrics of finding: inside one response, is the right sentence pointed at."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from fractal.evaluation.metrics.base import METRICS, BinaryMetric, Floats, Mask, Measurement, Metric, Sample, ratio
from fractal.evaluation.metrics.ranking import Contests

RESPONSE = "response"  # what these metrics count


@METRICS.register("within_response_auc")
@dataclasses.dataclass(frozen=True)
class WithinResponseAuc(BinaryMetric):
    """ROC AUC inside each response that holds good and bad sentences, averaged over those responses."""

    def read(self, sample: Sample) -> Measurement:
        """Hold the contests inside each response only."""
        sample = self.binary(sample)
        areas, mixed = np.zeros(sample.responses), np.zeros(sample.responses)
        if sample.truth.size:
            contests = Contests.of(sample, sample.truth > 0, sample.groups)
            won, held = (part[:, 0] for part in contests.counted(np.ones((sample.responses, 1))))
            present = np.unique(sample.groups)
            areas[present] = np.divide(won, held, out=np.zeros_like(won), where=held > 0)
            mixed[present] = held > 0
        return ratio(areas, mixed, "no response holds good and bad sentences", RESPONSE)


@METRICS.register("worst_sentence_hit")
@dataclasses.dataclass(frozen=True)
class WorstSentenceHit(BinaryMetric):
    """Share of the responses with a bad sentence whose lowest scored sentence is bad; ties count by their share."""

    def read(self, sample: Sample) -> Measurement:
        """Look at the lowest labelled sentence of each response."""
        sample = self.binary(sample)
        return _extreme_hit(sample, sample.scores, sample.truth == 0, "no response holds a bad sentence")


@METRICS.register("best_sentence_hit")
@dataclasses.dataclass(frozen=True)
class BestSentenceHit(BinaryMetric):
    """Share of the responses with a good sentence whose highest scored sentence is good; ties count by their share."""

    def read(self, sample: Sample) -> Measurement:
        """Look at the highest labelled sentence of each response."""
        sample = self.binary(sample)
        return _extreme_hit(sample, -sample.scores, sample.truth > 0, "no response holds a good sentence")


def _extreme_hit(sample: Sample, scores: Floats, wanted: Mask, reason: str) -> Measurement:
    lowest = np.full(sample.responses, np.inf)
    np.minimum.at(lowest, sample.groups, scores)
    pointed = scores == lowest[sample.groups]
    hits, tied = sample.totals(pointed & wanted), sample.totals(pointed)
    holds = (sample.totals(wanted) > 0).astype(np.float64)
    shares = np.divide(hits, tied, out=np.zeros_like(hits), where=tied > 0)
    return ratio(shares * holds, holds, reason, RESPONSE)


class FirstErrors(NamedTuple):
    """For each response: is its first error known, has it one, and is that the one that the scores point at."""

    labelled: Floats
    wrong: Floats
    hits: Floats

    @classmethod
    def of(cls, sample: Sample, threshold: float) -> FirstErrors:
        """Compare the first bad label with the first score below the threshold, both by place in the response."""
        order = np.argsort(sample.groups, kind="stable")
        truth, scores, groups = sample.truth[order], sample.scores[order], sample.groups[order]
        place = np.arange(groups.size) - np.searchsorted(groups, groups)

        def first(mask: Mask) -> Floats:
            places = np.full(sample.responses, np.inf)
            np.minimum.at(places, groups[mask], place[mask])
            return places

        error, unknown, flagged = first(truth < 0.5), first(np.isnan(truth)), first(scores < threshold)
        labelled = (error < unknown) | np.isinf(unknown)  # an unlabelled step before the error might be the first
        labelled &= np.bincount(groups, minlength=sample.responses) > 0
        wrong = labelled & np.isfinite(error)
        return cls(*(part.astype(np.float64) for part in (labelled, wrong, labelled & (error == flagged))))


@METRICS.register("first_error_accuracy")
@dataclasses.dataclass(frozen=True)
class FirstErrorAccuracy(Metric):
    """Share of responses whose first step below the threshold is the first error, or that have neither."""

    threshold: float = 0.5

    def read(self, sample: Sample) -> Measurement:
        """Count responses whose labels are known up to the first error."""
        errors = FirstErrors.of(sample, self.threshold)
        return ratio(errors.hits, errors.labelled, "no response is labelled up to its first error", RESPONSE)


@METRICS.register("first_error_f1")
@dataclasses.dataclass(frozen=True)
class FirstErrorF1(Metric):
    """Harmonic mean of the first-error accuracy on wrong and on correct responses, as ProcessBench counts it."""

    threshold: float = 0.5

    def read(self, sample: Sample) -> Measurement:
        """Keep wrong and correct responses apart."""
        labelled, wrong, hits = FirstErrors.of(sample, self.threshold)
        right = labelled - wrong
        count = round(float(labelled.sum()))
        if not (wrong.any() and right.any()):
            have = "with an error" if not wrong.any() else "without an error"
            reason = f"no response {have} is labelled up to its first error"
            return Measurement(count, sample.responses, None, reason, RESPONSE)

        def under(weights: Floats) -> Floats:
            on_wrong = ((hits * wrong) @ weights) / (wrong @ weights)
            on_right = ((hits * right) @ weights) / (right @ weights)
            both = on_wrong + on_right
            return np.where(both == 0, 0.0, 2 * on_wrong * on_right / both)

        return Measurement(count, sample.responses, under, unit=RESPONSE)
