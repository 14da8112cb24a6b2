"""Scored responses × metrics → a table with intervals, and two sets of scores compared on the same responses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from fractal.errors import BadData, BadSpec
from fractal.evaluation.arrays import LabelledScores, Scored, matched
from fractal.evaluation.intervals import percentile_interval
from fractal.evaluation.metrics import METRICS, Floats, Measurement, Metric, Sample, resampled_weights
from fractal.evaluation.tables import Comparison, ComparisonRow, Evaluation, Row
from fractal.evaluation.unlike import unlike_counts, unlike_summary
from fractal.records import ScoredResponse

__all__ = [
    "Comparison",
    "ComparisonRow",
    "Evaluation",
    "LabelledScores",
    "Row",
    "compare",
    "compare_labelled",
    "evaluate",
    "evaluate_arrays",
    "evaluate_labelled",
    "matched",
]

Metrics = Sequence[str | Metric] | str | None

SHAKY = 0.05  # share of resamples without a value above which a row says so


def _built(metrics: Metrics, labelled: LabelledScores) -> list[Metric]:
    chosen = [metrics] if isinstance(metrics, str) else metrics
    return [METRICS.build(metric) for metric in (labelled.usual_metrics() if chosen is None else chosen)]


def _check(bootstrap: int, confidence: float) -> None:
    if bootstrap < 0:
        raise BadSpec(f"bootstrap={bootstrap}: give a number of resamples, or 0 for no intervals")
    if not 0.0 < confidence < 1.0:
        raise BadSpec(f"confidence={confidence}: give a share between 0 and 1, such as 0.95")


def _draws(
    labelled: LabelledScores, bootstrap: int, seed: int, measurements: Sequence[Callable[[Floats], Floats]]
) -> list[Floats]:
    """Return the resampled values of every measurement, all on the same draws of responses."""
    drawn: list[list[Floats]] = [[] for _ in measurements]
    for weights in resampled_weights(len(labelled.ids), bootstrap, seed):
        for values, measurement in zip(drawn, measurements, strict=True):
            values.append(measurement(weights))
    return [np.concatenate(values) if values else np.empty(0) for values in drawn]


def _bounds(draws: Floats, confidence: float) -> tuple[float, float, str]:
    low, high = percentile_interval(draws, confidence)
    missing = float(np.isnan(draws).mean()) if draws.size else 0.0
    return low, high, f"undefined in {missing:.0%} of the resamples" if SHAKY < missing < 1 else ""


def evaluate(
    scored: Iterable[Scored],
    metrics: Metrics = None,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    aspect: str | None = None,
) -> Evaluation:
    """Measure scores against the labels that the responses carry; without `metrics`, those that the labels allow.

    Where more responses than by chance are unlike those that their scorer learned from, the table says so.
    """
    items = list(scored)
    labelled = LabelledScores.of(items, aspect)
    table = evaluate_labelled(labelled, metrics, bootstrap=bootstrap, seed=seed, confidence=confidence)
    judged = (item for item in items if isinstance(item, ScoredResponse) and aspect in (None, item.aspect))
    return replace(table, unlike=unlike_summary(unlike_counts(item.unlike for item in judged)))


def evaluate_arrays(
    truth: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    metrics: Metrics = None,
    *,
    response_truth: ArrayLike | None = None,
    response_scores: ArrayLike | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Evaluation:
    """Measure plain arrays: one entry a sentence; response arrays stand in the order of the sorted group names."""
    flat = Sample.of(truth, scores, groups)
    names = tuple(map(str, np.unique(np.asarray(groups))))
    unknown = np.full(flat.responses, np.nan)
    labels = unknown if response_truth is None or response_scores is None else response_truth
    whole = Sample.of(labels, np.zeros(flat.responses) if response_scores is None else response_scores)
    if whole.responses != flat.responses:
        raise BadData(f"{whole.responses} response labels for {flat.responses} groups: give one a group")
    return evaluate_labelled(
        LabelledScores(names, flat, whole), metrics, bootstrap=bootstrap, seed=seed, confidence=confidence
    )


def evaluate_labelled(
    labelled: LabelledScores, metrics: Metrics = None, *, bootstrap: int = 1000, seed: int = 0, confidence: float = 0.95
) -> Evaluation:
    """Measure scores that are already laid out."""
    _check(bootstrap, confidence)
    built = _built(metrics, labelled)
    measurements = [metric.read(labelled.sample(metric)) for metric in built]
    draws = _draws(labelled, bootstrap, seed, [measurement.resampled for measurement in measurements])
    rows = tuple(_row(*each, confidence) for each in zip(built, measurements, draws, strict=True))
    return Evaluation(rows, *_sizes(labelled), bootstrap, seed, confidence)


def _sizes(labelled: LabelledScores) -> tuple[int, int, int]:
    truth = labelled.sentences.truth
    return len(labelled.ids), truth.size, int((~np.isnan(truth)).sum())


def _row(metric: Metric, measurement: Measurement, draws: Floats, confidence: float) -> Row:
    low, high, shaky = _bounds(draws, confidence)
    return Row(
        metric=METRICS.spec(metric),
        level=metric.level,
        value=measurement.value,
        low=low,
        high=high,
        count=measurement.count,
        unit=measurement.unit or metric.level,
        note=measurement.reason or shaky,
    )


def compare(
    first: Iterable[Scored],
    second: Iterable[Scored],
    metrics: Metrics = None,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    names: tuple[str, str] = ("first", "second"),
    aspect: str | None = None,
) -> Comparison:
    """Compare two sets of scores of the same responses, met by id, on the same resamples."""
    pair = matched(LabelledScores.of(first, aspect), LabelledScores.of(second, aspect))
    return compare_labelled(*pair, metrics, bootstrap=bootstrap, seed=seed, confidence=confidence, names=names)


def compare_labelled(
    first: LabelledScores,
    second: LabelledScores,
    metrics: Metrics = None,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    names: tuple[str, str] = ("first", "second"),
) -> Comparison:
    """Compare two sets of scores whose responses stand in the same order."""
    _check(bootstrap, confidence)
    built = _built(metrics, first)
    pairs = [(metric.read(first.sample(metric)), metric.read(second.sample(metric))) for metric in built]

    def gap(pair: tuple[Measurement, Measurement]) -> Callable[[Floats], Floats]:
        return lambda weights: pair[0].resampled(weights) - pair[1].resampled(weights)

    draws = _draws(first, bootstrap, seed, [gap(pair) for pair in pairs])
    rows = tuple(_comparison_row(*each, confidence) for each in zip(built, pairs, draws, strict=True))
    return Comparison(rows, *_sizes(first), bootstrap, seed, confidence, names)


def _comparison_row(
    metric: Metric, pair: tuple[Measurement, Measurement], draws: Floats, confidence: float
) -> ComparisonRow:
    first, second = pair
    low, high, shaky = _bounds(draws, confidence)
    ahead = 0 if math.isnan(low) or low <= 0 <= high else (1 if (low > 0) == metric.higher_is_better else -1)
    return ComparisonRow(
        metric=METRICS.spec(metric),
        level=metric.level,
        first=first.value,
        second=second.value,
        difference=first.value - second.value,
        low=low,
        high=high,
        p=_p_value(draws),
        count=first.count,
        unit=first.unit or metric.level,
        better={0: "", 1: "first", -1: "second"}[ahead],
        note=first.reason or second.reason or shaky,
    )


def _p_value(draws: Floats) -> float:
    """Two-sided: how often the difference falls on the other side of 0; never below what the resamples can tell."""
    defined = draws[~np.isnan(draws)]
    if not defined.size:
        return math.nan
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (defined.size + 1))
