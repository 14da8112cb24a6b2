"""Responses that stand one after another, as a unit of work."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

__all__ = ["Span", "spans"]


@dataclasses.dataclass(frozen=True)
class Span:
    """Responses from `first` up to `last`, which is not among them."""

    number: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"responses {self.first + 1:,} to {self.last:,}"


def spans(bounds: Iterable[tuple[int, int]]) -> list[Span]:
    """Number these runs of responses."""
    return [Span(number, first, last) for number, (first, last) in enumerate(bounds)]
