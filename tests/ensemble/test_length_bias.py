"""Length control: what length alone explains of preferences is found, and is not taught to sentences."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.ensemble.length_bias import length_offsets
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Preference, Response
from fractal.scorers.sentence import SentenceScorer

WORDS = ("rain", "wind", "snow", "cloud", "frost", "storm")


def answer(number: int, sentences: int, *, good: int = 0, rng: np.random.Generator) -> Response:
    """Write sentences of weather, of which so many are marked as good by a number in them."""
    told = [" ".join(rng.choice(WORDS, 4)) + (" 7." if i < good else ".") for i in range(sentences)]
    return Response.from_sentences(f"r{number}", told, labels=[float(i < good) for i in range(sentences)])


def lengths_of(responses: list[Response]) -> np.ndarray:
    return np.log1p([[sum(len(s.text.split()) for s in r.sentences), len(r.sentences)] for r in responses])


@given(seed=st.integers(0, 1000))
def test_no_other_weights_of_length_explain_preferences_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    responses = [answer(i, int(rng.integers(1, 9)), rng=rng) for i in range(24)]
    pairs = np.column_stack([rng.permutation(24)[:12], rng.permutation(24)[:12], rng.integers(0, 2, 12)])
    pairs = pairs[pairs[:, 0] != pairs[:, 1]].astype(np.int64)
    lengths = lengths_of(responses)

    def cost(weights: np.ndarray) -> float:
        lead = (lengths[pairs[:, 0]] - lengths[pairs[:, 1]]) @ weights
        share = 1 - 0.5 * pairs[:, 2]
        return float((np.logaddexp(0, lead) - share * lead).sum() + 0.5 * weights @ weights)

    found = np.linalg.lstsq(lengths, length_offsets(responses, pairs).astype(np.float64), rcond=None)[0]
    least = cost(found)
    for _ in range(20):
        assert cost(found + rng.normal(0, 0.1, 2)) >= least - 1e-6


def test_equal_lengths_give_nobody_an_advantage() -> None:
    rng = np.random.default_rng(0)
    responses = [answer(i, 3, rng=rng) for i in range(10)]
    length_offset = length_offsets(responses, np.array([[0, 1, 0], [2, 3, 0], [4, 5, 1]]))
    assert np.ptp(length_offset) == pytest.approx(0.0, abs=1e-6)


def preferences(n: int, seed: int) -> list[Preference]:
    """Draw pairs of which the longer one usually wins, else the one with the larger share of good sentences.

    Long answers have the smaller share of them: who must explain length by sentences takes the bad ones for good.
    """
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        sides = []
        for side in range(2):
            size = int(rng.integers(2, 9))
            good = int(rng.binomial(size, 0.75 - 0.06 * size))
            sides.append(answer(2 * number + side, size, good=good, rng=rng))
        share = [np.mean([s.label for s in r.sentences]) for r in sides]
        lead = 2.5 * np.log(len(sides[0].sentences) / len(sides[1].sentences)) + 2.0 * (share[0] - share[1])
        first = int(rng.random() > 1 / (1 + np.exp(-lead)))
        found.append(Preference(sides[first], sides[1 - first]))
    return found


def gap(control: bool) -> float:
    """Return by how much good sentences outscore bad ones when length is, or is not, taken out of preferences."""
    bare = [
        dataclasses.replace(p, better=p.better.without_labels(), worse=p.worse.without_labels())
        for p in preferences(300, seed=1)
    ]
    plan = TrainingPlan(epochs=30, hidden=(), seed=0, length_control=control)
    recipe = "arithmetic + markers + vectors"
    scorer = SentenceScorer(aggregation="mean", encoder="hashing(dim=32)", recipe=recipe, cache=False, plan=plan)
    scorer.fit(bare)
    test = [p.better for p in preferences(100, seed=2)]
    truth = np.array([s.label for r in test for s in r.sentences])
    scored = scorer.score_responses([r.without_labels() for r in test])
    score = np.array([s for one in scored for s in one.sentence_scores])
    return float(score[truth == 1].mean() - score[truth == 0].mean())


def test_sentences_need_not_explain_that_long_answers_win() -> None:
    assert gap(control=True) > gap(control=False) + 0.05
