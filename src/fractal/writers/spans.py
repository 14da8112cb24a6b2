"""Scored sentences as labelled spans of text, and the array of JSON in which annotation tools take them."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import IO, Any, ClassVar, NamedTuple

from fractal.errors import BadData
from fractal.records import ScoredResponse
from fractal.writers.base import Writer
from fractal.writers.jsonl import encoded
from fractal.writers.native import Writable


class LabelledSpan(NamedTuple):
    """One sentence: its place in the response, the label that its score suggests, and how sure the score is of it."""

    number: int
    start: int
    end: int
    text: str
    label: str
    sureness: float


@dataclasses.dataclass(frozen=True)
class Annotations(Writer):
    """One array of JSON with an object a scored response."""

    flags: ClassVar[bool] = True
    threshold: float = 0.5  # a sentence below it is suggested as bad
    only_bad: bool = False  # suggest nothing for the others

    @abstractmethod
    def task(self, scored: ScoredResponse) -> dict[str, Any]:
        """Return the object of one response."""

    def write_to(self, stream: IO[bytes], records: Iterable[Writable]) -> None:
        """Write the array, an object a line."""
        stream.write(b"[")
        for number, scored in enumerate(scored_only(records, self.name)):
            stream.write((b",\n" if number else b"\n") + encoded(self.task(scored)))
        stream.write(b"\n]\n")


def scored_only(records: Iterable[Writable], writer: str) -> Iterator[ScoredResponse]:
    """Refuse records without scores."""
    for record in records:
        if not isinstance(record, ScoredResponse):
            raise BadData(f"a {type(record).__name__} has no sentence scores for {writer}: score it first")
        yield record


def labelled_spans(scored: ScoredResponse, threshold: float, only_bad: bool = False) -> Iterator[LabelledSpan]:
    """Yield every sentence as `bad` (a score below the threshold) or `good`."""
    for number, (sentence, score) in enumerate(zip(scored.response.sentences, scored.sentence_scores, strict=True)):
        bad = score < threshold
        label, sureness = ("bad", 1 - score) if bad else ("good", score)
        if bad or not only_bad:
            yield LabelledSpan(number, sentence.start, sentence.end, sentence.text, label, sureness)
