"""Sentences of one response that share an effect: what labels of responses say of it, and the curve that follows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fractal.errors import BadData, BadSpec
from fractal.evaluation.calibration.calibrators import LOG_SLOPE_SPREAD, SHIFT_SPREAD, Calibrator, fit_smooth, logit
from fractal.evaluation.metrics import Floats, resampled_weights
from fractal.evaluation.metrics.base import Integers
from fractal.evaluation.solvers import minimise, sigmoid
from fractal.mil.aggregations import AGGREGATIONS, Aggregation

__all__ = ["Bagged", "SharedEffect", "effect_likelihood", "fit_shared_effect", "likeliest_line"]

NODES = 32  # of the quadrature: label chances are exact to 1e-5 at a spread of 2, to .002 at 4
EFFECT_SPREAD = 2.0  # how far the effect is expected to spread
CONFIDENCE = 0.95  # share of the resamples in which it has to explain held-out labels better than a line alone
FOLDS, RESAMPLES = 5, 400


@dataclasses.dataclass(frozen=True)
class SharedEffect:
    """The log-odds of a response's sentences are a line of those of their scores, plus a normal effect they share."""

    slope: float
    shift: float
    spread: float  # the standard deviation of the effect; 0: sentences are independent given their scores
    gain: float  # nats a held-out label of a response that it saves, beside a line alone
    confidence: float  # the share of resampled groups in which it saves any

    @property
    def holds(self) -> bool:
        """Whether held-out labels of responses bear it out."""
        return self.confidence >= CONFIDENCE

    def __str__(self) -> str:
        gain = f"{self.gain:+.4f} nats a held-out label, better in {self.confidence:.0%} of the resamples"
        if self.holds:
            return f"sentences cluster in responses, by {self.spread:.2f} of log-odds ({gain})"
        return f"labels of responses do not show that sentences cluster ({gain}; {CONFIDENCE:.0%} are asked for)"

    def chances(self, scores: Floats) -> Floats:
        """Return how likely each sentence is good: the mean over the effect."""
        effect, shares = _nodes()
        line = self.slope * logit(scores) + self.shift
        return np.asarray(sigmoid(line[:, None] + self.spread * effect) @ shares)

    def curve(self, scores: Floats) -> Calibrator:
        """Return the Platt curve that is nearest to these chances, at these scores."""
        flatter = 1 / math.sqrt(1 + math.pi * self.spread**2 / 8)  # MacKay's approximation, to start from
        near = np.array([math.log(self.slope * flatter), self.shift * flatter])
        return fit_smooth("platt", scores, self.chances(scores), near)


@dataclasses.dataclass(frozen=True, eq=False)
class Bagged:
    """Scores of sentences, cut into responses, with the labels of these and the rule by which they are made."""

    scores: Floats  # (sentence,)
    offsets: Tensor  # (response + 1,)
    labels: Floats  # (response,), nan where unknown
    form: Aggregation

    @classmethod
    def of(cls, scores: ArrayLike, offsets: ArrayLike, labels: ArrayLike, aggregation: str | Aggregation) -> Bagged:
        """Read arrays, and refuse those that do not fit together."""
        form: Aggregation = AGGREGATIONS.build(aggregation)
        if form.thresholds != 1:
            raise BadSpec(
                f"aggregation={aggregation!r}: one curve serves scores of good and bad, not of several levels"
            )
        sentences, responses = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        bounds = np.asarray(offsets, dtype=np.int64)
        if bounds.ndim != 1 or bounds.size != responses.size + 1 or bounds[0] != 0 or bounds[-1] != sentences.size:
            raise BadData(
                f"offsets of {bounds.size} entries for {responses.size} labels and {sentences.size} scores: "
                "give where each response starts, and the end"
            )
        if (np.diff(bounds) < 1).any():
            raise BadData("a response without sentences cannot be calibrated: leave it out")
        if ((responses < 0) | (responses > 1)).any():
            raise BadData("response labels lie in [0, 1]")
        return cls(sentences, torch.from_numpy(bounds), responses, form)

    @property
    def rated(self) -> bool:
        """Whether any response has a label."""
        return not np.isnan(self.labels).all()

    def explained(self, line: Tensor, labels: Tensor) -> Tensor:
        """Return the log-likelihood of labels (response,), 0 where unknown.

        The line is the logarithm of a slope and a shift of the log-odds; a third number is the spread of an effect.
        """
        placed = line[0].exp() * torch.from_numpy(logit(self.scores)) + line[1]
        if len(line) == 2:
            return self.form.log_likelihood(placed.unsqueeze(-1), self.offsets, labels).squeeze(-1)
        return effect_likelihood(placed, self.offsets, labels, self.form, line[2])


