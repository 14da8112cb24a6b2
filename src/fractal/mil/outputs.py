"""Outputs of a head read as one number a sentence or a response."""

from __future__ import annotations

from torch import Tensor

__all__ = ["by_member", "flat"]


def flat(values: Tensor) -> Tensor:
    """Of levels take the expected one: (sentence, [level − 1,] 1) → (sentence,)."""
    values = values.squeeze(-1)
    return values if values.dim() == 1 else values.mean(1)


def by_member(values: Tensor) -> Tensor:
    """Of levels take the expected one: (bag, [level − 1,] member) → (bag, member)."""
    return values if values.dim() == 2 else values.mean(1)
