"""The score of a response from the log-odds of its sentences, for every aggregation, in numpy and double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadSpec
from fractal.registry import parse

__all__ = ["RESPONSE_LOG_ODDS", "hard_rule", "response_scores", "sentence_scores"]

Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]
LogOdds = Callable[..., Doubles]

SATURATED = 70.0  # as in torch: beyond, a score is 0 or 1
TINY = 1e-37

RESPONSE_LOG_ODDS: dict[str, LogOdds] = {}  # name of an aggregation → (logits, offsets, options) → (bag, …)


def response_scores(aggregation: str, logits: NDArray[Any], offsets: Indices) -> Doubles:
    """Return the response score of each member, of levels the expected one: (bag, member)."""
    name, options = parse(aggregation, "aggregation")
    if name not in RESPONSE_LOG_ODDS:
        raise BadSpec(f"the aggregation {name!r} is computed by torch alone: install fractal-scores[train]")
    scores = _sigmoid(RESPONSE_LOG_ODDS[name](np.asarray(logits, np.float64), offsets, **options))
    return scores if scores.ndim == 2 else scores.mean(1)


HARD_RULES = {
    **dict.fromkeys(("min", "product", "first_error", "prefix_value", "softmin", "min_levels"), "min"),
    **dict.fromkeys(("max", "noisy_or", "softmax_pool", "max_levels"), "max"),
    **dict.fromkeys(("mean", "count"), "mean"),
}


def hard_rule(aggregation: str) -> str:
    """Return the rule that an aggregation stands for, min, max or mean; the other forms have it as an option."""
    name, options = parse(aggregation, "aggregation")
    return HARD_RULES.get(name) or str(options.get("direction", "min"))


def sentence_scores(aggregation: str, logits: NDArray[Any]) -> Doubles:
    """Return the score of every sentence, of levels the expected one: (sentence, member)."""
    name, _ = parse(aggregation, "aggregation")
    logits = np.asarray(logits, np.float64)
    if logits.ndim == 2:
        return _sigmoid(logits)
    highest = name == "max_levels"
    below = _log_at_most(logits if highest else _mirrored(logits))
    return np.asarray((-np.expm1(below) if highest else np.exp(below)).mean(1))


def _form(*names: str) -> Callable[[LogOdds], LogOdds]:
    def enter(function: LogOdds) -> LogOdds:
        RESPONSE_LOG_ODDS.update(dict.fromkeys(names, function))
        return function

    return enter


def _smooth(name: str, direction: str = "") -> Callable[[LogOdds], LogOdds]:
    """Enter a smooth minimum, which serves as a maximum by its mirror; `direction` where it has only one."""

    def enter(lowest: LogOdds) -> LogOdds:
        def log_odds(logits: Doubles, offsets: Indices, **options: Any) -> Doubles:
            chosen = options.pop("direction", direction or "min")
            return lowest(logits, offsets, **options) if chosen == "min" else -lowest(-logits, offsets, **options)

        RESPONSE_LOG_ODDS[name] = log_odds
        return lowest

    return enter


def _sum(values: Doubles, offsets: Indices) -> Doubles:
    return np.asarray(np.add.reduceat(values, offsets[:-1], axis=0))


def _mean(values: Doubles, offsets: Indices) -> Doubles:
    return _sum(values, offsets) / np.diff(offsets).reshape(-1, *(1,) * (values.ndim - 1))


def _least(values: Doubles, offsets: Indices) -> Doubles:
    return np.asarray(np.minimum.reduceat(values, offsets[:-1], axis=0))


def _most(values: Doubles, offsets: Indices) -> Doubles:
    return np.asarray(np.maximum.reduceat(values, offsets[:-1], axis=0))


def _lift(values: Doubles, offsets: Indices) -> Doubles:
    return np.repeat(values, np.diff(offsets), axis=0)


def _sigmoid(logits: Doubles) -> Doubles:
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))


def _pair(logits: Doubles) -> tuple[Doubles, Doubles]:
    """Return the scores and 1 − them, each exact where the other is near 1."""
    calm = logits.clip(-SATURATED, SATURATED)
    return _sigmoid(calm), _sigmoid(-calm)


def _log_ratio(values: Doubles, complements: Doubles) -> Doubles:
    return np.asarray(np.log(values.clip(TINY)) - np.log(complements.clip(TINY)))


def _log_score(logits: Doubles) -> Doubles:
    """Logarithm of the score, kept below 0."""
    return np.asarray(-np.logaddexp(0.0, -logits.clip(max=SATURATED)))


def _odds_of_log(logs: Doubles) -> Doubles:
    return np.asarray(logs - np.log(-np.expm1(logs)))


@_form("min")
def _minimum(logits: Doubles, offsets: Indices) -> Doubles:
    return _least(logits, offsets)


@_form("max")
def _maximum(logits: Doubles, offsets: Indices) -> Doubles:
    return _most(logits, offsets)


@_form("mean", "count")
def _average(logits: Doubles, offsets: Indices) -> Doubles:
    scores, complements = _pair(logits)
    return _log_ratio(_mean(scores, offsets), _mean(complements, offsets))


def _all_good(logits: Doubles, offsets: Indices) -> Doubles:
    return _odds_of_log(_sum(_log_score(logits), offsets))


_smooth("product", "min")(_all_good)
_smooth("noisy_or", "max")(_all_good)


@_form("first_error")
def _first_error(logits: Doubles, offsets: Indices, recovery: float = 0.0) -> Doubles:
    if not recovery:
        return _all_good(logits, offsets)
    scores, complements = _pair(logits)
    right, wrong = np.ones_like(scores[offsets[:-1]]), np.zeros_like(scores[offsets[:-1]])
    sizes = np.diff(offsets)
    for place in range(int(sizes.max())):
        bags = np.flatnonzero(place < sizes)
        rows = offsets[bags] + place
        mended = right[bags] + recovery * wrong[bags]
        wrong[bags] = complements[rows] + scores[rows] * (1 - recovery) * wrong[bags]
        right[bags] = scores[rows] * mended
    return _log_ratio(right, wrong)


@_form("prefix_value")
def _prefix_value(logits: Doubles, offsets: Indices, share: float = 0.5) -> Doubles:
    return _sum(logits.clip(-SATURATED, SATURATED), offsets)


@_smooth("geometric_mean")
def _geometric_mean(logits: Doubles, offsets: Indices) -> Doubles:
    return _odds_of_log(_mean(_log_score(logits), offsets))


@_smooth("power_mean")
def _power_mean(logits: Doubles, offsets: Indices, exponent: float = -4.0) -> Doubles:
    logs = _log_score(logits)
    extreme = (_least if exponent < 0 else _most)(logs, offsets)
    powers = np.expm1(exponent * (logs - _lift(extreme, offsets)))
    return _odds_of_log(extreme + np.log1p(_mean(powers, offsets)) / exponent)


@_smooth("logsumexp")
def _log_sum_exp(logits: Doubles, offsets: Indices, sharpness: float = 10.0) -> Doubles:
    scores, complements = _pair(logits)
    least, most = _least(scores, offsets), _most(complements, offsets)
    above = np.expm1(-sharpness * (scores - _lift(least, offsets)))
    below = np.expm1(-sharpness * (_lift(most, offsets) - complements))
    value = least - np.log1p(_mean(above, offsets)) / sharpness
    return _log_ratio(value, most + np.log1p(_mean(below, offsets)) / sharpness)


def _weighted(logits: Doubles, offsets: Indices, temperature: float = 0.1) -> Doubles:
    scores, complements = _pair(logits)
    raised = np.exp((_lift(_least(scores, offsets), offsets) - scores) / temperature)
    weights = raised / _lift(_sum(raised, offsets), offsets)
    return _log_ratio(_sum(weights * scores, offsets), _sum(weights * complements, offsets))


_smooth("softmin", "min")(_weighted)
_smooth("softmax_pool", "max")(_weighted)


def _mirrored(numbers: Doubles) -> Doubles:
    return -numbers[:, ::-1]


def _log_at_most(numbers: Doubles) -> Doubles:
    """Log P(level < c), for c = 1 … K − 1: (row, level − 1, …)."""
    steps = -np.logaddexp(0.0, numbers)
    return np.asarray(steps[:, ::-1].cumsum(axis=1)[:, ::-1])


def _highest_level(numbers: Doubles, offsets: Indices) -> Doubles:
    """Log-odds that the response's highest level is at least k, for k = 1 … K − 1: (bag, level − 1, …)."""
    calm = (-_all_good(-numbers, offsets)).clip(min=-SATURATED)
    return -_odds_of_log(_log_at_most(calm))


@_form("max_levels")
def _max_levels(logits: Doubles, offsets: Indices, levels: int = 4) -> Doubles:
    return _highest_level(logits, offsets)


@_form("min_levels")
def _min_levels(logits: Doubles, offsets: Indices, levels: int = 4) -> Doubles:
    return _mirrored(_highest_level(_mirrored(logits), offsets))
