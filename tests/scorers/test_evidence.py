"""Scorers keep known sentence labels when they label responses, and count where these contradict the response's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fractal import Response, SelfTraining, SentenceScorer, make_responses
from fractal.mil.training.plan import TrainingPlan

PLAN = TrainingPlan(epochs=2, members=2, folds=2, hidden=(8,))


def small(**options: object) -> SentenceScorer:
    return SentenceScorer(encoder="hashing(dim=32)", recipe="own", cache=False, plan=PLAN, **options)


def known(response: Response, place: int) -> Response:
    """Keep one sentence's label only."""
    parts = (s if i == place else replace(s, label=None) for i, s in enumerate(response.sentences))
    return replace(response, sentences=tuple(parts))


@pytest.fixture(scope="module")
def rated() -> list[Response]:
    return make_responses(60, task="summaries", seed=3)


def test_disaggregate_keeps_the_sentence_labels_it_is_given(rated: list[Response]) -> None:
    scorer = small(aggregation="product").fit([r.without_labels() if i % 2 else r for i, r in enumerate(rated)])
    bad = [r for r in rated if r.label == 0 and len(r.sentences) > 1]
    first = [known(r, next(i for i, s in enumerate(r.sentences) if s.label == 0)) for r in bad]
    plain = scorer.score_responses(first)
    for response, scored, score in zip(first, scorer.disaggregate(first), plain, strict=True):
        for sentence, soft, hard, alone in zip(
            response.sentences, scored.sentence_scores, scored.sentence_labels, score.sentence_scores, strict=True
        ):
            if sentence.label is not None:
                assert soft == hard == sentence.label
            else:  # the known bad sentence explains the response: the label says nothing of the others
                assert hard == float(soft > 0.5)
                assert 0 < soft < 1 or soft == pytest.approx(alone, abs=0.2)


def test_contradicting_labels_are_counted_and_the_sentences_stand(rated: list[Response]) -> None:
    data = [replace(r, label=1.0) if i < 5 else r for i, r in enumerate(sorted(rated, key=lambda r: r.label or 0))]
    scorer = small(aggregation="product").fit(data)
    assert scorer.data_["labels that sentence labels contradict"] == 5
    with pytest.warns(UserWarning, match="5 responses have a label that the labels of their sentences contradict"):
        labelled = scorer.disaggregate(data[:5])
    for response, scored in zip(data, labelled, strict=False):
        assert scored.sentence_labels == response.sentence_labels


@pytest.mark.parametrize("soft", [True, False])
def test_levels_learn_from_known_sentence_levels(soft: bool) -> None:
    data = make_responses(40, task="retrieval", seed=1)
    data = [replace(r, label=max(s.label or 0 for s in r.sentences) / 2) for r in data]
    data = [replace(r, sentences=tuple(replace(s, label=(s.label or 0) / 2) for s in r.sentences)) for r in data]
    one = small(aggregation="max_levels(levels=3)", self_training=SelfTraining(rounds=1, soft=soft))
    with_gold = one.fit([known(r, 0) for r in data]).score_responses(data)
    again = small(aggregation="max_levels(levels=3)").fit([known(r, 0) for r in data]).disaggregate(data)
    assert all(s.sentence_labels == s.response.sentence_labels for s in again)
    assert len(with_gold) == len(data)
