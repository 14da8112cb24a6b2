"""The least cost is that of a closed form, and of scipy where there is none."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fractal.mil.optimise import minimise  # noqa: E402


def test_ridge_regression_is_its_closed_form():
    generator = torch.Generator().manual_seed(0)
    columns, truth = (torch.randn(50, size, generator=generator, dtype=torch.float64) for size in (4, 1))
    start = torch.zeros(4, 1, dtype=torch.float64)
    (weights,) = minimise([start], lambda w: (columns @ w - truth).square().sum() + 2 * w.square().sum(), steps=50)
    exact = torch.linalg.solve(columns.T @ columns + 2 * torch.eye(4, dtype=torch.float64), columns.T @ truth)
    torch.testing.assert_close(weights, exact, atol=1e-6, rtol=1e-6)
    assert not weights.requires_grad
    assert not start.any()
    assert start.grad is None


def test_several_tensors_move_together_as_far_as_scipy():
    scipy = pytest.importorskip("scipy.optimize")
    ratios = torch.linspace(-3, 3, 40, dtype=torch.float64)
    labels = (ratios + torch.sin(5 * ratios) > 0.5).double()

    def cost(slope, shift):
        logits = slope.exp() * ratios + shift
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels) + 1e-2 * (slope**2 + shift**2)

    fitted = minimise([torch.zeros((), dtype=torch.float64)] * 2, cost, steps=100)
    other = scipy.minimize(lambda x: float(cost(*torch.from_numpy(x))), np.zeros(2), tol=1e-10)
    assert [float(value) for value in fitted] == pytest.approx(other.x.tolist(), abs=1e-4)


def test_no_more_steps_than_allowed():
    def cost(x):
        return ((1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2).squeeze()

    few, many = (minimise([torch.zeros(2, dtype=torch.float64)], cost, steps=steps)[0] for steps in (2, 200))
    assert float(cost(many)) < 1e-6 < float(cost(few))


@pytest.mark.parametrize("slope", [1.0, 1e6])
def test_a_cost_without_a_least_value_gives_the_best_that_was_met(slope):
    (x,) = minimise([torch.tensor(1.0)], lambda x: -slope * x, steps=100)
    assert bool(x.isfinite())
    assert x > 1


def test_a_search_that_leaves_the_range_of_numbers_gives_the_best_and_other_errors_are_raised(monkeypatch):
    def overflowing(self, closure):
        closure()
        raise RuntimeError("value cannot be converted to type float without overflow")

    monkeypatch.setattr(torch.optim.LBFGS, "step", overflowing)
    assert minimise([torch.tensor(2.0)], lambda x: x**2, steps=5)[0] == 2.0

    def failing(x):
        raise RuntimeError("the cost itself is wrong")

    with pytest.raises(RuntimeError, match="itself is wrong"):
        minimise([torch.tensor(2.0)], failing, steps=5)
