"""MultiSpanQA: a question, a paragraph as tokens, and the spans of it that answer the question."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from random import Random
from typing import Any

from fractal.datasets.published.common import field, files_in, json_document
from fractal.errors import BadData, BadSpec
from fractal.readers.base import READERS, Reader
from fractal.readers.session import ReadSession, Record
from fractal.readers.sources import BadRow, Row, name_of
from fractal.records import Response, Sentence

GLUED = {",", ".", ";", ":", "?", "!", ")", "]", "}", "%", "'s", "n't", "''", "'re", "'ve", "'ll", "'d", "'m"}
OPENING = {"(", "[", "{", "``", "$", "#"}
MARKS = {"O", "B", "I"}


@READERS.register("multispanqa")
@dataclasses.dataclass(frozen=True)
class MultiSpanQA(Reader):
    """MultiSpanQA's train.json and valid.json: sentences that hold an answer, and runs of sentences without one.

    - Source: the repository `haonan-li/MultiSpanQA` (NAACL 2022), `train.json` and `valid.json` of either folder (with
      or without unanswerable questions). Licence: none stated; texts from Wikipedia and Natural Questions.
    - Task: retrieval. Aggregation: max; a sentence with a token of an answer (B or I) is 1.
    - Split by group: the question's id.
    - Traps: every paragraph of the plain set holds an answer, so bags without one have to be cut out of paragraphs. The
      labels of test.json are kept back. The original scripts draw those bags with replacement and leave a positive
      sentence at their edge; here they are drawn without, by a seed, and end before the answer.
    """

    negatives: float = 0.5  # share of the questions whose bag is cut down to the longest run without an answer
    window: int = 0  # instead: cut every paragraph into bags of so many sentences
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.negatives <= 1:
            raise BadSpec(f"negatives={self.negatives}: give a share between 0 and 1.")
        if self.window < 0:
            raise BadSpec(f"window={self.window}: give the number of sentences in a bag, 0 for whole paragraphs.")

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the questions, a share of them marked as negatives."""
        for file in files_in(source, ("train.json", "valid.json"), "questions"):
            document = json_document(file)
            listed = document.get("data") if isinstance(document, dict) else None
            if not isinstance(listed, list):
                raise BadData("the official file is an object with a list 'data'", source=name_of(file))
            share = 0 if self.window else self.negatives
            negative = set(Random(self.seed).sample(range(len(listed)), round(share * len(listed))))
            for number, row in enumerate(listed):
                if isinstance(row, dict):
                    yield Row(number + 1, {**row, "negative": number in negative})
                else:
                    yield BadRow(number + 1, BadData("a question is an object"))

    def records(self, source: Any, session: ReadSession) -> Iterator[Record]:
        """Yield the bags of every question."""
        for row in self.rows(source):
            yield from session.accept(row, self._question)

    def _question(self, row: Mapping[str, Any], session: ReadSession, line: int) -> Iterable[Record]:
        id = field(row, "id", str)
        question = field(row, "question", list)
        text, sentences = _labelled(field(row, "context", list), row.get("label"), session)
        for name, run in self._bags(sentences, row["negative"]):
            yield _bag(f"{id}{name}", text, run, " ".join(map(str, question)), id)

    def _bags(self, sentences: Sequence[Sentence], negative: bool) -> list[tuple[str, Sequence[Sentence]]]:
        if self.window:
            starts = range(0, len(sentences), self.window)
            return [(f"/{number}", sentences[start : start + self.window]) for number, start in enumerate(starts)]
        free = [list(run) for label, run in groupby(sentences, key=lambda sentence: sentence.label) if label == 0.0]
        if negative and free:
            return [("", max(free, key=len))]
        return [("", sentences)]


def _labelled(tokens: list[Any], marks: Any, session: ReadSession) -> tuple[str, Sequence[Sentence]]:
    """Join the tokens to readable text, cut it, and give each sentence the marks of its own tokens."""
    if not tokens or not all(isinstance(token, str) for token in tokens):
        raise BadData("a paragraph is a list of tokens, at least one", field="context")
    if marks is not None and (
        not isinstance(marks, list) or len(marks) != len(tokens) or not all(map(_is_mark, marks))
    ):
        raise BadData(f"give one of B, I and O for each of the {len(tokens)} tokens", field="label")
    text, places = _detokenised(tokens)
    sentences = session.split(text)
    if not sentences:
        raise BadData("the paragraph is empty", field="context")
    if marks is None:
        return text, sentences
    answers = [place for place, mark in zip(places, marks, strict=True) if mark != "O"]
    return text, [
        dataclasses.replace(s, label=float(any(s.start < end and start < s.end for start, end in answers)))
        for s in sentences
    ]


def _is_mark(mark: Any) -> bool:
    return isinstance(mark, str) and mark in MARKS


def _detokenised(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Return the text and where each token stands in it."""
    text, places, glue = "", [], True
    for token in tokens:
        if not glue and token not in GLUED:
            text += " "
        written = '"' if token in ("``", "''") else token
        places.append((len(text), len(text) + len(written)))
        text += written
        glue = token in OPENING
    return text, places


def _bag(id: str, text: str, run: Sequence[Sentence], question: str, group: str) -> Response:
    first = run[0].start
    parts = tuple(
        dataclasses.replace(sentence, start=sentence.start - first, end=sentence.end - first) for sentence in run
    )
    labels = [sentence.label for sentence in run]
    label = None if any(value is None for value in labels) else max(value for value in labels if value is not None)
    return Response(
        id, parts, text[first : run[-1].end], question, label=label, group=group, extra={"aggregation": "max"}
    )
