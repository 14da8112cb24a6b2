"""Logistic regression on a few columns, in numpy: what checks and length control fit before any head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["logistic_line"]

Floats = NDArray[np.float64]


def logistic_line(columns: Floats, truth: Floats, ridge: float, steps: int = 12) -> Floats:
    """Ridge-penalised logistic regression by Newton's method: a weight a column; truth may be a share."""
    line = np.zeros(columns.shape[1])
    penalty = ridge * np.eye(len(line))
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(columns @ line, -30, 30)))
        slope = columns.T @ (chance - truth) / max(len(truth), 1) + penalty @ line
        bend = (columns * (chance * (1 - chance))[:, None]).T @ columns / max(len(truth), 1) + penalty
        line = line - np.clip(np.linalg.solve(bend, slope), -3, 3)
    return line
