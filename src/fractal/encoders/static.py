"""Static token vectors (model2vec): no network is run, a text is the mean of its tokens."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fractal.encoders.base import ENCODERS, Encoder, Progress, TokenVectors, Vectors, joined_tokens, unit_rows
from fractal.encoders.block import offsets_of
from fractal.errors import BadSpec, MissingExtra

__all__ = ["Static"]

TEXTS_AT_ONCE = 8_192


@ENCODERS.register("static")
@dataclasses.dataclass(frozen=True)
class Static(Encoder):
    """A model2vec model, by its folder or its name on the Hub: hundreds of times faster, blind to word order.

    Of a text the first 512 tokens are read.
    """

    model: str = "minishlab/potion-base-8M"

    @property
    def dim(self) -> int:
        return int(self._loaded.dim)

    @functools.cached_property
    def fingerprint(self) -> str:
        model, digest = self._loaded, hashlib.blake2b(digest_size=8)
        for part in (model.embedding, model.weights, model.token_mapping):
            if part is not None:
                digest.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        digest.update(model.tokenizer.to_str().encode())
        return f"static-{digest.hexdigest()}-mean-float32"

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        parts = [np.zeros((0, self.dim), np.float32)]
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            parts.append(self._tokens_of(texts[first : first + TEXTS_AT_ONCE]).pooled)
            if progress is not None:
                progress(min(first + TEXTS_AT_ONCE, len(texts)), len(texts))
        return np.concatenate(parts)

    def encode_tokens(self, texts: Sequence[str], progress: Progress | None = None) -> TokenVectors:
        parts = []
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            parts.append(self._tokens_of(texts[first : first + TEXTS_AT_ONCE]))
            if progress is not None:
                progress(min(first + TEXTS_AT_ONCE, len(texts)), len(texts))
        return joined_tokens(parts, self.dim)

    def _tokens_of(self, texts: Sequence[str]) -> TokenVectors:
        clean = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates are no text
        by_text = self._loaded.encode_as_sequence(clean, show_progress_bar=False, use_multiprocessing=False)
        tokens = np.concatenate([np.asarray(rows, np.float32).reshape(-1, self.dim) for rows in by_text])
        offsets = offsets_of([len(rows) for rows in by_text])
        pooled = np.zeros((len(texts), self.dim), np.float32)
        full = np.flatnonzero(np.diff(offsets))
        if len(full):
            pooled[full] = np.add.reduceat(tokens, offsets[full], axis=0)  # sums: their length does not matter
        return TokenVectors(unit_rows(tokens), offsets, unit_rows(pooled))

    @functools.cached_property
    def _loaded(self) -> Any:
        return _load(self.model)


@functools.lru_cache(maxsize=2)
def _load(model: str) -> Any:
    try:
        from model2vec import StaticModel
    except ImportError as error:
        raise MissingExtra("static", "encoders", "model2vec") from error
    try:
        return StaticModel.from_pretrained(Path(model) if Path(model).is_dir() else model, force_download=False)
    except Exception as error:  # the library raises whatever its parts raise
        why = str(error).strip().partition("\n")[0]
        raise BadSpec(
            f"static(model={model!r}) cannot be loaded ({type(error).__name__}: {why}). "
            "Give the folder of a saved model, or a name on the Hub while the Hub can be reached."
        ) from error
