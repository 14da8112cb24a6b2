"""Scores met with labels that stand elsewhere: by id, and where sentences are cut otherwise, by their places."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import accumulate

from fractal.errors import BadData
from fractal.records import Response, ScoredResponse

__all__ = ["MetTruth", "meet_truth"]

SHARED = 0.5  # of the shorter of two spans: so much must be common for the label of one to tell of the other


@dataclasses.dataclass(frozen=True)
class MetTruth:
    """Scores with the labels that were met, and how many could not be."""

    scored: list[ScoredResponse]
    without_id: int = 0  # scored responses that no labelled one has the id of
    other_text: int = 0  # whose texts differ, so that places mean nothing
    cut_otherwise: int = 0  # whose labels were carried over by character places
    uncovered: int = 0  # sentences of these that no labelled span covers
    unmet_spans: int = 0  # labelled spans of these that fit no sentence
    twice: int = 0  # labelled responses whose id stands again further down: the last one counts

    def __str__(self) -> str:
        """Say what was left out or carried over; empty where all met as they were."""
        said = {
            "scored responses left out: no labelled response has their id": self.without_id,
            "left out: their text is not that of the labelled response": self.other_text,
            "cut otherwise than the labelled ones: labels met by character places": self.cut_otherwise,
            "sentences of these stay without a label: no labelled span covers them": self.uncovered,
            "labelled spans of these left out: no sentence takes up half of them": self.unmet_spans,
            "labelled responses left out: another one with their id comes later": self.twice,
        }
        return "; ".join(f"{count:,} {what}" for what, count in said.items() if count)


def meet_truth(scored: Iterable[ScoredResponse], labelled: Iterable[object]) -> MetTruth:
    """Give scores the labels of the responses with the same ids; what cannot be met is left out and counted.

    Where the same text is cut otherwise, a scored sentence gets the worst label of the spans that share at least half
    of the shorter of the two (the best one, where scores were learned under a maximum). Texts are the same where they
    differ in blanks alone: places are counted in the characters that are none.
    """
    responses = [response for response in labelled if isinstance(response, Response)]
    by_id = {response.id: response for response in responses}
    met: list[ScoredResponse] = []
    without, other, cut, uncovered, unmet = 0, 0, 0, 0, 0
    for item in scored:
        truth = by_id.get(item.response.id)
        if truth is None:
            without += 1
        elif _cut(truth) == _cut(item.response):
            met.append(_with(item, truth))
        elif _inked(truth.text) != _inked(item.response.text):
            other += 1
        elif _words(truth) == _words(item.response):
            met.append(_with(item, truth))
        else:
            carried, spans = _carried(truth, item)
            cut, unmet = cut + 1, unmet + spans
            uncovered += sum(label is None for label in carried.sentence_labels)
            met.append(_with(item, carried))
    if not met and without + other:
        reason = "has the id of a labelled one" if without >= other else "has the text of the labelled one"
        raise BadData(
            f"none of the {without + other:,} scored responses {reason}: give the labels of the same responses"
        )
    return MetTruth(met, without, other, cut, uncovered, unmet, len(responses) - len(by_id))


def _with(item: ScoredResponse, truth: Response) -> ScoredResponse:
    """Return the scores with the labelled response; fields that only the scores carry stay."""
    extra = {**item.response.extra, **truth.extra}
    return dataclasses.replace(item, response=dataclasses.replace(truth, extra=extra))


def _cut(response: Response) -> list[tuple[str, int, int]]:
    return [(sentence.text, sentence.start, sentence.end) for sentence in response.sentences]


def _words(response: Response) -> list[list[str]]:
    return [sentence.text.split() for sentence in response.sentences]


def _inked(text: str) -> str:
    """Return the characters of a text that are no blanks."""
    return "".join(text.split())


def _places(response: Response) -> list[tuple[int, int]]:
    """Return where each sentence stands among the characters that are no blanks."""
    before = [0, *accumulate(not character.isspace() for character in response.text)]
    return [(before[sentence.start], before[sentence.end]) for sentence in response.sentences]


def _carried(truth: Response, item: ScoredResponse) -> tuple[Response, int]:
    """Return the labelled response cut as the scores are, and how many labelled spans fit no sentence."""
    pick = max if item.aggregation == "max" else min
    spans = [
        (place, sentence.label)
        for place, sentence in zip(_places(truth), truth.sentences, strict=True)
        if sentence.label is not None
    ]
    taken: set[tuple[int, int]] = set()
    sentences = []
    for place, sentence in zip(_places(item.response), item.response.sentences, strict=True):
        near = [(span, label) for span, label in spans if _shared(span, place) >= SHARED]
        taken.update(span for span, _ in near)
        label = pick(label for _, label in near) if near else None
        sentences.append(dataclasses.replace(sentence, label=label))
    carried = dataclasses.replace(truth, text=item.response.text, sentences=tuple(sentences), columns={})
    return carried, sum(span not in taken for span, _ in spans)


def _shared(one: tuple[int, int], other: tuple[int, int]) -> float:
    """Return which part of the shorter of two spans the other covers."""
    common = min(one[1], other[1]) - max(one[0], other[0])
    return max(common, 0) / max(min(one[1] - one[0], other[1] - other[0]), 1)
