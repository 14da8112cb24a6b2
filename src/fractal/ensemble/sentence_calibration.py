"""Calibrated sentence scores where mostly responses are labelled: the curve that makes their labels likeliest."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fractal.errors import BadData, BadSpec
from fractal.evaluation.arrays import LabelledScores
from fractal.evaluation.calibration.calibrators import (
    LOG_SLOPE_SPREAD,
    SHIFT_SPREAD,
    Calibrator,
    fit_smooth,
    logit,
)
from fractal.evaluation.metrics import Floats
from fractal.evaluation.solvers import minimise
from fractal.mil.aggregations import AGGREGATIONS, Aggregation
from fractal.records import ScoredResponse


def fit_sentence_calibrator(
    scores: ArrayLike,
    offsets: ArrayLike,
    labels: ArrayLike,
    aggregation: str | Aggregation = "product",
    *,
    gold: ArrayLike | None = None,
) -> Calibrator:
    """Find slope and shift of the sentence log-odds from response labels, and from gold sentence labels if there are.

    `aggregation` says how sentence scores make the response, as in training. Gold labels refine the curve that the
    response labels give; with many of them they alone decide.
    """
    form: Aggregation = AGGREGATIONS.build(aggregation)
    if form.thresholds != 1:
        raise BadSpec(f"aggregation={aggregation!r}: one curve serves scores of good and bad, not of several levels")
    sentences, responses = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    bounds = _checked_offsets(offsets, sentences, responses)
    truth = np.full(sentences.size, np.nan) if gold is None else np.asarray(gold, dtype=np.float64)
    if truth.shape != sentences.shape:
        raise BadData(f"{truth.size} gold labels for {sentences.size} sentences: give one a sentence, nan if unknown")
    known, rated = ~np.isnan(truth), not np.isnan(responses).all()
    if not rated and not known.any():
        raise BadData("neither a response nor a sentence has a label: there is nothing to calibrate with")
    centre = _likeliest_line(sentences, bounds, responses, form) if rated else np.zeros(2)
    if not known.any():
        return Calibrator("platt", (float(centre[0]), float(centre[1])))
    return fit_smooth("platt", sentences[known], truth[known], centre)


def calibrate_scores(labelled: LabelledScores, aggregation: str | Aggregation = "product") -> Calibrator:
    """Fit the curve to scored responses that carry labels which their scorer has not seen."""
    sizes = np.bincount(labelled.sentences.groups, minlength=len(labelled.ids))
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    sentences = labelled.sentences
    return fit_sentence_calibrator(sentences.scores, offsets, labelled.whole.truth, aggregation, gold=sentences.truth)


def recalibrated(scored: ScoredResponse, curve: Calibrator) -> ScoredResponse:
    """Return the response with its sentence scores on the curve; spreads follow its slope, the rest stays as it is."""
    scores, spread = np.array(scored.sentence_scores), np.array(scored.sentence_spread)
    if spread.size:
        spread = (curve(np.minimum(scores + spread, 1)) - curve(np.maximum(scores - spread, 0))) / 2
    return dataclasses.replace(
        scored, sentence_scores=tuple(curve(scores).tolist()), sentence_spread=tuple(spread.tolist())
    )


def _checked_offsets(offsets: ArrayLike, scores: Floats, labels: Floats) -> Tensor:
    bounds = np.asarray(offsets, dtype=np.int64)
    if bounds.ndim != 1 or bounds.size != labels.size + 1 or bounds[0] != 0 or bounds[-1] != scores.size:
        raise BadData(
            f"offsets of {bounds.size} entries for {labels.size} labels and {scores.size} scores: "
            "give where each response starts, and the end"
        )
    if (np.diff(bounds) < 1).any():
        raise BadData("a response without sentences cannot be calibrated: leave it out")
    if ((labels < 0) | (labels > 1)).any():
        raise BadData("response labels lie in [0, 1]")
    return torch.from_numpy(bounds)


def _likeliest_line(scores: Floats, offsets: Tensor, labels: Floats, form: Aggregation) -> Floats:
    """Return the logarithm of the slope, and the shift, under which the response labels are likeliest."""
    logits, truth = torch.from_numpy(logit(scores)), torch.from_numpy(labels)
    count = int((~np.isnan(labels)).sum())
    spread = torch.tensor([LOG_SLOPE_SPREAD, SHIFT_SPREAD], dtype=torch.float64)

    def cost(parameters: Floats) -> tuple[float, Floats]:
        line = torch.tensor(parameters, requires_grad=True)
        likelihood = form.log_likelihood((line[0].exp() * logits + line[1]).unsqueeze(-1), offsets, truth)
        total = ((line / spread).square().sum() / 2 - likelihood.sum()) / count
        total.backward()
        return float(total.detach()), np.asarray(line.grad)

    return minimise(cost, np.zeros(2))
