"""The two solvers against what must be true of a lowest cost."""

from __future__ import annotations

import numpy as np
import pytest

from fractal.evaluation.solvers import logistic_line, minimise, sigmoid, with_constant


def test_minimise_finds_the_bottom_from_afar():
    def banana(at):
        x, y = at
        value = (1 - x) ** 2 + 10 * (y - x * x) ** 2
        return value, np.array([-2 * (1 - x) - 40 * x * (y - x * x), 20 * (y - x * x)])

    assert minimise(banana, np.array([-3.0, 4.0])) == pytest.approx([1, 1], abs=1e-4)


def cases(count=200, seed=0):
    random = np.random.default_rng(seed)
    columns = random.normal(size=(count, 2))
    truth = (random.random(count) < sigmoid(columns @ np.array([1.0, -0.5]) + 0.3)).astype(float)
    return columns, truth, random.normal(size=count), random.integers(0, 4, size=count).astype(float)


def test_the_line_is_where_the_penalised_cost_is_flat():
    columns, truth, offset, weights = cases()
    shifted = with_constant(columns)
    line = logistic_line(shifted, truth, 0.01, weights=weights, offset=offset, steps=30)
    slope = shifted.T @ (weights * (sigmoid(shifted @ line + offset) - truth)) / weights.sum() + 0.01 * line
    assert np.abs(slope).max() < 1e-9


def test_a_weight_counts_as_so_many_cases():
    columns, truth, offset, weights = cases()
    rows = np.repeat(np.arange(len(truth)), weights.astype(int))
    repeated = logistic_line(columns[rows], truth[rows], 0.1, offset=offset[rows])
    assert logistic_line(columns, truth, 0.1, weights=weights, offset=offset) == pytest.approx(repeated, abs=1e-9)
