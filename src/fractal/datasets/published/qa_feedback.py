"""QA-Feedback: four sampled answers to a question, ranked pair by pair, the first with marked errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import PurePath
from typing import Any

from fractal.datasets.published.common import Span, chosen, field, files_in, json_document, overlaps, text_places
from fractal.errors import BadData, BadSpec
from fractal.readers.base import READERS, Reader
from fractal.readers.session import ReadSession, Record
from fractal.readers.sources import BadRow, Row
from fractal.records import Preference, Response, Sentence

ERRORS: Mapping[str, tuple[str, ...]] = {
    "relevance": ("Irrelevant", "Redundant", "Incoherent"),
    "facts": ("Wrong-Grounding", "Unverifiable"),
}
NAMES = [*ERRORS, *(name for names in ERRORS.values() for name in names)]
PAIRS = tuple(combinations(range(1, 5), 2))
FORMS = ("preferences", "answers", "both")


@READERS.register("qa_feedback")
@dataclasses.dataclass(frozen=True)
class QAFeedback(Reader):
    """QA-Feedback's train_feedback.json and dev_feedback.json: preferences, and marked errors in answer 1.

    - Source: the repository of "Fine-Grained Human Feedback Gives Better Rewards for Language Model Training" (2023),
      `train_feedback.json` and `dev_feedback.json`. Licence: Apache-2.0.
    - Task: long answers with passages. Aggregation: mean; sentence labels are 0 where a marked error lies, else 1.
    - Split by group: the question.
    - Traps: errors are marked in answer 1 alone. A missing piece of information is an error that lies in no sentence
      (`extra["missing_info"]` counts them). Two answers can be the same text and still be ranked: such pairs say
      nothing and are left out, and counted. The official preferences are 1, 2 and, for a tie, 0. Whether the facts of
      a sentence are right was not asked where it is marked as irrelevant, redundant or incoherent: of `errors="facts"`
      such sentences have no label, as their owners ignore them, and are counted.
    """

    give: str = "preferences"  # or "answers": answer 1 with its sentence labels and their mean; or "both"
    errors: str = "all"  # which spoil a sentence: relevance, facts, or names such as "Irrelevant+Redundant"
    ties: str = "keep"  # or "drop", as the paper does
    offsets: str = "characters"  # or "utf16", where a browser has counted

    def __post_init__(self) -> None:
        chosen(self.give, FORMS, "give")
        chosen(self.ties, ("keep", "drop"), "ties")
        chosen(self.offsets, ("characters", "utf16"), "offsets")
        for name in () if self.errors == "all" else self.errors.split("+"):
            if name not in NAMES:
                raise BadSpec(f"errors={self.errors!r}: choose 'all' or some of {', '.join(NAMES)}, joined by +.")

    def counts(self, error_type: str) -> bool:
        """Whether an error of this type spoils the sentences that it touches."""
        if self.errors == "all":
            return True
        return any(error_type in ERRORS.get(name, (name,)) for name in self.errors.split("+"))

    def ignores(self, error_type: str) -> bool:
        """Whether an error of this type leaves open how the sentences that it touches would have been judged."""
        facts = any(self.counts(name) for name in ERRORS["facts"])
        return facts and not self.counts(error_type) and error_type in ERRORS["relevance"]

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the questions."""
        for file in files_in(source, ("*_feedback.json",), "feedback"):
            listed = json_document(file)
            if not isinstance(listed, list):
                raise BadData("the official file is a list of questions", source=str(file))
            for number, row in enumerate(listed, 1):
                stem = PurePath(getattr(file, "name", str(file))).stem
                if isinstance(row, dict):
                    yield Row(number, {**row, "id": f"{stem}-{number}"})
                else:
                    yield BadRow(number, BadData("the official file is a list of objects"))

    def records(self, source: Any, session: ReadSession) -> Iterator[Record]:
        """Yield each question's pairs of answers, or its first answer."""
        same = ignored = 0

        def schema(row: Mapping[str, Any], session: ReadSession, line: int) -> Iterable[Record]:
            nonlocal same, ignored
            answers = self._answers(row, session)
            ignored += int(answers[0].extra.get("ignored_sentences", 0))
            results, left_out = self._question(row, answers)
            same += left_out
            return results

        for row in self.rows(source):
            yield from session.accept(row, schema)
        if same:
            session.report.note(f"left out {same:,} pairs of answers with the same words")
        if ignored:
            session.report.note(
                f"{ignored:,} sentences with a relevance mark have no label, as their facts were not judged"
            )

    def _question(self, row: Mapping[str, Any], answers: list[Response]) -> tuple[list[Record], int]:
        results: list[Record] = []
        if self.give != "preferences":
            results.append(_rated(answers[0]))
        pairs, same = ([], 0) if self.give == "answers" else self._pairs(row, answers)
        return results + pairs, same

    def _answers(self, row: Mapping[str, Any], session: ReadSession) -> list[Response]:
        question = field(row, "question", str)
        context = tuple(filter(None, map(_passage, field(row, "passages", list, []))))
        feedback = field(row, "feedback", dict, {})
        answers = []
        for number in range(1, 5 if self.give != "answers" else 2):
            name = f"prediction {number}"
            text = field(row, name, str)
            sentences = session.split(text)
            if not sentences:
                raise BadData("the answer is empty", field=name)
            extra: dict[str, Any] = {"aggregation": "mean"}
            if number == 1 and feedback:
                sentences, ignored = self._labelled(text, sentences, field(feedback, "errors", list, []))
                if ignored:
                    extra["ignored_sentences"] = ignored
                extra["missing_info"] = len(field(feedback, "missing-info", list, []))
            answers.append(
                Response(f"{row['id']}/{number}", sentences, text, question, context, group=question, extra=extra)
            )
        return answers

    def _labelled(
        self, text: str, sentences: tuple[Sentence, ...], errors: list[Any]
    ) -> tuple[tuple[Sentence, ...], int]:
        """Label 0 what an error touches; an error without a place leaves all else unknown. Count what is ignored."""
        places = text_places(text, self.offsets)
        spans: list[Span] = []
        ignored: list[Span] = []
        rest: float | None = 1.0
        for error in errors:
            kind = field(error, "error type", str)
            if not (self.counts(kind) or self.ignores(kind)):
                continue
            start, end = error.get("start"), error.get("end")
            if not isinstance(start, int) or not isinstance(end, int) or start > end:
                rest = None
            else:
                last = len(places) - 1
                span = places[min(max(start, 0), last)], places[min(max(end, 0), last)]
                (spans if self.counts(kind) else ignored).append(span)
        labels: list[float | None] = []
        for sentence in sentences:
            wrong = any(overlaps(text, sentence, span) for span in spans)
            open_ = any(overlaps(text, sentence, span) for span in ignored)
            labels.append(None if open_ else 0.0 if wrong else rest)
        parts = zip(sentences, labels, strict=True)
        labelled = tuple(dataclasses.replace(sentence, label=label) for sentence, label in parts)
        return labelled, labels.count(None) if ignored and rest is not None else 0

    def _pairs(self, row: Mapping[str, Any], answers: list[Response]) -> tuple[list[Record], int]:
        preferences = field(row, "preference", list)
        if len(preferences) != len(PAIRS):
            raise BadData(f"{len(preferences)} preferences: four answers have six pairs", field="preference")
        pairs: list[Record] = []
        same = 0
        for (first, second), preferred in zip(PAIRS, preferences, strict=True):
            if preferred not in (0, 1, 2):
                raise BadData(f"found {preferred!r}: a preference is 1, 2 or, for a tie, 0", field="preference")
            if preferred == 0 and self.ties == "drop":
                continue
            better, worse = answers[first - 1], answers[second - 1]
            if better.text == worse.text:
                same += 1
                continue
            if preferred == 2:
                better, worse = worse, better
            pairs.append(Preference(better, worse, tie=preferred == 0, id=f"{row['id']}/{first}-{second}"))
        return pairs, same


def _rated(answer: Response) -> Response:
    labels = [label for label in answer.sentence_labels if label is not None]
    label = sum(labels) / len(labels) if len(labels) == len(answer.sentences) else None
    return dataclasses.replace(answer, label=label)


def _passage(passage: Any) -> str:
    """Return a passage's sentences behind its title; nothing where it has a title alone."""
    if isinstance(passage, str):
        return passage.strip()
    if not isinstance(passage, list) or not all(isinstance(part, str) for part in passage):
        raise BadData(f"found {repr(passage)[:60]}: a passage is a list, its title and its sentences", field="passages")
    title, text = (passage[0].strip(), " ".join(passage[1:]).strip()) if passage else ("", "")
    if not text:
        return ""
    return text if text.startswith(title) else f"{title}\n\n{text}"
