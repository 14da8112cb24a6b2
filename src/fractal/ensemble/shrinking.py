"""Sentence scores drawn to their response's mean, where labels are of the response more than of its sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.config import FitConfig
from fractal.ensemble.result import Choice, FitResult
from fractal.ensemble.screening import MIN_GAIN_NATS
from fractal.ensemble.weighting import without_common
from fractal.mil.aggregations import Aggregation
from fractal.mil.optimise import minimise
from fractal.records.corpus import Corpus

__all__ = ["fitted_line", "shrunk", "with_shrinking"]

SHARES = (0.25, 0.5)  # of the mean, that are tried; more would leave little of what tells sentences apart
STEPS = 50
RIDGE = 1e-4


def with_shrinking(
    results: Mapping[str, FitResult], block: EncodedBlock, corpus: Corpus, config: FitConfig
) -> dict[str, FitResult]:
    """Shrink every aspect's scores, where ratings alone were learned from and some were held out."""
    shrinks = config.plan.shrink and not config.supervised and not len(corpus.pairs)
    offsets, shrunken = torch.from_numpy(block.offsets), dict(results)
    for name, result in results.items() if shrinks else ():
        held_out = (result.weights == 0).any(1)
        labels = torch.from_numpy(np.where(held_out, corpus.of_aspect(name).labels, np.nan))
        if not bool(labels.isnan().all()):
            shrunken[name] = shrunk(result, offsets, labels)
    return shrunken


def shrunk(result: FitResult, offsets: Tensor, labels: Tensor) -> FitResult:
    """Draw log-odds of sentences to their response's mean, by the share that held-out labels (response,) prefer.

    Labels of whole responses tell how much of what is explained lies between responses, and how much within. None is
    drawn where that saves less than a check would speak of.
    """
    ensemble = result.ensemble
    lines = {
        share: fitted_line(_drawn(result.held_out, offsets, share), ensemble.aggregation, offsets, labels)
        for share in (0.0, *SHARES)
    }
    costs = {share: line[2] for share, line in lines.items()}
    best = min(costs, key=lambda share: costs[share])
    if costs[0.0] - costs[best] < MIN_GAIN_NATS:
        best = 0.0
    choice = Choice("share of the response's mean", {f"{share:.2f}": costs[share] for share in costs}, f"{best:.2f}")
    result = replace(result, choices=(*result.choices, choice))
    if not best:
        return result
    slope, height, _ = lines[best]
    drawn = replace(
        ensemble,
        weights=tuple(weight * slope * (1 - best) for weight in ensemble.weights),
        shift=ensemble.shift * slope + height,
        topic_share=-best / (1 - best),
    )
    held_out = _drawn(result.held_out, offsets, best) * slope + height
    return replace(result, ensemble=drawn, held_out=held_out)


def _drawn(logits: Tensor, offsets: Tensor, share: float) -> Tensor:
    return without_common(logits * (1 - share), offsets, -share / (1 - share))


def fitted_line(
    logits: Tensor, aggregation: Aggregation, offsets: Tensor, labels: Tensor
) -> tuple[float, float, float]:
    """Return the slope, above 0, and height of log-odds under which labels are likeliest, and what these cost then."""
    rated = int((~labels.isnan()).sum())

    def cost(line: Tensor) -> Tensor:
        likelihood = aggregation.log_likelihood(logits * line[0].exp() + line[1], offsets, labels)
        return -likelihood.sum() / rated + RIDGE * line.square().sum()

    (line,) = minimise([torch.zeros(2)], cost, STEPS)
    if not bool(line.isfinite().all()):
        line = torch.zeros(2)
    return float(line[0].exp()), float(line[1]), float(cost(line))
