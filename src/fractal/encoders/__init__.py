"""Encoders: texts in, unit vectors out; and the cache that keeps what has been encoded."""

from fractal.encoders import (  # noqa: F401  (they register themselves)
    hashing,
    minilm,
    precomputed,
    sentence_transformers,
    static,
    transformer,
)
from fractal.encoders.base import ENCODERS, Encoder, TokenVectors, Vectors
from fractal.encoders.cache import CacheInfo, EmbeddingCache, cached_encode, default_folder

ENCODERS.aliases |= {"fast": "static", "base": "minilm"}  # how large, for those who need not know what it is

__all__ = [
    "ENCODERS",
    "CacheInfo",
    "EmbeddingCache",
    "Encoder",
    "TokenVectors",
    "Vectors",
    "cached_encode",
    "default_folder",
]
