"""From scores to decisions: reliability, and thresholds for a wanted precision or recall."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fractal.errors import BadData, BadSpec
from fractal.evaluation.intervals import Interval, percentile_interval
from fractal.evaluation.metrics import Floats, RocAuc, Sample, mass_bins, resampled_weights
from fractal.jsonable import jsonable


@dataclasses.dataclass(frozen=True)
class ReliabilityBin:
    """Scores that lie together: their mean, the mean label, its interval, and how many they are."""

    score: float
    label: float
    low: float
    high: float
    count: int


def reliability(
    truth: ArrayLike,
    scores: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    bins: int = 10,
    equal_mass: bool = True,
    bootstrap: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[ReliabilityBin, ...]:
    """Return mean score against mean label, bin by bin: on the diagonal, scores mean what they say."""
    sample = Sample.of(truth, scores, groups).known()
    place = mass_bins(sample.scores, bins, equal_mass)
    shape = sample.responses, bins
    cell = sample.groups * bins + place
    good = np.bincount(cell, weights=sample.truth, minlength=shape[0] * bins).reshape(shape)  # (response, bin)
    count = np.bincount(cell, minlength=shape[0] * bins).reshape(shape).astype(np.float64)
    with np.errstate(invalid="ignore"):
        drawn = [(good.T @ weights) / (count.T @ weights) for weights in resampled_weights(shape[0], bootstrap, seed)]
    draws = np.concatenate([*drawn, np.empty((bins, 0))], axis=1)  # (bin, resample)
    table = []
    for each in np.unique(place):
        mine = place == each
        low, high = percentile_interval(draws[each], confidence)
        mean_score, mean_label = float(sample.scores[mine].mean()), float(sample.truth[mine].mean())
        table.append(ReliabilityBin(mean_score, mean_label, low, high, int(mine.sum())))
    return tuple(table)


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Where to cut, and what the cut brings: `of='good'` takes scores from the threshold up, `'bad'` up to it."""

    threshold: float
    precision: float
    recall: float
    flagged: float  # share of the labelled sentences on the wanted side
    threshold_interval: Interval
    precision_interval: Interval
    recall_interval: Interval
    of: str
    wanted: str  # such as "precision 0.9"
    reached: bool  # whether any cut gives what was wanted; where not, this is the nearest

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**jsonable(dataclasses.asdict(self))}

    def __str__(self) -> str:
        side = "from it up" if self.of == "good" else "up to it"
        nearest = "" if self.reached else f" No threshold gives {self.wanted}; this is the nearest."
        return (
            f"Threshold {_shown(self.threshold, self.threshold_interval)} for {self.wanted} of the {self.of}: "
            f"{self.flagged:.0%} of the labelled sentences score {side}, "
            f"precision {_shown(self.precision, self.precision_interval)}, "
            f"recall {_shown(self.recall, self.recall_interval)}.{nearest}"
        )


def _shown(value: float, interval: Interval) -> str:
    low, high = interval
    return f"{value:.3f}" if np.isnan(low) else f"{value:.3f} ({low:.3f} … {high:.3f})"


def thresholds(
    truth: ArrayLike,
    scores: ArrayLike,
    *,
    precision: float | None = None,
    recall: float | None = None,
    of: str = "bad",
    groups: ArrayLike | None = None,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Threshold:
    """Find the cut with the largest recall at a wanted precision, or the largest precision at a wanted recall.

    Intervals come from resampled responses: those of precision and recall for this cut, that of the threshold for the
    whole search. The search has seen these labels, so a cut at the edge of its wish is a little flattered.
    """
    wanted = precision if precision is not None else recall
    if (precision is None) == (recall is None) or wanted is None or not 0 < wanted <= 1:
        raise BadSpec(f"precision={precision}, recall={recall}: give one of the two, above 0 and at most 1")
    if of not in ("good", "bad"):
        raise BadSpec(f"of={of!r}: a threshold is for the 'good' or the 'bad'")
    sample = RocAuc().binary(Sample.of(truth, scores, groups))
    hit = sample.truth > 0 if of == "good" else sample.truth == 0
    if not hit.any():
        raise BadData(f"no sentence is known to be {of}: a threshold needs some")
    search = _Cuts(sample, hit, -1.0 if of == "good" else 1.0, wanted, by_precision=precision is not None)
    best, reached = search.best(np.ones((sample.responses, 1)))
    cut = float(search.cuts[best[0]])
    flagged = sample.scores >= cut if of == "good" else sample.scores <= cut
    sums = [sample.totals(part) for part in (hit & flagged, flagged, hit)]  # (response,) each
    draws = [_resampled_cut(search, sums, each) for each in resampled_weights(sample.responses, bootstrap, seed)]
    table = np.concatenate([*draws, np.empty((3, 0))], axis=1)
    hits, taken, there = (float(part.sum()) for part in sums)
    return Threshold(
        threshold=cut,
        precision=hits / taken,
        recall=hits / there,
        flagged=taken / sample.truth.size,
        threshold_interval=percentile_interval(table[0], confidence),
        precision_interval=percentile_interval(table[1], confidence),
        recall_interval=percentile_interval(table[2], confidence),
        of=of,
        wanted=f"precision {precision:g}" if precision is not None else f"recall {recall:g}",
        reached=bool(reached[0]),
    )


class _Cuts:
    """Every place to cut, from the most wanted score on; which is best under a weighting of the responses."""

    def __init__(
        self, sample: Sample, hit: NDArray[np.bool_], direction: float, wanted: float, *, by_precision: bool
    ) -> None:
        order = np.argsort(direction * sample.scores, kind="stable")
        scores = sample.scores[order]
        self.ends = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True])
        self.cuts, self.owners = scores[self.ends], sample.groups[order]
        self.hit = hit[order].astype(np.float64)[:, None]
        self.wanted, self.by_precision = wanted, by_precision

    def best(self, weights: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the place of the best cut, and whether it gives what is wanted: (resample,) each."""
        heavy = weights[self.owners]
        hits = np.cumsum(heavy * self.hit, axis=0)[self.ends]  # (cut, resample)
        seen = np.cumsum(heavy, axis=0)[self.ends]
        if not self.by_precision:
            enough = hits >= self.wanted * hits[-1] - 1e-9
            return np.argmax(enough, axis=0), np.asarray(hits[-1] > 0)
        share = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        enough = share >= self.wanted - 1e-12
        last = len(self.ends) - 1 - np.argmax(enough[::-1], axis=0)
        reached = np.asarray(enough.any(axis=0), dtype=np.bool_)
        return np.where(reached, last, np.argmax(share, axis=0)), reached


def _resampled_cut(search: _Cuts, sums: list[Floats], weights: Floats) -> Floats:
    """Return threshold, precision and recall under each weighting: (3, resample)."""
    step = max(1, 1_000_000 // search.owners.size)
    parts = [search.best(weights[:, at : at + step]) for at in range(0, weights.shape[1], step)]
    cuts = np.concatenate([np.where(reached, search.cuts[best], np.nan) for best, reached in parts])
    hits, taken, there = (part @ weights for part in sums)
    with np.errstate(invalid="ignore"):
        return np.stack([cuts, hits / taken, hits / there])
