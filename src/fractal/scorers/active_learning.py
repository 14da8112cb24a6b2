"""What people should be asked next, as lines to fill in, and the answers put back into the responses."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadData, BadSpec
from fractal.readers.labels import read_label
from fractal.readers.sniffing import guess_reader
from fractal.readers.sources import BadRow
from fractal.records import Response, ScoredResponse, check_label
from fractal.scorers.asking import (
    KINDS,
    LABEL,
    OPINION,
    RATING,
    expected_fall,
    labelled_chances,
    rating_falls,
    refuse_kinds,
)

if TYPE_CHECKING:
    from fractal.scorers.sentence import SentenceScorer

Floats = NDArray[np.float64]

TABLES = {".csv": ",", ".tsv": "\t"}
ROUNDS = 100  # in which sentences are drawn: each round knows what the labels of those before it would tell
DIRECTIONS = 64  # of sentence vectors, in which labels tell something
PRIOR = 4.0  # how far log-odds may be from even before anything is told: their variance
WHOLE = -1  # in place of a sentence's: the response as a whole
IMPLIED = 1e-9  # what is left of the worth of a label that the response's label implies


@dataclasses.dataclass(frozen=True, slots=True)
class Suggestion:
    """A sentence to label, with all that is needed to judge it; `label` is left to the annotator.

    Of the kind "opinion" it has a label already, and of the kind "rating" the response is asked about as a whole.
    """

    response_id: str
    sentence: int  # its place in the response, from 0; −1: the whole response
    text: str
    query: str = ""
    context: tuple[str, ...] = ()
    response: str = ""
    score: float | None = None
    value: float | None = None  # how open the response's label leaves it: from 0, implied, to 0.25, even odds
    kind: str = LABEL
    annotator: str = ""
    label: float | None = None  # the last column of a table


def suggest_labels(
    scorer: SentenceScorer,
    responses: Sequence[Response],
    k: int,
    *,
    annotators: Sequence[str] = (),
    overlap: float = 0.0,
    diversity: float = 1.0,
    reading: float = 0.25,
    seed: int = 0,
    kinds: Sequence[str] = (LABEL,),
    reliability: float = 1.0,
) -> list[Suggestion]:
    """Choose k questions whose answers should teach much, for one or several annotators: labels of sentences.

    A label teaches as much as the response's own label leaves open, where it tells of many other sentences too, and
    less (`diversity`) where labels have told already. Sentences are drawn in proportion to that, by `seed`: the top
    would be all odd ones. Those with much to read for them are drawn less (`reading`). A share `overlap` of the
    sentences goes to a second annotator too.

    With several `kinds` it is chosen between new labels, second opinions ("opinion") on labels that are there, and
    ratings of whole responses ("rating") by the same measure: what the answer would settle, if it is right with the
    probability `reliability`, by the words to be read for it (`reading=1` is worth per word).
    """
    if k < 1:
        raise BadSpec(f"k={k}: ask for at least one sentence")
    if not 0.0 <= diversity <= 1.0:
        raise BadSpec(f"diversity={diversity}: give a share in [0, 1]")
    if not 0.0 <= overlap <= 1.0 or (overlap and len(annotators) < 2):
        raise BadSpec(f"overlap={overlap} with {len(annotators)} annotators: give a share in [0, 1], and two or more")
    refuse_kinds(kinds, reliability, scorer.direction_)
    if not responses:
        return []
    pool = _Pool.of(scorer, responses, kinds, reliability)
    suggestions = [pool.suggestion(row) for row in pool.drawn(k, diversity, reading, seed)]
    return _dealt(suggestions, annotators, overlap) if annotators else suggestions


@dataclasses.dataclass(frozen=True, eq=False)
class _Pool:
    """All sentences, one row each: those that may be asked about, and those whose labels tell already."""

    responses: Sequence[Response]
    bag: NDArray[np.int64]  # (row,) the response
    place: NDArray[np.int64]  # (row,) the place in it
    scores: Floats
    open: Floats  # (row,) the variance that the response's label leaves to the sentence's; 0 where that is known
    settles: Floats  # (row,) how much of that an answer takes away
    asked: NDArray[np.bool_]  # (row,) whether it may be asked about
    unknown: NDArray[np.bool_]
    directions: Floats  # (row, direction)
    by_rating: Floats | None = None  # (row,) how much a rating of its response would settle; None: not asked for

    @classmethod
    def of(
        cls,
        scorer: SentenceScorer,
        responses: Sequence[Response],
        kinds: Sequence[str] = (LABEL,),
        reliability: float = 1.0,
    ) -> _Pool:
        from fractal.encoders import ENCODERS, EmbeddingCache
        from fractal.encoders.embedding import embed

        scores, posteriors = _flat(scorer.score_responses(responses)), _flat(scorer.disaggregate(responses))
        cache, encoder = EmbeddingCache.at(scorer.cache), ENCODERS.build(scorer.encoder)
        vectors = embed(responses, encoder, cache, late=False).sentences
        unknown = np.array([s.label is None for r in responses for s in r.sentences], dtype=bool)
        sizes = [len(r.sentences) for r in responses]
        bag = np.repeat(np.arange(len(sizes)), sizes)
        place = np.concatenate([np.arange(size) for size in sizes])
        if OPINION in kinds:
            posteriors = np.where(unknown, posteriors, labelled_chances(scorer, responses, reliability))
        doubted = unknown | (OPINION in kinds)
        asked = (unknown & (LABEL in kinds)) | (~unknown & (OPINION in kinds))
        left_open = np.where(doubted, posteriors * (1 - posteriors), 0.0)
        settles = np.where(doubted, expected_fall(posteriors, reliability), 0.0)
        by_rating = rating_falls(scorer, responses, reliability) if RATING in kinds else None
        rows = (bag, place, scores, left_open, settles, asked, unknown)
        return cls(responses, *rows, _directions(vectors), by_rating)

    def drawn(self, k: int, diversity: float, reading: float, seed: int) -> list[int]:
        """Draw rows in proportion to what their labels would teach a linear model, told of those drawn before.

        A label adds what it settles times the square of its direction to what is known of the model, its information;
        it is worth the variance that this takes from the log-odds of all sentences, those near even odds above all. A
        rating adds a little for every sentence of its response: responses follow behind the rows.
        """
        generator = np.random.default_rng(seed)
        x, weight = self.directions, np.maximum(self.scores * (1 - self.scores), IMPLIED)
        settled = np.maximum(weight - self.open, 0.0)  # by response labels, and by known labels
        information = np.eye(x.shape[1]) * (x**2).sum(1).mean() / PRIOR + (x.T * settled) @ x
        wanted = (x.T * weight) @ x
        words, around = self._words()
        opened = np.zeros(len(self.responses), dtype=bool)
        left = np.concatenate([self.asked, np.full(len(opened) if self.by_rating is not None else 0, True)])
        chosen: list[int] = []
        k = min(k, int(left.sum()))
        while len(chosen) < k:
            unread = np.where(opened, 0.0, around)
            worth = _worth(x, np.maximum(self.settles, IMPLIED), information, wanted)
            worth = worth / np.maximum(words + unread[self.bag], 1.0) ** reading
            if self.by_rating is not None:
                parts = _worth(x, np.maximum(self.by_rating, IMPLIED), information, wanted)
                rated = np.bincount(self.bag, parts, len(opened)) / np.maximum(unread, 1.0) ** reading
                worth = np.concatenate([worth, rated])
            lot = np.log(worth) + generator.gumbel(size=len(worth))  # the highest are drawn by worth, none twice
            rows = np.flatnonzero(left)
            best = rows[np.argsort(-lot[rows], kind="stable")[: min(max(1, math.ceil(k / ROUNDS)), k - len(chosen))]]
            chosen += best.tolist()
            left[best] = False
            touched, settles = self._touched(best)
            opened[self.bag[touched]] = True
            information += diversity * (x[touched].T * settles) @ x[touched]
        return chosen

    def _touched(self, drawn: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
        """Return the rows that these questions tell of, and how much of each they settle."""
        rows, responses = drawn[drawn < len(self.bag)], drawn[drawn >= len(self.bag)] - len(self.bag)
        if self.by_rating is None:
            return rows, self.settles[rows]
        of_ratings = np.flatnonzero(np.isin(self.bag, responses))
        return np.concatenate([rows, of_ratings]), np.concatenate([self.settles[rows], self.by_rating[of_ratings]])

    def _words(self) -> tuple[Floats, Floats]:
        """How much there is to read: in each sentence, and around the sentences of each response."""
        inside = [_words(sentence.text) for response in self.responses for sentence in response.sentences]
        around = [_words(r.query, *r.context, r.text) for r in self.responses]
        return np.array(inside, dtype=np.float64), np.array(around, dtype=np.float64)

    def suggestion(self, row: int) -> Suggestion:
        if row >= len(self.bag):
            return self._rating(row - len(self.bag))
        response, place = self.responses[self.bag[row]], int(self.place[row])
        return Suggestion(
            response.id,
            place,
            response.sentences[place].text,
            response.query,
            response.context,
            response.text,
            round(float(self.scores[row]), 4),
            round(float(self.settles[row]), 4),
            kind=LABEL if self.unknown[row] else OPINION,
        )

    def _rating(self, bag: int) -> Suggestion:
        response = self.responses[bag]
        settles = 0.0 if self.by_rating is None else float(self.by_rating[self.bag == bag].sum())
        texts = (response.query, response.context, response.text)
        return Suggestion(response.id, WHOLE, "", *texts, value=round(settles, 4), kind=RATING)


def _flat(scored: Sequence[ScoredResponse]) -> Floats:
    return np.array([score for one in scored for score in one.sentence_scores], dtype=np.float64)


def _directions(vectors: NDArray[np.float32]) -> Floats:
    """Where sentences lie along the principal directions of their vectors, and a column of ones."""
    centred = vectors.astype(np.float64) - vectors.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return np.column_stack([centred @ axes[:, -DIRECTIONS:], np.ones(len(centred))])


def _worth(x: Floats, variance: Floats, information: Floats, wanted: Floats) -> Floats:
    """The variance that one more label takes from the wanted log-odds (the rank-one update of the inverse): (row,)."""
    away = np.linalg.solve(information, x.T).T
    taken = ((away @ wanted) * away).sum(1)
    return np.asarray(variance * taken / (1 + variance * (away * x).sum(1)))


def _words(*texts: str) -> int:
    return sum(text.count(" ") + 1 for text in texts if text)


def _dealt(suggestions: Sequence[Suggestion], annotators: Sequence[str], overlap: float) -> list[Suggestion]:
    """Give each response to whoever has least to read; the first sentences, up to the overlap, to the next one too."""
    twice = {(one.response_id, one.sentence) for one in suggestions[: round(overlap * len(suggestions))]}
    by_response: dict[str, list[Suggestion]] = defaultdict(list)
    for one in suggestions:
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
    """Write a row for each, to be filled in at `label`, in the form of the ending: .csv, .tsv, else lines of JSON."""
    if Path(path).suffix in TABLES:
        rows = [
            {**dataclasses.asdict(one), "context": json.dumps(one.context, ensure_ascii=False)} for one in suggestions
        ]
        with Path(path).open("w", encoding="utf-8", newline="") as stream:
            names = [field.name for field in dataclasses.fields(Suggestion)]
            writer = csv.DictWriter(stream, names, delimiter=TABLES[Path(path).suffix])
            writer.writeheader()
            writer.writerows(rows)
        return len(rows)
    lines = [json.dumps(dataclasses.asdict(one), ensure_ascii=False) + "\n" for one in suggestions]
    Path(path).write_text("".join(lines), encoding="utf-8")
    return len(lines)


def read_answers(path: str | Path) -> list[Suggestion]:
    """Read rows that annotators filled in, whatever they saved them as; one without a label is still open."""
    answers = []
    for row in guess_reader(path).rows(path):
        if isinstance(row, BadRow):
            raise BadData(f"no answer can be read: {row.error.problem}", source=str(path), line=row.line)
        answers.append(_answer(row.fields, str(path), row.line))
    return answers


def _answer(written: Mapping[str, Any], source: str, number: int) -> Suggestion:
    """Take a row for an answer; a table keeps numbers and lists as text, and labels may be words."""
    try:
        fields: dict[str, Any] = {name: None if value == "" else value for name, value in written.items()}
        fields["label"] = read_label(fields.get("label"))[0]
        fields["sentence"] = int(fields["sentence"])
        fields |= {name: float(fields[name]) for name in ("score", "value") if fields.get(name) is not None}
        if isinstance(fields.get("context"), str):
            fields["context"] = json.loads(fields["context"])
        texts = ("query", "response", "annotator", *(["text"] if "text" in fields else []))
        fields["kind"] = str(fields.get("kind") or LABEL)
        if fields["kind"] not in KINDS:
            raise BadData(f"found {fields['kind']!r}: give one of {', '.join(KINDS)}", field="kind")
        fields |= {name: str(fields.get(name) or "") for name in texts}
        names = {field.name for field in dataclasses.fields(Suggestion)}
        values = {name: value for name, value in fields.items() if name in names}
        answer = Suggestion(**{**values, "context": tuple(values.get("context") or ())})
        if answer.label is not None:
            check_label(float(answer.label), "label")
        return answer
    except BadData as error:
        raise error.at(source, number) from None
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise BadData(
            f"no answer can be read ({error}): keep the lines as they were written and fill in `label` with a number "
            "from 0, bad, to 1, good",
            source=source,
            line=number,
        ) from error


def apply_answers(responses: Sequence[Response], answers: Iterable[Suggestion]) -> list[Response]:
    """Return the responses with what people said, the mean of several annotators.

    A second opinion and the label that was there before count alike, and so do two ratings.
    """
    answered = list(answers)
    labels, opinions = _by_sentence(answered), {(a.response_id, a.sentence) for a in answered if a.kind == OPINION}
    places = {response.id: len(response.sentences) for response in responses}
    for name, place in labels:
        if not WHOLE <= place < places.get(name, WHOLE):
            raise BadData(f"an answer is about sentence {place} of {name!r}: there is none such in these responses")
    return [_labelled(response, labels, opinions) for response in responses]


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
    labels: dict[tuple[str, int], list[float]] = defaultdict(list)
    for answer in answers:
        if answer.label is not None:
            labels[answer.response_id, answer.sentence].append(float(answer.label))
    return labels


def _labelled(
    response: Response, answers: Mapping[tuple[str, int], Sequence[float]], opinions: Collection[tuple[str, int]]
) -> Response:
    ratings = answers.get((response.id, WHOLE))
    if ratings:
        response = dataclasses.replace(response, label=_mean(response.label, ratings))
    if not any((response.id, place) in answers for place in range(len(response.sentences))):
        return response
    sentences = list(response.sentences)
    for place, sentence in enumerate(sentences):
        key = (response.id, place)
        if key in answers:
            before = sentence.label if key in opinions else None
            sentences[place] = dataclasses.replace(sentence, label=_mean(before, answers[key]))
    return dataclasses.replace(response, sentences=tuple(sentences))


def _mean(before: float | None, answers: Sequence[float]) -> float:
    every = [*([] if before is None else [before]), *answers]
    return sum(every) / len(every)
