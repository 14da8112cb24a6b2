"""Static token vectors: no network is run, a text is the weighted mean of its tokens."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.base import ENCODERS, Encoder, Progress, TokenVectors, Vectors, joined_tokens, unit_rows
from fractal.encoders.distillation import digest_of, distilled
from fractal.encoders.wordpieces import Tokeniser
from fractal.errors import BadSpec, MissingExtra

__all__ = ["Static", "TokenTable"]

Indices = NDArray[np.int64]

TEXTS_AT_ONCE = 8_192  # between two reports of progress
TEXTS_ADDED_AT_ONCE = 16  # whose token vectors stay in the processor's cache while they are added up


@dataclasses.dataclass(frozen=True, eq=False)
class TokenTable:
    """A vector for every token, its length the token's weight in a text; and the tokenizer."""

    arrays: Mapping[str, NDArray[Any]]  # `vectors` (token, dim), and `tokenizer`, its JSON as bytes
    _meeting: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False)

    @property
    def dim(self) -> int:
        """How many components a vector has."""
        return int(self.arrays["vectors"].shape[1])

    @functools.cached_property
    def unit(self) -> Vectors:
        """The vectors at length one: (token, dim), of the tokens that were met."""
        return np.empty(self.arrays["vectors"].shape, np.float32)

    @functools.cached_property
    def weighted(self) -> Vectors:
        """The vectors at length one times their weight, which are added up: (token, dim); of tokens that were met."""
        return np.empty_like(self.unit)

    @functools.cached_property
    def _met(self) -> NDArray[np.bool_]:
        return np.zeros(len(self.unit), bool)

    def meet(self, tokens: Indices) -> None:
        """Work out the rows of tokens that were not met before; all others take neither time nor memory."""
        with self._meeting:
            fresh = np.unique(tokens[~self._met[tokens]])
            if len(fresh):
                vectors = np.asarray(self.arrays["vectors"][fresh], np.float32)
                unit = self.unit[fresh] = unit_rows(vectors)
                self.weighted[fresh] = unit * np.linalg.norm(vectors, axis=1, keepdims=True)
                self._met[fresh] = True

    @functools.cached_property
    def tokeniser(self) -> Tokeniser:
        """What cuts texts into tokens."""
        return Tokeniser(self.arrays["tokenizer"].tobytes().decode())

    @functools.cached_property
    def digest(self) -> str:
        """A hash of all that vectors of texts depend on."""
        return digest_of(dict(self.arrays))[:16]


@ENCODERS.register("static")
@dataclasses.dataclass(frozen=True)
class Static(Encoder):
    """Token vectors without a network, distilled from minilm: about a hundred times faster, blind to word order.

    They are made on first use, which takes about a minute, and kept in the cache's folder. `model` names a model2vec
    model instead, by its folder or its name on the Hub. Of a text the first 512 tokens are read.
    """

    characters_at_once: ClassVar[int] = 50_000  # fresh memory costs more than the vectors that are written to it

    quick: ClassVar[bool] = True

    model: str = ""

    @property
    def dim(self) -> int:
        return self._table.dim

    @functools.cached_property
    def fingerprint(self) -> str:
        return f"static-{self._table.digest}-mean-float32"

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        parts = [np.zeros((0, self.dim), np.float32)]
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            parts.append(self._pooled(*self._table.tokeniser(texts[first : first + TEXTS_AT_ONCE])))
            if progress is not None:
                progress(min(first + TEXTS_AT_ONCE, len(texts)), len(texts))
        return np.concatenate(parts)

    def encode_tokens(self, texts: Sequence[str], progress: Progress | None = None) -> TokenVectors:
        parts = []
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            ids, offsets = self._table.tokeniser(texts[first : first + TEXTS_AT_ONCE])
            vectors = np.empty((len(ids), self.dim), np.float32)
            parts.append(TokenVectors(vectors, offsets, self._pooled(ids, offsets, vectors)))
            if progress is not None:
                progress(min(first + TEXTS_AT_ONCE, len(texts)), len(texts))
        return joined_tokens(parts, self.dim)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return dict(self._table.arrays)

    def with_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Self:
        carrier = type(self)(self.model)
        carrier.__dict__["_carried"] = TokenTable(dict(arrays))
        return carrier

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel by name; what was carried in by a scorer travels along, as it may be nowhere else."""
        carried = self.__dict__.get("_carried")
        return (_carried, (self.model, dict(carried.arrays))) if carried is not None else super().__reduce__()

    def _pooled(self, ids: Indices, offsets: Indices, vectors: Vectors | None = None) -> Vectors:
        """Return the texts' rows; the tokens' own go into `vectors` on the way, where they are wanted."""
        table = self._table
        table.meet(ids)
        pooled = np.zeros((len(offsets) - 1, self.dim), np.float32)
        for first in range(0, len(pooled), TEXTS_ADDED_AT_ONCE):
            bounds = offsets[first : first + TEXTS_ADDED_AT_ONCE + 1]
            tokens = ids[bounds[0] : bounds[-1]]
            if vectors is not None:  # the mode is the one that writes without a copy
                np.take(table.unit, tokens, axis=0, out=vectors[bounds[0] : bounds[-1]], mode="clip")
            rows = table.weighted[tokens]  # (token, dim)
            full = np.flatnonzero(np.diff(bounds))
            if len(full):  # sums: their length does not matter
                pooled[first + full] = np.add.reduceat(rows, bounds[full] - bounds[0], axis=0)
        return unit_rows(pooled)

    @functools.cached_property
    def _table(self) -> TokenTable:
        carried: TokenTable | None = self.__dict__.get("_carried")
        return carried or _load(self.model)


def _carried(model: str, arrays: Mapping[str, NDArray[Any]]) -> Static:
    return Static(model).with_arrays(arrays)


@functools.lru_cache(maxsize=2)
def _load(model: str) -> TokenTable:
    """Return the table of a model, shared by all encoders of this name."""
    return TokenTable(_model2vec(model) if model else distilled())


def _model2vec(model: str) -> dict[str, NDArray[Any]]:
    try:
        from model2vec import StaticModel
    except ImportError as error:
        raise MissingExtra("static", "encoders", "model2vec") from error
    try:
        loaded = StaticModel.from_pretrained(Path(model) if Path(model).is_dir() else model, force_download=False)
    except Exception as error:  # the library raises whatever its parts raise
        why = str(error).strip().partition("\n")[0]
        raise BadSpec(
            f"static(model={model!r}) cannot be loaded ({type(error).__name__}: {why}). "
            "Give the folder of a saved model, or a name on the Hub while the Hub can be reached."
        ) from error
    vectors = np.asarray(loaded.embedding, np.float32)
    if loaded.token_mapping is not None:
        vectors = vectors[loaded.token_mapping]
    if loaded.weights is not None:
        vectors = vectors * np.asarray(loaded.weights, np.float32)[:, None]
    return {"vectors": vectors, "tokenizer": np.frombuffer(loaded.tokenizer.to_str().encode(), np.uint8)}
