"""Which sentences a person should label next, as lines to fill in, and the answers put back into the responses."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadData, BadSpec
from fractal.records import Response, ScoredResponse, check_label

if TYPE_CHECKING:
    from fractal.estimator import SentenceScorer

__all__ = ["Suggestion", "agreement", "apply_answers", "read_answers", "suggest_labels", "write_suggestions"]

Floats = NDArray[np.float64]

ROUNDS = 200  # in which sentences are chosen: few enough for many sentences, many enough to spread them


@dataclasses.dataclass(frozen=True, slots=True)
class Suggestion:
    """A sentence to label, with all that is needed to judge it; `label` is left to the annotator."""

    response_id: str
    sentence: int  # its place in the response, from 0
    text: str
    query: str = ""
    context: tuple[str, ...] = ()
    response: str = ""
    score: float | None = None
    value: float | None = None  # what a label is expected to teach, only to be compared
    annotator: str = ""
    label: float | None = None


def suggest_labels(
    scorer: SentenceScorer,
    responses: Sequence[Response],
    k: int,
    *,
    annotators: Sequence[str] = (),
    overlap: float = 0.0,
    diversity: float = 0.5,
    reading: float = 0.25,
) -> list[Suggestion]:
    """Choose the k unlabelled sentences whose labels should teach most, for one or several annotators.

    A label teaches where the response's own label leaves the sentence open, where heads disagree, and where the score
    contradicts what the response's label implies; less (`diversity`) where it is like one already chosen, and less
    (`reading`) where much has to be read for it. A share `overlap` of the sentences goes to a second annotator too.
    """
    if k < 1:
        raise BadSpec(f"k={k}: ask for at least one sentence")
    if not 0.0 <= overlap <= 1.0 or (overlap and len(annotators) < 2):
        raise BadSpec(f"overlap={overlap} with {len(annotators)} annotators: give a share in [0, 1], and two or more")
    pool = _Pool.of(scorer, responses)
    chosen = pool.chosen(k, diversity, reading)
    found = [pool.suggestion(row) for row in chosen]
    return _dealt(found, annotators, overlap) if annotators else found


@dataclasses.dataclass(frozen=True, eq=False)
class _Pool:
    """The sentences that may be asked about, one row each."""

    responses: Sequence[Response]
    bag: NDArray[np.int64]  # (row,) the response
    place: NDArray[np.int64]  # (row,) the place in it
    scores: Floats
    value: Floats  # what a label is expected to teach
    vectors: NDArray[np.float32]  # (row, dim) unit rows

    @classmethod
    def of(cls, scorer: SentenceScorer, responses: Sequence[Response]) -> _Pool:
        from fractal.embedding import embed
        from fractal.encoders import ENCODERS, EmbeddingCache

        scored, told = scorer.score_responses(responses), scorer.disaggregate(responses)
        cache, encoder = EmbeddingCache.at(scorer.cache), ENCODERS.build(scorer.encoder)
        vectors = embed(responses, encoder, cache, late=False).sentences
        unknown = np.array([s.label is None for r in responses for s in r.sentences], dtype=bool)
        sizes = [len(r.sentences) for r in responses]
        bag = np.repeat(np.arange(len(sizes)), sizes)
        place = np.concatenate([np.arange(size) for size in sizes]) if sizes else np.empty(0, dtype=np.int64)
        value = _teaching(scored, told)
        return cls(responses, bag[unknown], place[unknown], _flat(scored)[unknown], value[unknown], vectors[unknown])

    def chosen(self, k: int, diversity: float, reading: float) -> list[int]:
        """Choose rows greedily, the best first, each batch told of what was chosen before it."""
        k = min(k, len(self.value))
        words = np.array(
            [_words(self.responses[bag].sentences[place].text) for bag, place in zip(self.bag, self.place, strict=True)]
        )
        around = np.array([_words(r.query, *r.context, r.text) for r in self.responses], dtype=np.float64)
        nearest = np.zeros(len(self.value))
        opened = np.zeros(len(self.responses), dtype=bool)
        left = np.ones(len(self.value), dtype=bool)
        chosen: list[int] = []
        batch = max(1, math.ceil(k / ROUNDS))
        while len(chosen) < k:
            cost = words + np.where(opened, 0.0, around)[self.bag]
            gain = self.value * (1 - diversity * nearest) / np.maximum(cost, 1.0) ** reading
            gain = np.where(left, gain, -np.inf)
            best = np.argsort(-gain, kind="stable")[: min(batch, k - len(chosen))]
            chosen += best.tolist()
            left[best], opened[self.bag[best]] = False, True
            nearest = np.maximum(nearest, (self.vectors @ self.vectors[best].T).max(1).clip(0, 1))
        return chosen

    def suggestion(self, row: int) -> Suggestion:
        response, place = self.responses[self.bag[row]], int(self.place[row])
        return Suggestion(
            response.id,
            place,
            response.sentences[place].text,
            response.query,
            response.context,
            response.text,
            round(float(self.scores[row]), 4),
            round(float(self.value[row]), 4),
        )


def _flat(scored: Sequence[ScoredResponse]) -> Floats:
    return np.array([score for one in scored for score in one.sentence_scores], dtype=np.float64)


def _teaching(scored: Sequence[ScoredResponse], told: Sequence[ScoredResponse]) -> Floats:
    """What each label would teach: how open it is given the response's label, more where heads or labels disagree."""
    given, score = _flat(told), _flat(scored)
    spread = np.array([width for one in scored for width in one.sentence_spread or (0.0,) * len(one.sentence_scores)])
    sure = np.clip(given, 1e-6, 1 - 1e-6)
    openness = -(sure * np.log2(sure) + (1 - sure) * np.log2(1 - sure))
    return np.asarray(openness * (1 + 2 * spread + np.abs(score - given)))


