"""Calibrated sentence scores where only responses are labelled: the curve that makes their labels likeliest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from fractal.errors import BadData, UnknownName
from fractal.evaluation.calibration.calibrators import Calibrator, fit_smooth, inside, logit, prior_cost
from fractal.evaluation.metrics import Floats
from fractal.evaluation.solvers import log_sigmoid, minimise, sigmoid

__all__ = ["FORMS", "fit_sentence_calibrator"]

Likelihood = Callable[[Floats, "_Bags"], tuple[Floats, Floats]]  # logits → −log P(label) by bag, slope by sentence


class _Bags:
    """Which sentences belong together, and the labels of those whose label is known."""

    def __init__(self, scores: Floats, offsets: ArrayLike, labels: ArrayLike) -> None:
        bounds, given = np.asarray(offsets, dtype=np.int64), np.asarray(labels, dtype=np.float64)
        if bounds.ndim != 1 or bounds.size != given.size + 1 or bounds[0] != 0 or bounds[-1] != scores.size:
            raise BadData(
                f"offsets of {bounds.size} entries for {given.size} labels and {scores.size} scores: "
                "give where each response starts, and the end"
            )
        if (np.diff(bounds) < 1).any():
            raise BadData("a response without sentences cannot be calibrated: leave it out")
        sizes, known = np.diff(bounds), ~np.isnan(given)
        if ((given < 0) | (given > 1)).any():
            raise BadData("response labels lie in [0, 1]")
        self.labels, self.sizes = given[known], sizes[known]
        self.logits = logit(scores[np.repeat(known, sizes)])
        self.starts = np.cumsum(self.sizes) - self.sizes

    def spread(self, values: Floats) -> Floats:
        """Give every sentence its bag's value."""
        return np.repeat(values, self.sizes)

    def total(self, values: Floats) -> Floats:
        """Add up each bag's sentences."""
        return np.asarray(np.add.reduceat(values, self.starts))


def _all_good(z: Floats, bags: _Bags, labels: Floats) -> tuple[Floats, Floats]:
    """P(good response) = ∏ σ(z): every sentence must be good."""
    log_good = bags.total(log_sigmoid(z))
    log_bad = np.log(-np.expm1(np.minimum(log_good, -1e-12)))
    loss = -(labels * log_good + (1 - labels) * log_bad)
    pull = (1 - labels) * np.exp(log_good - log_bad) - labels  # d loss / d log P(good)
    return loss, bags.spread(pull) * sigmoid(-z)


def _product(z: Floats, bags: _Bags) -> tuple[Floats, Floats]:
    return _all_good(z, bags, bags.labels)


def _noisy_or(z: Floats, bags: _Bags) -> tuple[Floats, Floats]:
    loss, slope = _all_good(-z, bags, 1 - bags.labels)
    return loss, -slope


def _mean(z: Floats, bags: _Bags) -> tuple[Floats, Floats]:
    chance = sigmoid(z)
    whole = inside(bags.total(chance) / bags.sizes)
    loss = -(bags.labels * np.log(whole) + (1 - bags.labels) * np.log1p(-whole))
    pull = (whole - bags.labels) / (whole * (1 - whole)) / bags.sizes
    return loss, bags.spread(pull) * chance * (1 - chance)


def _min(z: Floats, bags: _Bags) -> tuple[Floats, Floats]:
    lowest = np.minimum.reduceat(z, bags.starts)
    loss = -(bags.labels * log_sigmoid(lowest) + (1 - bags.labels) * log_sigmoid(-lowest))
    pointed = z == bags.spread(lowest)
    share = pointed / bags.spread(bags.total(pointed.astype(np.float64)))
    return loss, share * bags.spread(sigmoid(lowest) - bags.labels)


def _max(z: Floats, bags: _Bags) -> tuple[Floats, Floats]:
    highest = np.maximum.reduceat(z, bags.starts)
    loss = -(bags.labels * log_sigmoid(highest) + (1 - bags.labels) * log_sigmoid(-highest))
    pointed = z == bags.spread(highest)
    share = pointed / bags.spread(bags.total(pointed.astype(np.float64)))
    return loss, share * bags.spread(sigmoid(highest) - bags.labels)


FORMS: dict[str, Likelihood] = {"product": _product, "noisy_or": _noisy_or, "mean": _mean, "min": _min, "max": _max}


def fit_sentence_calibrator(
    scores: ArrayLike,
    offsets: ArrayLike,
    labels: ArrayLike,
    aggregation: str = "product",
    *,
    gold: ArrayLike | None = None,
) -> Calibrator:
    """Find slope and shift of the sentence log-odds from response labels, and from gold sentence labels if there are.

    `aggregation` says how sentence scores make the response: product, noisy_or, mean, min or max. Gold labels refine
    the curve that the response labels give; with many of them they alone decide.
    """
    if aggregation not in FORMS:
        raise UnknownName("response likelihood", aggregation, FORMS)
    given = np.asarray(scores, dtype=np.float64)
    bags = _Bags(given, offsets, labels)
    known = np.zeros(given.size, dtype=np.bool_) if gold is None else ~np.isnan(np.asarray(gold, dtype=np.float64))
    if known.size != given.size:
        raise BadData(f"{known.size} gold labels for {given.size} sentences: give one a sentence, nan where unknown")
    if not bags.labels.size and not known.any():
        raise BadData("neither a response nor a sentence has a label: there is nothing to calibrate with")
    centre = _from_responses(bags, FORMS[aggregation]) if bags.labels.size else np.zeros(2)
    if gold is None or not known.any():
        return Calibrator("platt", (float(centre[0]), float(centre[1])))
    return fit_smooth("platt", given[known], np.asarray(gold, dtype=np.float64)[known], centre)


def _from_responses(bags: _Bags, likelihood: Likelihood) -> Floats:
    def cost(parameters: Floats) -> tuple[float, Floats]:
        slope = np.exp(parameters[0])
        loss, pull = likelihood(slope * bags.logits + parameters[1], bags)
        gradient = np.array([slope * (pull @ bags.logits), pull.sum()]) / bags.labels.size
        penalty, back = prior_cost(parameters, np.zeros(2), bags.labels.size)
        return float(loss.mean()) + penalty, gradient + back

    return minimise(cost, np.zeros(2))
