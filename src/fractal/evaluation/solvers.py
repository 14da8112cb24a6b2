"""The two solvers of evaluation and checks: a logistic line by Newton's method, and a smooth cost by quasi-Newton."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fractal.errors import MissingExtra

Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats]]  # parameters → value and gradient


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


def minimise(objective: Objective, start: Floats) -> Floats:
    """Return the parameters of the lowest cost that BFGS reaches from `start`, by scipy."""
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise MissingExtra("Fitting a calibration curve", "train", "scipy") from error
    return np.asarray(minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-7}).x)
