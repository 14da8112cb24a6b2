"""Scored sentences as labelled spans of text: what annotation tools take as suggestions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fractal.records import ScoredResponse

__all__ = ["LabelledSpan", "labelled_spans"]


class LabelledSpan(NamedTuple):
    """One sentence: its place in the response, the label that its score suggests, and how sure the score is of it."""

    number: int
    start: int
    end: int
    text: str
    label: str
    sureness: float


def labelled_spans(scored: ScoredResponse, threshold: float) -> Iterator[LabelledSpan]:
    """Yield every sentence as `bad` (a score below the threshold) or `good`."""
    for number, (sentence, score) in enumerate(zip(scored.response.sentences, scored.sentence_scores, strict=True)):
        bad = score < threshold
        yield LabelledSpan(
            number, sentence.start, sentence.end, sentence.text, "bad" if bad else "good", 1 - score if bad else score
        )