def fit_shared_effect(
    scores: ArrayLike,
    offsets: ArrayLike,
    labels: ArrayLike,
    aggregation: str | Aggregation = "product",
    groups: Sequence[object] | None = None,
) -> SharedEffect:
    """Find the line and the effect under which the labels of responses are likeliest, and what they gain held out.

    The labels are of responses that training did not see, nan where unknown; those of one group are held out together.
    """
    bags = Bagged.of(scores, offsets, labels, aggregation)
    if bags.form.direction == "mean":
        raise BadSpec("under a mean the share of good sentences is the same whether they cluster or not: leave it out")
    if not bags.rated:
        raise BadData("no response has a label: what sentences share is found by labels of responses")
    codes = np.unique(np.arange(bags.labels.size) if groups is None else np.asarray(groups), return_inverse=True)[1]
    gains = _held_out_gains(bags, codes.ravel())
    rated = ~np.isnan(bags.labels)
    drawn = np.concatenate([gains @ weights for weights in resampled_weights(gains.size, RESAMPLES, 0, codes.ravel())])
    slope, shift, spread = likeliest_line(bags, torch.from_numpy(bags.labels), shared=True)
    gain, confidence = float(gains[rated].mean()), float((drawn > 0).mean())
    return SharedEffect(math.exp(slope), float(shift), abs(float(spread)), gain, confidence)


def _held_out_gains(bags: Bagged, groups: Integers) -> Floats:
    """Return how much better than a line alone an effect explains the label of each held-out response, in nats."""
    gains, truth = np.zeros(bags.labels.size), torch.from_numpy(bags.labels)
    dealt = np.random.default_rng(0).permutation(int(groups.max()) + 1) % FOLDS
    for fold in range(FOLDS):
        out = dealt[groups] == fold
        rest = torch.from_numpy(np.where(out, np.nan, bags.labels))
        if not bool(rest.isnan().all()):
            line, effect = (
                bags.explained(torch.from_numpy(likeliest_line(bags, rest, shared=shared)), truth).numpy()
                for shared in (False, True)
            )
            gains[out] = (effect - line)[out]
    return gains


def likeliest_line(bags: Bagged, labels: Tensor, *, shared: bool = False) -> Floats:
    """Return the line, as `Bagged.explained` reads it, under which labels are likeliest; with an effect if `shared`.

    It is drawn a little to the identity, by what is expected of slopes, shifts and spreads.
    """
    count = int((~labels.isnan()).sum())
    expected = torch.tensor([LOG_SLOPE_SPREAD, SHIFT_SPREAD, EFFECT_SPREAD][: 2 + shared], dtype=torch.float64)

    def cost(parameters: Floats) -> tuple[float, Floats]:
        line = torch.tensor(parameters, requires_grad=True)
        total = ((line / expected).square().sum() / 2 - bags.explained(line, labels).sum()) / count
        total.backward()
        return float(total.detach()), np.asarray(line.grad)

    return minimise(cost, np.array([0.0, 0.0, 1.0][: 2 + shared]))  # a spread of 0 would have no gradient


def effect_likelihood(logits: Tensor, offsets: Tensor, labels: Tensor, form: Aggregation, spread: Tensor) -> Tensor:
    """Return the log-likelihood of labels (response,) whose sentences share a normal effect; 0 where none is known.

    By Gauss–Hermite quadrature over the effect; a label between 0 and 1 is a share of belief.
    """
    effect, shares = (torch.from_numpy(values) for values in _nodes())
    moved = logits.unsqueeze(-1) + spread * effect  # (sentence, node)
    rated = ~labels.isnan()
    label = torch.where(rated, labels, 0.5)
    good, bad = (
        torch.logsumexp(form.log_likelihood(moved, offsets, torch.full_like(label, value)) + shares.log(), dim=-1)
        for value in (1.0, 0.0)
    )
    return torch.where(rated, label * good + (1 - label) * bad, 0.0)


def _nodes() -> tuple[Floats, Floats]:
    """Return where the effect is looked at, in standard deviations, and how much each place counts."""
    places, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return places, weights / weights.sum()
