"""Which units are still to be done: those of dead workers again, and after a failure only those before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from fractal.errors import WorkersDied

__all__ = ["MOST_TRIES", "Unit", "UnitQueue"]

MOST_TRIES = 4  # of a unit whose worker died, before it is the unit that is to blame


class Unit(Protocol):
    """A part of the work; its text says what it is to people."""

    @property
    def number(self) -> int:
        """Its place in the order."""


Work = TypeVar("Work", bound=Unit)


class UnitQueue(Generic[Work]):
    """Units in their order, for workers of any number.

    Where several units fail, the first in order is the one that is told of, whichever worker was faster: what comes
    after a failure is not begun, what comes before it is finished.
    """

    def __init__(self, units: Iterable[Work]) -> None:
        self._waiting = deque(units)
        self._running: set[int] = set()
        self._tries: dict[int, int] = {}
        self._failure: tuple[int, BaseException] | None = None

    def __len__(self) -> int:
        """Return how many units must still end, by success or by failure."""
        last = self._failure[0] if self._failure else None
        return len(self._waiting) + sum(last is None or number < last for number in self._running)

    def take(self) -> Work | None:
        """Return the next unit to begin; None where none waits."""
        if not self._waiting:
            return None
        unit = self._waiting.popleft()
        self._running.add(unit.number)
        return unit

    def done(self, unit: Work) -> None:
        """Take a unit off."""
        self._running.discard(unit.number)

    def put_back(self, unit: Work, died: str) -> None:
        """Let another worker try a unit whose worker died; `died` says of what, should it be the last try."""
        self._running.discard(unit.number)
        self._tries[unit.number] = self._tries.get(unit.number, 0) + 1
        if self._tries[unit.number] >= MOST_TRIES:
            self.fail(unit, WorkersDied(f"{unit}: a worker died {MOST_TRIES} times on this unit{died}"))
        elif self._failure is None or unit.number < self._failure[0]:
            self._waiting.appendleft(unit)

    def fail(self, unit: Work, error: BaseException) -> None:
        """Remember the failure of a unit that is the first in order, and leave out all units after it."""
        self._running.discard(unit.number)
        if self._failure is None or unit.number < self._failure[0]:
            self._failure = unit.number, error
            self._waiting = deque(other for other in self._waiting if other.number < unit.number)

    def raise_failure(self) -> None:
        """Raise the first failure in order, where there was one."""
        if self._failure is not None:
            raise self._failure[1]
