"""Which ids have come through, at a few bytes each: all that grows with a file that is read."""

from __future__ import annotations

from array import array
from bisect import bisect_left

SMALLEST_RUN = 1 << 18  # a set up to here takes about 18 MB


class SeenIds:
    """Remembers 8-byte hashes of ids: the latest in a set, which is fast, the others sorted, which is small.

    Two different ids share a hash once in many billions of pairs; one of them would then be refused as a duplicate.
    """

    def __init__(self) -> None:
        self._latest: set[int] = set()
        self._sorted = array("q")

    def __len__(self) -> int:
        return len(self._latest) + len(self._sorted)

    def __contains__(self, id: str) -> bool:
        key = hash(id)
        if key in self._latest:
            return True
        if not self._sorted:
            return False
        place = bisect_left(self._sorted, key)
        return place < len(self._sorted) and self._sorted[place] == key

    def add(self, id: str) -> None:
        """Remember an id."""
        self._latest.add(hash(id))
        if len(self._latest) >= max(SMALLEST_RUN, len(self._sorted) // 8):
            self._fold()

    def _fold(self) -> None:
        import numpy as np

        latest = np.fromiter(self._latest, dtype=np.int64, count=len(self._latest))
        self._latest = set()
        both = np.concatenate([np.frombuffer(self._sorted, dtype=np.int64), latest])
        both.sort(kind="stable")  # two runs of which one is in order already
        self._sorted = array("q")
        self._sorted.frombytes(both.tobytes())
