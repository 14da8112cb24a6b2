"""Plain texts with what they answer to → the response score, the sentence scores, and words on what is low."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from fractal.errors import BadData, UnknownName
from fractal.records import Response, ScoredResponse
from fractal.records.splitting import SPLITTERS
from fractal.scorers.inputs import passages_of, refuse_missing

__all__ = ["Answer", "Judgement", "ScoresResponses", "judge"]


class ScoresResponses(Protocol):
    """What the frameworks ask of a scorer; `SentenceScorer`, `AspectScorer` and `load_runtime` give one."""

    splitter: Any

    def score_responses(self, X: Sequence[Response], /) -> list[ScoredResponse]:
        """Return each response with a score for every sentence, one record an aspect."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """A text to score, with what it answers to."""

    text: str
    query: str = ""
    contexts: str | Sequence[str] | None = ()


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The score of a text and of each of its sentences."""

    score: float
    sentences: tuple[str, ...]
    sentence_scores: tuple[float, ...]
    threshold: float = 0.5

    @property
    def passing(self) -> bool:
        """Whether the response score reaches the threshold."""
        return self.score >= self.threshold

    @property
    def feedback(self) -> str:
        """Name the sentences below the threshold, the lowest first."""
        scored = zip(self.sentence_scores, self.sentences, strict=True)
        low = sorted((score, text) for score, text in scored if score < self.threshold)
        if not low:
            return f"every one of {len(self.sentences)} sentences reaches {self.threshold:g}"
        return "\n".join(f"{score:.2f}  {text}" for score, text in low)


def judge(
    scorer: ScoresResponses, answers: Sequence[Answer], *, threshold: float = 0.5, aspect: str = ""
) -> list[Judgement]:
    """Score texts; where the scorer learned with a query or a context and none of them has one, that is an error."""
    cut = SPLITTERS.build(scorer.splitter)
    responses = []
    for place, answer in enumerate(answers):
        if not (sentences := cut(answer.text)):
            raise BadData(
                f"text {place + 1} is {answer.text[:60]!r}: give texts of at least one word", field="response"
            )
        responses.append(
            Response(f"answer:{place}", sentences, answer.text, answer.query, passages_of(answer.contexts))
        )
    refuse_missing(getattr(scorer, "memory_", {}), responses)
    records = scorer.score_responses(responses)
    aspects = tuple(dict.fromkeys(record.aspect for record in records))
    wanted = aspect or (aspects[0] if len(aspects) == 1 else "")
    if records and wanted not in aspects:
        raise UnknownName("aspect", aspect, aspects)
    return [_judgement(record, threshold) for record in records if record.aspect == wanted]


def _judgement(record: ScoredResponse, threshold: float) -> Judgement:
    texts = tuple(sentence.text for sentence in record.response.sentences)
    return Judgement(record.response_score, texts, record.sentence_scores, threshold)
