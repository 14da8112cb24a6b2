"""Outputs of a head: some of them, or all read as one number a sentence or a response."""

from __future__ import annotations

from torch import Tensor

__all__ = ["Outputs", "by_member", "flat", "read_outputs"]

Outputs = tuple[int, int]  # the first output of a head that is read, and the first after it that is not


def read_outputs(logits: Tensor, outputs: Outputs | None) -> Tensor:
    """Return some outputs of a head as a head of these alone would give them: (sentence, [level − 1,] member)."""
    if outputs is None or logits.dim() == 2:
        return logits
    chosen = logits[:, slice(*outputs)]
    return chosen.squeeze(1) if chosen.shape[1] == 1 else chosen


def flat(values: Tensor) -> Tensor:
    """Of levels take the expected one: (sentence, [level − 1,] 1) → (sentence,)."""
    values = values.squeeze(-1)
    return values if values.dim() == 1 else values.mean(1)


def by_member(values: Tensor) -> Tensor:
    """Of levels take the expected one: (bag, [level − 1,] member) → (bag, member)."""
    return values if values.dim() == 2 else values.mean(1)
