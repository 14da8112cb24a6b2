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

__all__ = ["ABOUT", "asked_share", "drawn", "likeliest_line", "shrunk", "with_shrinking"]

ABOUT = "share of the response's mean"
SHARES = (0.25, 0.5)  # of the mean, that are tried; more would leave little of what tells sentences apart
STEPS = 50
RIDGE = 1e-4


def with_shrinking(
    results: Mapping[str, FitResult], block: EncodedBlock, corpus: Corpus, config: FitConfig
) -> dict[str, FitResult]:
    """Shrink every aspect's scores, where ratings alone were learned from and some were held out.

    A mixture of directions, while that is open, is drawn where it is made.
    """
    shrinks = config.plan.shrink and not config.supervised and not len(corpus.pairs)
    offsets, shrunken = torch.from_numpy(block.offsets), dict(results)
    for name, result in results.items() if shrinks else ():
        held_out = (result.weights == 0).any(1)
        labels = torch.from_numpy(np.where(held_out, corpus.of_aspect(name).labels, np.nan))
        done = any(choice.about == ABOUT for choice in result.choices)
        if not bool(labels.isnan().all()) and not done:
            shrunken[name] = shrunk(result, offsets, labels)
    return shrunken


def shrunk(result: FitResult, offsets: Tensor, labels: Tensor) -> FitResult:
    """Draw log-odds of sentences to their response's mean, by the share that held-out labels (response,) prefer.

    Labels of whole responses tell how much of what is explained lies between responses, and how much within. None is
    drawn where that saves less than a check would speak of.
    """
    share, costs = asked_share(result, offsets, labels)
    choice = Choice(ABOUT, {f"{tried:.2f}": cost for tried, cost in costs.items()}, f"{share:.2f}")
    result = replace(result, choices=(*result.choices, choice))
    if not share:
        return result
    held_out = drawn(result.held_out, offsets, share)
    slope, height, _ = likeliest_line(held_out, result.ensemble.aggregation, offsets, labels, result.controlled)
    ensemble = replace(
        result.ensemble,
        weights=tuple(weight * slope * (1 - share) for weight in result.ensemble.weights),
        shift=result.ensemble.shift * slope + height,
        topic_share=-share / (1 - share),
    )
    return replace(result, ensemble=ensemble, held_out=held_out * slope + height)


def asked_share(result: FitResult, offsets: Tensor, labels: Tensor) -> tuple[float, dict[float, float]]:
    """Return the share of the mean under which held-out labels are likeliest, and what they cost under each tried."""
    costs = {
        share: likeliest_line(
            drawn(result.held_out, offsets, share), result.ensemble.aggregation, offsets, labels, result.controlled
        )[2]
        for share in (0.0, *SHARES)
    }
    best = min(costs, key=lambda share: costs[share])
    return (best if costs[0.0] - costs[best] >= MIN_GAIN_NATS else 0.0), costs


def drawn(logits: Tensor, offsets: Tensor, share: float) -> Tensor:
    """Draw log-odds of sentences to their response's mean by a share below 1."""
    return without_common(logits * (1 - share), offsets, -share / (1 - share))


def likeliest_line(
    logits: Tensor, aggregation: Aggregation, offsets: Tensor, labels: Tensor, controlled: Tensor | None = None
) -> tuple[float, float, float]:
    """Return the slope, above 0, and height of log-odds under which labels are likeliest, and what these cost then.

    What is `controlled` (response, 1) is added to the log-odds of the responses as it is.
    """
    rated = int((~labels.isnan()).sum())

    def cost(line: Tensor) -> Tensor:
        likelihood = aggregation.log_likelihood(logits * line[0].exp() + line[1], offsets, labels, controlled)
        return -likelihood.sum() / rated + RIDGE * line.square().sum()

    (line,) = minimise([torch.zeros(2)], cost, STEPS)
    return float(line[0].exp()), float(line[1]), float(cost(line))
