"""The two solvers of evaluation and checks: a logistic line by Newton's method, and a smooth cost by quasi-Newton."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["log_sigmoid", "logistic_line", "minimise", "sigmoid", "with_constant"]

Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats]]  # parameters → value and gradient

NUDGE = 1e-4
SMALLEST_CURVATURE = 1e-8
LARGEST_STEP = 2.0


def log_sigmoid(z: Floats) -> Floats:
    """Return log σ(z) without overflow."""
    return -np.logaddexp(0.0, -z)


def sigmoid(z: Floats) -> Floats:
    """Return σ(z) without overflow."""
    return np.exp(log_sigmoid(z))


def with_constant(columns: Floats) -> Floats:
    """Return the columns and one of ones, whose weight is a shift."""
    return np.column_stack([columns, np.ones(len(columns))])


def logistic_line(
    columns: Floats,
    truth: Floats,
    ridge: float,
    *,
    weights: Floats | None = None,
    offset: Floats | float = 0.0,
    steps: int = 12,
    longest_step: float = 3.0,
) -> Floats:
    """Ridge-penalised logistic regression by Newton's method: a weight a column; truth may be a share.

    `weights` say how much each case counts, `offset` is added to the log-odds as it is; `with_constant` gives a shift.
    """
    line = np.zeros(columns.shape[1])
    penalty = ridge * np.eye(len(line))
    share = 1.0 if weights is None else weights
    total = max(len(truth) if weights is None else float(weights.sum()), 1)
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(columns @ line + offset, -30, 30)))
        slope = columns.T @ (share * (chance - truth)) / total + penalty @ line
        bend = (columns * (share * chance * (1 - chance))[:, None]).T @ columns / total + penalty
        line = line - np.clip(np.linalg.solve(bend, slope), -longest_step, longest_step)
    return line


def minimise(objective: Objective, start: Floats, steps: int = 100, tolerance: float = 1e-9) -> Floats:
    """Go downhill with curvature from differences of the gradient, halving a step that does not pay."""
    here = np.asarray(start, dtype=np.float64)
    value, gradient = objective(here)
    for _ in range(steps):
        step = _direction(objective, here, gradient)
        slope = float(gradient @ step)
        if -slope < tolerance:
            break
        scale = 1.0
        while scale > 1e-6:
            there = here + scale * step
            new_value, new_gradient = objective(there)
            if new_value <= value + 1e-4 * scale * slope:
                break
            scale /= 2
        else:
            break
        here, value, gradient = there, new_value, new_gradient
    return here


def _direction(objective: Objective, here: Floats, gradient: Floats) -> Floats:
    size = here.size
    nudges = NUDGE * np.eye(size)
    rows = [(objective(here + nudge)[1] - objective(here - nudge)[1]) / (2 * NUDGE) for nudge in nudges]
    curvature, axes = np.linalg.eigh((np.array(rows) + np.array(rows).T) / 2)
    # where the surface bends down, its absolute value still points downhill
    along = (axes.T @ gradient) / np.maximum(np.abs(curvature), SMALLEST_CURVATURE)
    step: Floats = -(axes @ along)
    return step * min(1.0, LARGEST_STEP / max(float(np.linalg.norm(step)), 1e-300))
