"""Rival: what a way to sentence scores has that SentenceScorer is compared with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from fractal.embedding import embed
from fractal.encoded import EncodedBlock
from fractal.encoders import ENCODERS, EmbeddingCache
from fractal.records import Preference, Response, ScoredResponse

__all__ = ["Data", "Rival"]

Data = Sequence[Response | Preference]


@dataclass
class Rival(ABC):
    """Learns from responses with labels and scores the sentences of others, by the methods that SentenceScorer has."""

    name: ClassVar[str]

    aggregation: str = "auto"
    encoder: str = "minilm"
    seed: int = 0
    cache: str | bool = True

    @abstractmethod
    def fit(self, X: Data) -> Self:
        """Learn from rated responses."""

    @abstractmethod
    def score_responses(self, X: Iterable[Response]) -> list[ScoredResponse]:
        """Return a score for every sentence of new responses, and the response score that these imply."""

    def embedded(self, responses: Sequence[Response], *, late: bool = True) -> EncodedBlock:
        """Encode responses, through the cache where one is wanted."""
        return embed(responses, ENCODERS.build(self.encoder), EmbeddingCache.at(self.cache), late=late)
