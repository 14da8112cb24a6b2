"""Calibration curves: from a score to the probability that it stands for, chosen by held-out likelihood."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fractal.errors import BadData, BadSpec, UnknownName
from fractal.evaluation.metrics import Floats, Sample
from fractal.evaluation.solvers import log_sigmoid, minimise, sigmoid

KINDS = ("identity", "platt", "beta", "isotonic")  # from the simplest to the freest
SIZES = {"identity": 0, "platt": 2, "beta": 3}

NEAREST = 1e-6  # scores are kept this far from 0 and 1, so that one label cannot cost an infinite surprise
LOG_SLOPE_SPREAD, SHIFT_SPREAD = 1.0, 3.0  # how far slopes and shifts are expected to lie from the identity
ISOTONIC_BINS, ISOTONIC_LEAST = 200, 10  # bins before pooling; labels that a step must rest on
ISOTONIC_LABELS = 1000  # fewer are not asked whether steps are better than a smooth curve


def inside(scores: ArrayLike) -> Floats:
    """Keep scores away from 0 and 1."""
    return np.clip(np.asarray(scores, dtype=np.float64), NEAREST, 1 - NEAREST)


def logit(scores: ArrayLike) -> Floats:
    """Return log-odds of scores, finite at 0 and 1."""
    bounded = inside(scores)
    return np.asarray(np.log(bounded) - np.log1p(-bounded))


@dataclasses.dataclass(frozen=True)
class Calibrator:
    """A rising curve from score to probability; it never turns the order of two scores around.

    `platt`: σ(e^α · logit s + b). `beta`: σ(e^α · ln s − e^β · ln(1 − s) + c). `isotonic`: straight lines between
    knots, first all scores, then all probabilities. `identity` has no parameters.
    """

    kind: str = "identity"
    parameters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownName("calibrator", self.kind, KINDS)
        count = len(self.parameters)
        if self.kind == "isotonic":
            knots = np.reshape(self.parameters, (2, -1)) if count % 2 == 0 else np.empty((2, 0))
            if not knots.size or (np.diff(knots, axis=1) < 0).any():
                raise BadSpec("an isotonic calibrator needs knots: rising scores, then as many rising probabilities")
        elif count != SIZES[self.kind]:
            raise BadSpec(f"a {self.kind} calibrator has {SIZES[self.kind]} parameters, but {count} were given")
        if not np.isfinite(self.parameters).all():
            raise BadSpec(f"the parameters {self.parameters} of a calibrator must be finite")

    def __call__(self, scores: ArrayLike) -> Floats:
        """Return the probability that each score stands for."""
        values = np.asarray(scores, dtype=np.float64)
        if self.kind == "identity":
            return values
        if self.kind == "isotonic":
            knots, heights = np.reshape(self.parameters, (2, -1))
            return np.asarray(np.interp(values, knots, heights))
        return sigmoid(_basis(self.kind, values) @ _weights(np.array(self.parameters)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"kind": self.kind, "parameters": list(self.parameters)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Calibrator:
        """Read what `to_dict` gave."""
        try:
            return cls(str(plain["kind"]), tuple(float(value) for value in plain["parameters"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BadSpec(f"{dict(plain)!r} is no calibrator: give 'kind' and 'parameters'") from error


def _basis(kind: str, scores: Floats) -> Floats:
    """Return what the slopes and the shift multiply: (…, parameter)."""
    if kind == "platt":
        return np.stack([logit(scores), np.ones_like(scores)], axis=-1)
    bounded = inside(scores)
    return np.stack([np.log(bounded), -np.log1p(-bounded), np.ones_like(bounded)], axis=-1)


def _weights(parameters: Floats) -> Floats:
    """Slopes are kept as logarithms, so that every curve rises; the shift stands last."""
    return np.append(np.exp(parameters[:-1]), parameters[-1])


def fit_smooth(kind: str, scores: Floats, labels: Floats, centre: Floats | None = None) -> Calibrator:
    """Fit a platt or beta curve to labels in [0, 1], drawn to the identity (or another centre) where data are few."""
    basis = _basis(kind, scores)  # (item, parameter)
    middle = np.zeros(basis.shape[1]) if centre is None else centre
    spread = np.array([LOG_SLOPE_SPREAD] * (middle.size - 1) + [SHIFT_SPREAD])

    def cost(parameters: Floats) -> tuple[float, Floats]:
        weights = _weights(parameters)
        z = basis @ weights
        loss = -(labels * log_sigmoid(z) + (1 - labels) * log_sigmoid(-z)).mean()
        slope = basis.T @ (sigmoid(z) - labels) / labels.size
        slope[:-1] *= weights[:-1]
        away = (parameters - middle) / spread
        return float(loss + away @ away / (2 * labels.size)), slope + away / spread / labels.size

    return Calibrator(kind, tuple(float(value) for value in minimise(cost, middle)))


def fit_isotonic(scores: Floats, labels: Floats) -> Calibrator:
    """Pool neighbouring scores until their mean labels rise and each pool rests on enough labels."""
    order = np.argsort(scores, kind="stable")
    least = min(ISOTONIC_LEAST, max(1, labels.size // 2))
    pools: list[tuple[int, float, float]] = []  # number, sum of scores, sum of labels
    for rows in np.array_split(order, min(ISOTONIC_BINS, max(1, labels.size // least))):
        pools.append((rows.size, float(scores[rows].sum()), float(labels[rows].sum())))
        while len(pools) > 1 and _height(pools[-1]) <= _height(pools[-2]):
            upper, lower = pools.pop(), pools.pop()
            pools.append((upper[0] + lower[0], upper[1] + lower[1], upper[2] + lower[2]))
    knots = [pool[1] / pool[0] for pool in pools]
    return Calibrator("isotonic", (*knots, *(_height(pool) for pool in pools)))


def _height(pool: tuple[int, float, float]) -> float:
    """Half a label of either kind is added: no pool is ever certain."""
    return (pool[2] + 0.5) / (pool[0] + 1)


def _fit(kind: str, scores: Floats, labels: Floats) -> Calibrator:
    if kind == "identity":
        return Calibrator()
    return fit_isotonic(scores, labels) if kind == "isotonic" else fit_smooth(kind, scores, labels)


def surprise(calibrator: Calibrator, scores: Floats, labels: Floats) -> Floats:
    """Return the surprise at each label, in nats."""
    chances = inside(calibrator(scores))
    return np.asarray(-(labels * np.log(chances) + (1 - labels) * np.log1p(-chances)))


def log_loss(calibrator: Calibrator, scores: Floats, labels: Floats) -> float:
    """Return the mean surprise at the labels."""
    return float(surprise(calibrator, scores, labels).mean())


def fit_calibrator(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    kind: str = "auto",
    folds: int = 5,
    seed: int = 0,
) -> Calibrator:
    """Fit a calibration curve to scores whose labels were held out from training; nan labels are left out.

    `auto` compares log losses in cross-validation over groups, and takes the simplest kind that is within a standard
    error of the best; isotonic is tried from 1,000 labels on.
    """
    sample = Sample.of(labels, scores, groups).known()
    if not sample.truth.size:
        raise BadData("no label is known: a calibrator needs scores with labels")
    if ((sample.truth < 0) | (sample.truth > 1) | (sample.scores < 0) | (sample.scores > 1)).any():
        raise BadData("scores and labels of a calibrator lie in [0, 1]")
    if kind != "auto":
        if kind not in KINDS:
            raise UnknownName("calibrator", kind, (*KINDS, "auto"))
        return _fit(kind, sample.scores, sample.truth)
    if folds < 2:
        raise BadSpec(f"folds={folds}: give at least 2, or choose a kind: {', '.join(KINDS)}")
    present, codes = np.unique(sample.groups, return_inverse=True)
    if present.size < folds:
        return _fit("platt", sample.scores, sample.truth)
    fold = (np.random.default_rng(seed).permutation(present.size) % folds)[codes]
    tried = [each for each in KINDS if each != "isotonic" or sample.truth.size >= ISOTONIC_LABELS]
    losses = {each: _held_out_losses(each, sample, fold, folds) for each in tried}
    return _fit(_simplest_of_best(losses, codes), sample.scores, sample.truth)


def _held_out_losses(kind: str, sample: Sample, fold: np.ndarray[Any, Any], folds: int) -> Floats:
    """Return the surprise at each label, under a curve that was fitted without its fold."""
    losses = np.empty(sample.truth.size)
    for held in range(folds):
        out = fold == held
        calibrator = _fit(kind, sample.scores[~out], sample.truth[~out])
        losses[out] = surprise(calibrator, sample.scores[out], sample.truth[out])
    return losses


def _simplest_of_best(losses: Mapping[str, Floats], groups: np.ndarray[Any, Any]) -> str:
    """Return the first kind whose mean loss lies within a standard error, over groups, of the smallest."""
    best = min(losses, key=lambda kind: float(losses[kind].mean()))
    for kind, each in losses.items():
        lost = each - losses[best]
        error = np.sqrt(np.square(np.bincount(groups, lost - lost.mean())).sum()) / lost.size
        if lost.mean() <= error + 1e-9:
            return kind
    return best
