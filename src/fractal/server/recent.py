"""What was looked up a moment ago: a few seconds in which the database is not asked the same again."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Recent"]

MOST = 1_000

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Values by key, each for so many seconds; at most a thousand."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._values: dict[Key, tuple[Value, float]] = {}

    def get(self, key: Key) -> Value | None:
        """Return what was put under a key, None where that is too long ago."""
        value, until = self._values.get(key, (None, 0.0))
        return value if until > time.monotonic() else None

    def put(self, key: Key, value: Value) -> Value:
        """Remember a value, and return it."""
        if len(self._values) >= MOST:
            self._values.clear()
        self._values[key] = (value, time.monotonic() + self._seconds)
        return value

    def clear(self) -> None:
        """Forget everything, as what was looked up has changed."""
        self._values.clear()
