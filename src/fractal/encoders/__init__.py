"""Encoders: texts in, unit vectors out; and the cache that keeps what has been encoded."""

from fractal.encoders import hashing, minilm  # noqa: F401  (they register themselves)
from fractal.encoders.base import ENCODERS, Encoder, TokenVectors, Vectors

__all__ = ["ENCODERS", "Encoder", "TokenVectors", "Vectors"]
