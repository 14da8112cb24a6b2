"""Logarithms of probabilities that stay exact, and keep a gradient, where scores are as good as 0 or 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["SATURATED", "TINY", "log1mexp", "log_odds_of_log", "log_ratio", "tame", "widened"]

SATURATED = 70.0  # e^−70 and its inverse are ordinary single-precision numbers; beyond, a score is 0 or 1
TINY = 1e-37  # just above the smallest ordinary single-precision number


def widened(values: Tensor) -> Tensor:
    """Half precision cannot hold a probability near 1: compute in single."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


class _Tame(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, low: float, high: float) -> Tensor:
        return logits.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None


def tame(logits: Tensor, low: float = -SATURATED, high: float = SATURATED) -> Tensor:
    """Cut log-odds where a score is as good as 0 or 1; the gradient passes, so a head can come back from there."""
    tamed: Tensor = _Tame.apply(logits, low, high)
    return tamed


def log1mexp(logs: Tensor) -> Tensor:
    """Return log(1 − e^x) for x < 0."""
    return (-torch.expm1(logs)).log()


def log_odds_of_log(logs: Tensor) -> Tensor:
    """Return the log-odds of a probability given as its logarithm, which is below 0."""
    return logs - log1mexp(logs)


def log_ratio(values: Tensor, complements: Tensor) -> Tensor:
    """Return the log-odds of a probability given with its complement."""
    return values.clamp(min=TINY).log() - complements.clamp(min=TINY).log()
