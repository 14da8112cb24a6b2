"""Baselines: each does what its first line says, under the interface of the scorer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fractal.datasets.synthetic import make_responses  # noqa: E402
from fractal.records import Preference, Response  # noqa: E402
from fractal.scorers.baselines import BASELINES, LearnedBaseline  # noqa: E402

OPTIONS = {"aggregation": "product", "encoder": "hashing(dim=32)", "cache": False}


@pytest.fixture(scope="module")
def responses() -> list[Response]:
    return make_responses(40, task="summaries", seed=3)


NAMES = [name for name in BASELINES if not issubclass(BASELINES[name], LearnedBaseline)]


@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_scores_every_sentence(name: str, responses: list[Response]) -> None:
    short = {} if name == "cosine" else {"epochs": 2}
    scored = BASELINES[name](**OPTIONS, **short).fit(responses[:30]).score_responses(responses[30:])
    for one, response in zip(scored, responses[30:], strict=True):
        assert len(one.sentence_scores) == len(response.sentences)
        assert 0 <= one.response_score <= 1
    assert BASELINES.summary(name)


@pytest.mark.parametrize("name", ["inherit", "response_level", "bag_only", "paper", "shortcut"])
def test_only_supervision_reads_sentence_labels(name: str, responses: list[Response]) -> None:
    bare = [replace(response.without_labels(), label=response.label) for response in responses]
    made = BASELINES[name](**OPTIONS)
    assert made.make().learn_from == "responses" or name == "inherit"
    if name == "inherit":
        assert made.shown(responses) == made.shown(bare)


def test_sentences_inherit_the_label_or_the_share_of_won_preferences(responses: list[Response]) -> None:
    inherit = BASELINES["inherit"](**OPTIONS)
    for shown, response in zip(inherit.shown(responses), responses, strict=True):
        assert {sentence.label for sentence in shown.sentences} == {response.label}
    a, b, c = (replace(response.without_labels(), query="q") for response in responses[:3])
    shown = inherit.shown([Preference(a, b), Preference(a, c), Preference(b, c, tie=True)])
    assert [response.label for response in shown] == [1.0, 0.25, 0.25]


def test_the_response_level_model_reads_whole_texts(responses: list[Response]) -> None:
    shown = BASELINES["response_level"](**OPTIONS).shown(responses)
    assert all(len(whole.sentences) == 1 for whole in shown)
    assert [whole.sentences[0].text for whole in shown] == [response.text.strip() for response in responses]


def test_cosine_learns_nothing_and_says_half_where_there_is_nothing_to_compare() -> None:
    alone = Response.from_sentences("a", ["One.", "Two."])
    scored = BASELINES["cosine"](**OPTIONS).fit([]).score_responses([alone])[0]
    assert np.allclose(scored.sentence_scores, 0.5)
