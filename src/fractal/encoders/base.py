"""What an encoder is: texts in, unit vectors out; one vector a text and, when asked, one a token in the same pass."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.block import joined_offsets
from fractal.registry import Registry

__all__ = [
    "ENCODERS",
    "Encoder",
    "Offsets",
    "Progress",
    "TokenVectors",
    "Vectors",
    "joined_tokens",
    "tokens_in_lots",
    "unit_rows",
]

Vectors = NDArray[np.float32]
Offsets = NDArray[np.int64]
Progress = Callable[[int, int], None]  # texts done, texts in all


@dataclasses.dataclass(frozen=True, eq=False)
class TokenVectors:
    """Texts as the vectors of their tokens, beside the vector of each whole text."""

    vectors: Vectors  # (token, dim), unit rows; content tokens only: no marks of beginning, end or padding
    offsets: Offsets  # (text + 1,) where each text's tokens start; a text may have none
    pooled: Vectors  # (text, dim), the rows that `encode` gives


class Encoder(ABC):
    """Turns texts into unit vectors; a frozen dataclass whose weights are loaded on first use."""

    name: ClassVar[str]
    characters_at_once: ClassVar[int] = 200_000  # of text whose token vectors are held at once: about 50,000 tokens

    quick: ClassVar[bool] = False  # whether a text is encoded sooner than looked up in a cache

    @property
    @abstractmethod
    def dim(self) -> int:
        """How many components a vector has."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What the vectors depend on: name, weights, pooling and dtype, never the device or the batches."""

    @abstractmethod
    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Return one unit row a text, (text, dim) float32; the empty text is allowed."""

    @abstractmethod
    def encode_tokens(self, texts: Sequence[str], progress: Progress | None = None) -> TokenVectors:
        """Return the vectors of every text's tokens and of the whole texts, in one pass."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a saved scorer must carry, so that this encoder works where its source is not: mostly nothing."""
        return {}

    def with_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the same encoder with what a saved scorer carried, in place of its source."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Encoders travel and are copied as their options; loaded weights stay where they are."""
        options = dataclasses.fields(self)  # type: ignore[arg-type]
        return _rebuilt, (type(self), {option.name: getattr(self, option.name) for option in options})


ENCODERS: Registry[Encoder] = Registry("encoder")


def _rebuilt(kind: type[Encoder], options: dict[str, Any]) -> Encoder:
    return kind(**options)


def unit_rows(rows: NDArray[Any]) -> Vectors:
    """Return the rows at length one; a row of zeros, a text in which nothing is known, points evenly everywhere."""
    rows = np.asarray(rows, np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if rows.size and (empty := length[:, 0] == 0).any():
        rows = np.where(empty[:, None], np.float32(1), rows)
        length = np.where(empty[:, None], np.float32(np.sqrt(rows.shape[1])), length)
    return np.asarray(rows / length, np.float32)


def tokens_in_lots(
    texts: Sequence[str],
    tokens_of: Callable[[Sequence[str]], TokenVectors],
    dim: int,
    lot: int,
    progress: Progress | None = None,
) -> TokenVectors:
    """Return the tokens of all texts, `lot` texts at a time; progress is told after each lot."""
    parts = []
    for first in range(0, len(texts), lot):
        part = texts[first : first + lot]
        parts.append(tokens_of(part))
        if progress is not None:
            progress(first + len(part), len(texts))
    return joined_tokens(parts, dim)


def joined_tokens(parts: Sequence[TokenVectors], dim: int) -> TokenVectors:
    """Put the tokens of several lots of texts one after another; no lots are no texts."""
    if len(parts) == 1:
        return parts[0]
    nothing = np.zeros((0, dim), np.float32)
    return TokenVectors(
        np.concatenate([nothing, *(part.vectors for part in parts)]),
        joined_offsets([part.offsets for part in parts]),
        np.concatenate([nothing, *(part.pooled for part in parts)]),
    )
