"""Where a head may start: at even odds, or at what similarity alone says once it is calibrated on response labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.ensemble.objective import labels_cost
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.optimise import minimise

__all__ = ["InitialLogits", "calibrated_initial_logits", "initialisations", "similarity_logits"]

EDGE = 1e-3  # a similarity is a weak belief: its logit is cut where it would be a certainty


@dataclass(frozen=True)
class InitialLogits:
    """Where the head starts: scale · (similarity's log-odds − centre), or even odds where the scale is 0."""

    scale: float = 0.0
    centre: float = 0.0

    def __call__(self, similarity: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the log-odds at which each sentence starts; 0 where there is nothing to compare it with."""
        return np.nan_to_num(self.scale * (similarity_logits(similarity) - self.centre), nan=0.0).astype(np.float32)


def similarity_logits(similarity: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Log-odds of a similarity in [0, 1], nan where it is unknown."""
    clipped = np.clip(similarity.astype(np.float64), EDGE, 1 - EDGE)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def initialisations(
    start: str, similarity: NDArray[np.float32], bags: Bags, aggregation: Aggregation
) -> Mapping[str, InitialLogits]:
    """Where a head may start: at even odds, or at the calibrated similarity to what the response answers to."""
    even = {"even odds": InitialLogits()}
    if start == "even" or bool(np.isnan(similarity).all()):
        return even
    initial = calibrated_initial_logits(similarity, bags, aggregation)
    if initial.scale <= 0:
        return even  # the similarity points the wrong way, or nowhere
    return {"prior": initial} if start == "prior" else {**even, "prior": initial}


def calibrated_initial_logits(similarity: NDArray[np.float32], bags: Bags, aggregation: Aggregation) -> InitialLogits:
    """Return the scale and centre under which the similarity alone explains the response labels best."""
    logits = similarity_logits(similarity)
    middle, spread = float(np.nanmean(logits)), float(np.nanstd(logits)) or 1.0
    scaled = torch.from_numpy(np.nan_to_num((logits - middle) / spread)).float().unsqueeze(-1)
    scaled = scaled if aggregation.thresholds == 1 else scaled.unsqueeze(-1).expand(-1, aggregation.thresholds, 1)
    judged = bags.with_offsets(lambda offset: offset.mean(-1, keepdim=True))
    cost_of = labels_cost(replace(judged, weights=torch.ones(len(bags), 1)), aggregation)

    def cost(line: Tensor) -> Tensor:
        return cost_of(scaled * line[0] + line[1]) + 1e-4 * line.square().sum()

    (line,) = minimise([torch.zeros(2)], cost, steps=50)
    slope, height = line.tolist()
    if not (np.isfinite(slope) and np.isfinite(height)) or slope <= 0:
        return InitialLogits()
    return InitialLogits(scale=slope / spread, centre=middle - height * spread / slope)
