"""Calibrated sentence scores where mostly responses are labelled: the curve that makes their labels likeliest."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike

from fractal.ensemble.shared_effect import Bagged, SharedEffect, fit_shared_effect, likeliest_line
from fractal.errors import BadData
from fractal.evaluation.arrays import LabelledScores
from fractal.evaluation.calibration.calibrators import Calibrator, fit_smooth
from fractal.evaluation.metrics.base import Integers
from fractal.mil.aggregations import Aggregation
from fractal.records import ScoredResponse


def fit_sentence_calibrator(
    scores: ArrayLike,
    offsets: ArrayLike,
    labels: ArrayLike,
    aggregation: str | Aggregation = "product",
    *,
    gold: ArrayLike | None = None,
    effect: SharedEffect | None = None,
) -> Calibrator:
    """Find slope and shift of the sentence log-odds from response labels, and from gold sentence labels if there are.

    `aggregation` says how sentence scores make the response, as in training. Gold labels refine the curve that the
    response labels give; with many of them they alone decide. With an `effect` that sentences of a response share, the
    curve is the one that follows from it.
    """
    bags = Bagged.of(scores, offsets, labels, aggregation)
    truth = np.full(bags.scores.size, np.nan) if gold is None else np.asarray(gold, dtype=np.float64)
    if truth.shape != bags.scores.shape:
        raise BadData(f"{truth.size} gold labels for {bags.scores.size} sentences: give one a sentence, nan if unknown")
    labelled = ~np.isnan(truth)
    if not bags.rated and not labelled.any():
        raise BadData("neither a response nor a sentence has a label: there is nothing to calibrate with")
    if effect is not None:
        centre = np.array(effect.curve(bags.scores).parameters)
    else:
        centre = likeliest_line(bags, torch.from_numpy(bags.labels)) if bags.rated else np.zeros(2)
    if not labelled.any():
        return Calibrator("platt", (float(centre[0]), float(centre[1])))
    return fit_smooth("platt", bags.scores[labelled], truth[labelled], centre)


def calibrate_scores(
    labelled: LabelledScores, aggregation: str | Aggregation = "product", effect: SharedEffect | None = None
) -> Calibrator:
    """Fit the curve to scored responses that carry labels which their scorer has not seen."""
    scores, offsets = labelled.sentences.scores, _offsets_of(labelled)
    gold = labelled.sentences.truth
    return fit_sentence_calibrator(scores, offsets, labelled.whole.truth, aggregation, gold=gold, effect=effect)


def shared_effect_of(
    labelled: LabelledScores, aggregation: str | Aggregation = "product", groups: Sequence[object] | None = None
) -> SharedEffect:
    """Find what sentences of a response share beside their scores, by labels that their scorer has not seen."""
    scores, labels = labelled.sentences.scores, labelled.whole.truth
    return fit_shared_effect(scores, _offsets_of(labelled), labels, aggregation, groups)


def recalibrated(scored: ScoredResponse, curve: Calibrator) -> ScoredResponse:
    """Return the response with its sentence scores on the curve; spreads follow its slope, the rest stays as it is."""
    scores, spread = np.array(scored.sentence_scores), np.array(scored.sentence_spread)
    if spread.size:
        spread = (curve(np.minimum(scores + spread, 1)) - curve(np.maximum(scores - spread, 0))) / 2
    return dataclasses.replace(
        scored, sentence_scores=tuple(curve(scores).tolist()), sentence_spread=tuple(spread.tolist())
    )


def _offsets_of(labelled: LabelledScores) -> Integers:
    """Return where the sentences of each response start, and the end."""
    sizes = np.bincount(labelled.sentences.groups, minlength=len(labelled.ids))
    return np.concatenate([[0], np.cumsum(sizes)])
