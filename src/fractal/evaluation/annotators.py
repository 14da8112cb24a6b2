"""How reliable the people who rate are, told without any truth: by what others say of the responses that they rated."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadData, BadSpec
from fractal.evaluation.label_model import Judge, combine
from fractal.evaluation.slices import carried_value, field_names, missing_field
from fractal.records import Response, ScoredResponse

__all__ = ["FIELDS", "RATINGS", "Annotator", "AnnotatorReport", "annotator_quality", "combined_responses"]

Floats = NDArray[np.float64]
Text = tuple[str, tuple[str, ...], str]  # query, context, response

FIELDS = ("annotator", "ratings")  # where raters are looked for unless a field is named
RATINGS = "ratings"  # the field in which combined responses carry what each annotator said
SCORER = "(scorer)"
CHANCE = 0.5
ENOUGH = 20  # shared ratings of each annotator with which people are judged by one another alone


@dataclasses.dataclass(frozen=True)
class Annotator:
    """What is estimated of one person: how often right, with an interval, and whether too kind or too strict."""

    name: str
    ratings: int
    shared: int  # of responses that another annotator rated, too
    accuracy: float  # mean of right on good and right on bad: ½ is chance; nan where nothing can be told
    low: float
    high: float
    leniency: float  # mean rating less the mean of what the responses seem to deserve
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = dataclasses.asdict(self)
        return {name: None if value != value else value for name, value in values.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class AnnotatorReport:
    """All annotators of some responses, each response as they rated it, and the label that they come to together."""

    annotators: tuple[Annotator, ...]
    compared_with: str  # whom each was held against
    responses: tuple[Response, ...]  # one for each text, as it stood first
    votes: Floats  # (response, annotator) nan where there is none
    labels: Floats  # (response,) nan where nobody who counts has rated
    notes: tuple[str, ...]  # what was left out, and what the figures rest on

    @property
    def reliability(self) -> float:
        """The share of ratings that are right, good and bad responses alike; nan where nothing can be told."""
        estimates = [(one.accuracy, one.ratings) for one in self.annotators if not math.isnan(one.accuracy)]
        return sum(a * n for a, n in estimates) / sum(n for _, n in estimates) if estimates else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        reliability = None if math.isnan(self.reliability) else self.reliability
        annotators = [one.to_dict() for one in self.annotators]
        about = {"compared_with": self.compared_with, "reliability": reliability, "notes": list(self.notes)}
        return {**about, "annotators": annotators}


def annotator_quality(
    responses: Iterable[Response], field: str, scored: Iterable[ScoredResponse] = (), seed: int = 0
) -> AnnotatorReport:
    """Estimate how reliable each annotator is, from responses that several rated.

    `field` of a response names who gave its label, or maps names to ratings. The same text under the same query and
    context is one response, however often it stands there. `scored` holds scores by heads that did not learn from the
    responses (`scorer.held_out_scores`): one more rater of every response, who is in no combined label. They are asked
    where some annotator shares fewer than 20 responses with others: a scorer may err with those whom it learned from.
    """
    texts, ratings, notes = _by_text(responses, field)
    names = tuple(sorted({name for by_name in ratings for name in by_name}))
    if len(names) < 2:
        raise BadData(
            f"all ratings are by {names[0]!r}: how reliable one annotator is, nobody else's ratings tell; let a second "
            "person rate some of the same responses",
            field=field,
        )
    votes = np.array([[by_name.get(name, math.nan) for name in names] for by_name in ratings], dtype=np.float64)
    seen = ~np.isnan(votes)
    shared = seen & (seen.sum(1) > 1)[:, None]
    scores = _scores(texts, () if shared.sum(0).min() >= ENOUGH else scored)  # people alone tell: nothing is scored
    by_scorer = bool(np.isfinite(scores).any())
    if not shared.any() and not by_scorer:
        raise BadData(
            f"no response is rated by two of the {len(names)} annotators: let two people rate some of the same, or "
            "give a scorer (--scorer), whose scores every rating can be held against",
            field=field,
        )
    table = np.column_stack([votes, scores]) if by_scorer else votes
    order = np.array(sorted(range(len(texts)), key=lambda place: _text(texts[place])))  # what is drawn follows no file
    raters = (*names, SCORER) if by_scorer else names
    combined = combine(table[order], raters, seed=seed, aside=(SCORER,), alike=False)
    labels = np.empty(len(texts))
    labels[order] = combined.labels
    compared = seen & ((seen.sum(1) > 1) | np.isfinite(scores))[:, None]
    annotators = [
        _annotator(judge, votes[:, place], shared[:, place], compared[:, place], labels)
        for place, judge in enumerate(combined.judges[: len(names)])
    ]
    notes += _rests_on(len(names), int(shared.any(1).sum()), by_scorer=by_scorer)
    against = (
        "one another and the scorer" if by_scorer and shared.any() else "the scorer" if by_scorer else "one another"
    )
    return AnnotatorReport(tuple(annotators), against, tuple(texts), votes, labels, tuple(notes))


def combined_responses(report: AnnotatorReport, field: str) -> list[Response]:
    """Return each response once, with the label that its annotators come to and what each of them said.

    A response that nobody who counts has rated has no label.
    """
    names = [one.name for one in report.annotators]
    combined = []
    for response, row, label in zip(report.responses, report.votes.tolist(), report.labels.tolist(), strict=True):
        said = {name: vote for name, vote in zip(names, row, strict=True) if vote == vote}
        extra = {name: value for name, value in response.extra.items() if name != field}
        extra[RATINGS] = said
        combined.append(dataclasses.replace(response, label=None if label != label else label, extra=extra))
    return combined


def _by_text(responses: Iterable[Response], field: str) -> tuple[list[Response], list[dict[str, float]], list[str]]:
    """Return each text once, who rated it and how, and what of the ratings was left out."""
    texts: dict[Text, int] = {}
    first: list[Response] = []
    ratings: list[dict[str, float]] = []
    names: dict[str, None] = {}
    again = unnamed = left = 0
    for response in responses:
        names |= dict.fromkeys(field_names(response.extra)) if len(names) < 100 else {}
        by_name = _ratings_of(response, field)
        unnamed += not by_name and response.label is not None
        place = texts.setdefault(_text(response), len(first))
        if place == len(first):
            first.append(response)
            ratings.append({})
        else:
            left += sum(label is not None for label in response.sentence_labels)
        again += len(by_name.keys() & ratings[place].keys())
        ratings[place].update(by_name)
    if not any(ratings):
        raise BadData(missing_field(field, names, who="rated response"), field=field)
    notes = [f"{again:,} ratings are by somebody who rated the same response again: the last one counts"] * bool(again)
    notes += [f"{unnamed:,} rated responses name no annotator in {field!r} and are left out"] * bool(unnamed)
    notes += [f"{left:,} sentence labels stand in further rows of the same response and are left out"] * bool(left)
    return first, ratings, notes


def _ratings_of(response: Response, field: str) -> dict[str, float]:
    """Return who rated a response and how: its label by the one who is named, or ratings by name."""
    named = carried_value(response, field)
    if isinstance(named, Mapping):
        try:
            return {str(name): float(rating) for name, rating in named.items() if rating is not None}
        except (TypeError, ValueError) as error:
            raise BadData(
                f"the response {response.id!r} has a rating that is no number: {named!r}", field=field
            ) from error
    if named is None or named == "" or response.label is None:
        return {}
    if isinstance(named, Sequence) and not isinstance(named, str):
        raise BadData(
            f"the response {response.id!r} has {named!r}: give the name of one annotator, or ratings by name",
            field=field,
        )
    return {str(named): response.label}


def _scores(texts: Sequence[Response], scored: Iterable[ScoredResponse]) -> Floats:
    """Return the score of each text (response,), nan where it has none."""
    by_text: dict[Text, float] = {}
    for item in scored:
        if item.aspect:
            raise BadSpec(
                "a scorer of several aspects has no one score to hold a rating against: give one of one label"
            )
        by_text[_text(item.response)] = item.response_score
    return np.array([by_text.get(_text(response), math.nan) for response in texts], dtype=np.float64)


def _text(response: Response) -> Text:
    return response.query, response.context, response.text


def _annotator(
    judge: Judge, votes: Floats, shared: NDArray[np.bool_], compared: NDArray[np.bool_], labels: Floats
) -> Annotator:
    estimated = bool(compared.any())
    rows = compared & np.isfinite(labels)
    leniency = float((votes[rows] - labels[rows]).mean()) if rows.any() else math.nan
    accuracy, low, high = (judge.accuracy, judge.low, judge.high) if estimated else (math.nan,) * 3
    accuracy = min(max(accuracy, low), high)  # drawn to what all have in common, as far as the ratings allow
    verdict = "right more often than wrong"
    if not estimated:
        verdict = "shares no response with anybody: nothing can be told"
    elif high < CHANCE:
        verdict = "contradicts the others: is the scale turned round?"
    elif low <= CHANCE:
        verdict = "cannot be told from chance"
    return Annotator(judge.name, judge.votes, int(shared.sum()), accuracy, low, high, leniency, verdict)


def _rests_on(count: int, shared: int, *, by_scorer: bool) -> list[str]:
    """Say what the figures rest on, where that is less than three people who met."""
    if not shared:
        return [
            "no response is rated by two people: each is held against the scorer alone. That tells who is better than "
            "whom; how often all of them are right rests on what is expected of raters"
        ]
    if count + by_scorer < 3:
        return ["two annotators alone: how often each is right rests on what is expected of raters, not on data"]
    return []
