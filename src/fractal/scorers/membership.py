"""Which members held a response out while training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fractal.records import Response

__all__ = ["HeldOutIndex"]


@dataclass(frozen=True, eq=False)
class HeldOutIndex:
    """Which members held a response out while training, a bit a member, by the response's key."""

    keys: NDArray[np.uint64]  # sorted
    members: NDArray[np.uint64]

    @classmethod
    def of(cls, responses: Sequence[Response], weights: NDArray[np.float32]) -> HeldOutIndex:
        """Remember who held out what: weights (response, member) are 0 there."""
        bits = (weights == 0).astype(np.uint64)
        masks = (bits << np.arange(bits.shape[1], dtype=np.uint64)).sum(1, dtype=np.uint64)
        keys = _keys(responses)
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], masks[order])

    def knows(self, responses: Sequence[Response]) -> NDArray[np.bool_]:
        """Say which responses were trained on: (response,)."""
        keys = _keys(responses)
        return np.asarray(self.keys[self._places(keys)] == keys) if len(self.keys) else np.zeros(len(keys), dtype=bool)

    def seen_by_all(self, responses: Sequence[Response]) -> NDArray[np.bool_]:
        """Say which responses were trained on and held out by no member: (response,)."""
        seen = self.knows(responses)
        if seen.any():
            seen &= self.members[self._places(_keys(responses))] == 0
        return seen

    def weights(self, responses: Sequence[Response], members: int) -> NDArray[np.float32]:
        """Return who learned from each response: (response, member), 0 where it was held out, nan where it is new."""
        weights = np.full((len(responses), members), np.nan, np.float32)
        seen = self.knows(responses)
        masks = self.members[self._places(_keys(responses))[seen]] if seen.any() else self.members[:0]
        weights[seen] = 1 - ((masks[:, None] >> np.arange(members, dtype=np.uint64)) & np.uint64(1))
        return weights

    def shares(self, responses: Sequence[Response], members: int) -> NDArray[np.float32]:
        """Who may label each response, and by what share: the members that held it out, else all (response, member)."""
        held_out = np.zeros(len(responses), dtype=np.uint64)
        if len(self.keys):
            keys = _keys(responses)
            place = self._places(keys)
            held_out = np.where(self.keys[place] == keys, self.members[place], held_out)
        bits = (held_out[:, None] >> np.arange(members, dtype=np.uint64)) & np.uint64(1)
        bits = np.where(bits.any(1, keepdims=True), bits, np.uint64(1)).astype(np.float32)
        return np.asarray(bits / bits.sum(1, keepdims=True), dtype=np.float32)

    def _places(self, keys: NDArray[np.uint64]) -> NDArray[np.intp]:
        return np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)


def _keys(responses: Sequence[Response]) -> NDArray[np.uint64]:
    """Eight bytes that tell a response by its query and text: (response,)."""
    texts = (f"{response.query}\0{response.text}".encode("utf-8", "surrogatepass") for response in responses)
    return np.frombuffer(b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts), dtype=np.uint64)
