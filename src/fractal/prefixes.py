"""Names that begin alike: the entries of one part, out of those of many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def under(prefix: str, entries: Mapping[str, T]) -> dict[str, T]:
    """Return the entries whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): entry for name, entry in entries.items() if name.startswith(prefix)}
