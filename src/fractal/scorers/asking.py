"""What else people can be asked than a new label: a second opinion on one, or a rating of a whole response."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadSpec, UnknownName
from fractal.records import Response

if TYPE_CHECKING:
    from fractal.scorers.sentence import SentenceScorer

Floats = NDArray[np.float64]

LABEL, OPINION, RATING = KINDS = ("label", "opinion", "rating")
SURE = 1e-9  # how far a chance stays from 0 and 1


def refuse_kinds(kinds: Sequence[str], reliability: float, direction: str) -> None:
    """Refuse kinds of question that are unknown, or that could tell nothing."""
    for kind in kinds:
        if kind not in KINDS:
            raise UnknownName("kind of question", kind, KINDS)
    if not kinds:
        raise BadSpec(f"kinds=(): ask for one or several of {', '.join(KINDS)}")
    if not 0.5 < reliability <= 1.0:
        raise BadSpec(f"reliability={reliability}: give the share of answers that are right, above 0.5, at most 1")
    if OPINION in kinds and reliability == 1.0:
        raise BadSpec("a second opinion tells nothing where no answer is wrong: give a reliability below 1, as 0.9")
    if RATING in kinds and direction == "mean":
        raise BadSpec("under a mean a rating is a share, and what one would tell is not worked out: ask for labels")


def expected_fall(chance: Floats, reliability: float) -> Floats:
    """Return by how much an answer that is right so often lowers the variance of a yes or no, in the mean."""
    variance = chance * (1 - chance)
    if reliability == 1.0:
        return variance
    yes = chance * reliability + (1 - chance) * (1 - reliability)
    either = chance * reliability * (1 - chance) * (1 - reliability)
    return np.asarray(variance - either / yes - either / (1 - yes))


def believed(chance: Floats, answer: Floats, reliability: float) -> Floats:
    """Return a chance after an answer that is right so often; one between 0 and 1 says less, one of a half nothing."""
    odds = _log_odds(chance) + (2 * answer - 1) * _log_odds(np.float64(reliability))
    return np.asarray(1 / (1 + np.exp(-odds)))


def labelled_chances(scorer: SentenceScorer, responses: Sequence[Response], reliability: float) -> Floats:
    """Return the chance that each sentence is good by its response's label and its own, if that may be wrong."""
    bare = [
        dataclasses.replace(r, sentences=tuple(dataclasses.replace(s, label=None) for s in r.sentences))
        for r in responses
    ]
    chances = _sentences(scorer, bare)
    said = np.array([0.5 if s.label is None else s.label for r in responses for s in r.sentences], np.float64)
    return believed(chances, said, reliability)


def rating_falls(scorer: SentenceScorer, responses: Sequence[Response], reliability: float) -> Floats:
    """Return by how much a rating of its response would lower the variance of each sentence's label, in the mean.

    A rating that is there already may be wrong, too: then the new one is a second opinion.
    """
    good, bad = (
        _sentences(scorer, [dataclasses.replace(response, label=label) for response in responses])
        for label in (1.0, 0.0)
    )
    scores = np.array([item.response_score for item in scorer.held_out_scores(responses)], np.float64)
    said = np.array([0.5 if response.label is None else response.label for response in responses], np.float64)
    chance = believed(scores, said, reliability)
    yes = chance * reliability + (1 - chance) * (1 - reliability)
    sizes = [len(response.sentences) for response in responses]

    def variance(chance_good: Floats) -> Floats:
        share = np.repeat(chance_good, sizes)
        mixed = share * good + (1 - share) * bad
        return np.asarray(mixed * (1 - mixed))

    after = [believed(chance, np.full(len(chance), answer), reliability) for answer in (1.0, 0.0)]
    likely = np.repeat(yes, sizes)
    fall = variance(chance) - likely * variance(after[0]) - (1 - likely) * variance(after[1])
    return np.maximum(fall, 0.0)


def _sentences(scorer: SentenceScorer, responses: Sequence[Response]) -> Floats:
    return np.array(
        [score for item in scorer.disaggregate(responses) for score in item.sentence_scores], dtype=np.float64
    )


def _log_odds(chance: Floats | np.float64) -> Floats:
    bounded = np.clip(chance, SURE, 1 - SURE)
    return np.asarray(np.log(bounded / (1 - bounded)))