def _words(*texts: str) -> int:
    return sum(text.count(" ") + 1 for text in texts if text)


def _dealt(found: Sequence[Suggestion], annotators: Sequence[str], overlap: float) -> list[Suggestion]:
    """Give each response to whoever has least to read; the first sentences, up to the overlap, to the next one too."""
    twice = {(one.response_id, one.sentence) for one in found[: round(overlap * len(found))]}
    by_response: dict[str, list[Suggestion]] = defaultdict(list)
    for one in found:
        by_response[one.response_id].append(one)
    load = dict.fromkeys(annotators, 0)
    dealt: list[Suggestion] = []
    for group in by_response.values():
        first, *others = sorted(load, key=lambda name: load[name])
        again = [one for one in group if (one.response_id, one.sentence) in twice]
        for name, part in [(first, group), *([(others[0], again)] if again else [])]:
            load[name] += _words(part[0].query, *part[0].context, part[0].response, *(one.text for one in part))
            dealt += [dataclasses.replace(one, annotator=name) for one in part]
    return dealt


def write_suggestions(suggestions: Iterable[Suggestion], path: str | Path) -> int:
    """Write a line of JSON for each, to be filled in at `label`; return how many."""
    lines = [json.dumps(dataclasses.asdict(one), ensure_ascii=False) + "\n" for one in suggestions]
    Path(path).write_text("".join(lines), encoding="utf-8")
    return len(lines)


def read_answers(path: str | Path) -> list[Suggestion]:
    """Read lines that annotators filled in; a line without a label is still open."""
    answers = []
    with Path(path).open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                answers.append(_answer(line, str(path), number))
    return answers


def _answer(line: str, source: str, number: int) -> Suggestion:
    try:
        fields: Any = json.loads(line)
        known = {field.name for field in dataclasses.fields(Suggestion)}
        given = {name: value for name, value in fields.items() if name in known}
        answer = Suggestion(**{**given, "context": tuple(given.get("context", ()))})
        if answer.label is not None:
            check_label(float(answer.label), "label")
        return answer
    except BadData as error:
        raise error.at(source, number) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise BadData(
            f"no answer can be read ({error}): keep the lines as they were written and fill in `label` with a number "
            "from 0, bad, to 1, good",
            source=source,
            line=number,
        ) from error


def apply_answers(responses: Sequence[Response], answers: Iterable[Suggestion]) -> list[Response]:
    """Return the responses with the labels that people gave to their sentences, the mean of several annotators."""
    given = _by_sentence(answers)
    places = {response.id: len(response.sentences) for response in responses}
    for name, place in given:
        if not 0 <= place < places.get(name, 0):
            raise BadData(f"an answer is about sentence {place} of {name!r}: there is none such in these responses")
    return [_labelled(response, given) for response in responses]


def agreement(answers: Iterable[Suggestion]) -> float:
    """Return the share of pairs of answers to the same sentence that say the same; nan where nobody met."""
    met = [
        (labels[i] > 0.5) == (labels[j] > 0.5)
        for labels in _by_sentence(answers).values()
        for i in range(len(labels))
        for j in range(i)
    ]
    return sum(met) / len(met) if met else math.nan


def _by_sentence(answers: Iterable[Suggestion]) -> dict[tuple[str, int], list[float]]:
    given: dict[tuple[str, int], list[float]] = defaultdict(list)
    for answer in answers:
        if answer.label is not None:
            given[answer.response_id, answer.sentence].append(float(answer.label))
    return given


def _labelled(response: Response, given: Mapping[tuple[str, int], Sequence[float]]) -> Response:
    if not any((response.id, place) in given for place in range(len(response.sentences))):
        return response
    told = [given.get((response.id, place)) for place in range(len(response.sentences))]
    sentences = tuple(
        dataclasses.replace(sentence, label=sum(labels) / len(labels)) if labels else sentence
        for sentence, labels in zip(response.sentences, told, strict=True)
    )
    return dataclasses.replace(response, sentences=sentences)
