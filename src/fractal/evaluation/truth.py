"""Scores met with labels that stand elsewhere: by id, and where sentences are cut otherwise, by their places."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from fractal.errors import BadData
from fractal.records import Response, ScoredResponse, Sentence

__all__ = ["MetTruth", "meet_truth"]

SHARED = 0.5  # of the shorter of two spans: so much must be common for the label of one to tell of the other


@dataclasses.dataclass(frozen=True)
class MetTruth:
    """Scores with the labels that were met, and how many could not be."""

    scored: list[ScoredResponse]
    without_id: int = 0  # scored responses that no labelled one has the id of
    other_text: int = 0  # whose texts differ, so that places mean nothing
    cut_otherwise: int = 0  # whose labels were carried over by character places

    def __str__(self) -> str:
        """Say what was left out or carried over; empty where all met as they were."""
        parts = [
            f"{self.without_id:,} scored responses left out: no labelled response has their id"
            if self.without_id
            else "",
            f"{self.other_text:,} left out: their text is not that of the labelled response" if self.other_text else "",
            f"{self.cut_otherwise:,} cut otherwise than the labelled ones: labels met by character places"
            if self.cut_otherwise
            else "",
        ]
        return "; ".join(part for part in parts if part)


def meet_truth(scored: Iterable[ScoredResponse], labelled: Iterable[object]) -> MetTruth:
    """Give scores the labels of the responses with the same ids; what cannot be met is left out and counted.

    Where the same text is cut otherwise, a scored sentence gets the worst label of the spans that share at least half
    of the shorter of the two (the best one, where scores were learned under a maximum).
    """
    by_id = {response.id: response for response in labelled if isinstance(response, Response)}
    met: list[ScoredResponse] = []
    without, other, cut = 0, 0, 0
    for item in scored:
        truth = by_id.get(item.response.id)
        if truth is None:
            without += 1
        elif _cut(truth) == _cut(item.response):
            met.append(_with(item, truth))
        elif truth.text == item.response.text:
            cut += 1
            met.append(_with(item, _carried(truth, item)))
        elif len(truth.sentences) == len(item.response.sentences) and _words(truth) == _words(item.response):
            met.append(_with(item, truth))
        else:
            other += 1
    if not met and without + other:
        reason = "has the id of a labelled one" if without >= other else "has the text of the labelled one"
        raise BadData(
            f"none of the {without + other:,} scored responses {reason}: give the labels of the same responses"
        )
    return MetTruth(met, without, other, cut)


def _with(item: ScoredResponse, truth: Response) -> ScoredResponse:
    """Return the scores with the labelled response; fields that only the scores carry stay."""
    extra = {**item.response.extra, **truth.extra}
    return dataclasses.replace(item, response=dataclasses.replace(truth, extra=extra))


def _cut(response: Response) -> list[tuple[str, int, int]]:
    return [(sentence.text, sentence.start, sentence.end) for sentence in response.sentences]


def _words(response: Response) -> list[list[str]]:
    return [sentence.text.split() for sentence in response.sentences]


def _carried(truth: Response, item: ScoredResponse) -> Response:
    """Return the labelled response cut as the scores are."""
    pick = max if getattr(item, "aggregation", "") == "max" else min
    sentences = []
    for sentence in item.response.sentences:
        labels = [
            span.label for span in truth.sentences if span.label is not None and _shared(span, sentence) >= SHARED
        ]
        sentences.append(dataclasses.replace(sentence, label=pick(labels) if labels else None))
    return dataclasses.replace(truth, sentences=tuple(sentences), columns={})


def _shared(one: Sentence, other: Sentence) -> float:
    """Return which part of the shorter of two spans the other covers."""
    common = min(one.end, other.end) - max(one.start, other.start)
    return max(common, 0) / max(min(one.end - one.start, other.end - other.start), 1)
