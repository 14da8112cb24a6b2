"""Where a head may start: at even odds, or at what similarity alone says once it is calibrated on response labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.ensemble.objective import labels_cost
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags

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
    calm = np.clip(similarity.astype(np.float64), EDGE, 1 - EDGE)
    return np.asarray(np.log(calm) - np.log1p(-calm))


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
    known = similarity_logits(similarity)
    middle, spread = float(np.nanmean(known)), float(np.nanstd(known)) or 1.0
    given = torch.from_numpy(np.nan_to_num((known - middle) / spread)).float().unsqueeze(-1)
    given = given if aggregation.thresholds == 1 else given.unsqueeze(-1).expand(-1, aggregation.thresholds, 1)
    flat = replace(bags, weights=torch.ones(len(bags), 1))
    slope, height = _best_line(labels_cost(flat, aggregation), given)
    if not (np.isfinite(slope) and np.isfinite(height)) or slope <= 0:
        return InitialLogits()
    return InitialLogits(scale=slope / spread, centre=middle - height * spread / slope)


def _best_line(cost_of: Callable[[Tensor], Tensor], given: Tensor) -> tuple[float, float]:
    line = torch.zeros(2, requires_grad=True)  # slope, height
    optimiser = torch.optim.LBFGS([line], max_iter=50, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        optimiser.zero_grad()
        total = cost_of(given * line[0] + line[1]) + 1e-4 * line.square().sum()
        total.backward()
        return total

    optimiser.step(cost)
    slope, height = line.detach().tolist()
    return slope, height
