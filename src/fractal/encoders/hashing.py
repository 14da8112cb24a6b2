"""Vectors without weights, for tests and the smallest install: hashed words and character n-grams."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np

from fractal.encoders.base import ENCODERS, Encoder, Progress, TokenVectors, Vectors, unit_rows
from fractal.errors import BadSpec

__all__ = ["Hashing"]

_WORD = re.compile(r"\w+|[^\w\s]")
_GRAMS = (3, 4)  # characters in an n-gram, the word's ends marked
_WORD_WEIGHT = 2.0  # a word counts more than one of its n-grams, so that the same word is nearer than a similar one
_TEXTS_AT_ONCE = 1024


@ENCODERS.register("hashing")
@dataclasses.dataclass(frozen=True)
class Hashing(Encoder):
    """Hashed words and character n-grams: no weights, no meaning beyond shared spelling."""

    dim: int = 256

    def __post_init__(self) -> None:
        if not isinstance(self.dim, int) or not 8 <= self.dim <= 65_536:
            raise BadSpec(f"hashing(dim={self.dim!r}): give a whole number from 8 to 65536.")

    @property
    def fingerprint(self) -> str:
        return f"hashing-{self.dim}-words-ngrams{_GRAMS[0]}{_GRAMS[-1]}-float32"

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        return self.encode_tokens(texts, progress).pooled

    def encode_tokens(self, texts: Sequence[str], progress: Progress | None = None) -> TokenVectors:
        words: dict[str, int] = {}
        rows: list[int] = []  # (token,) which distinct word each token is
        offsets = np.zeros(len(texts) + 1, np.int64)
        for number, text in enumerate(texts, 1):
            rows.extend(words.setdefault(word, len(words)) for word in _WORD.findall(text.casefold()))
            offsets[number] = len(rows)
            if progress is not None and (number % _TEXTS_AT_ONCE == 0 or number == len(texts)):
                progress(number, len(texts))
        vectors = self._word_vectors(words)[np.asarray(rows, np.int64)]  # (token, dim)
        pooled = np.zeros((len(texts), self.dim), np.float32)
        full = np.flatnonzero(np.diff(offsets))
        if len(full):
            pooled[full] = np.add.reduceat(vectors, offsets[full], axis=0)
        return TokenVectors(vectors, offsets, unit_rows(pooled))

    def _word_vectors(self, words: Iterable[str]) -> Vectors:
        """Return one unit row a word: the sum of signed directions that its parts hash to."""
        parts = [list(_parts(word)) for word in words]
        out = np.zeros((len(parts), self.dim), np.float32)
        if not parts:
            return out
        hashed = np.array([_hash(part) for of_word in parts for part, _ in of_word], np.uint64)
        weights = np.array([weight for of_word in parts for _, weight in of_word], np.float32)
        row = np.repeat(np.arange(len(parts)), [len(of_word) for of_word in parts])
        sign = np.where(hashed >> np.uint64(63), np.float32(1), np.float32(-1))
        column = (hashed % np.uint64(self.dim)).astype(np.int64)
        np.add.at(out, (row, column), sign * weights)
        return unit_rows(out)


def _parts(word: str) -> Iterable[tuple[str, float]]:
    marked = f"<{word}>"
    yield marked, _WORD_WEIGHT
    for size in _GRAMS:
        for start in range(len(marked) - size + 1):
            if size < len(marked):
                yield marked[start : start + size], 1.0


def _hash(part: str) -> int:
    return int.from_bytes(hashlib.blake2b(part.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
