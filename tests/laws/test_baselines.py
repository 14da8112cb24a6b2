"""Laws that every baseline obeys."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest

from fractal.datasets.synthetic import make_preferences, make_responses
from fractal.errors import BadData, BadSpec, NotFitted
from fractal.records import Response
from fractal.scorers.baselines import BASELINES, LearnedBaseline
from fractal.scorers.baselines.networks import NetworkBaseline, NetworkPlan
from support.baseline_models import cross_encoder

NAMES = [name for name in BASELINES if issubclass(BASELINES[name], LearnedBaseline)]  # type: ignore[arg-type]


def data(n: int, seed: int, task: str = "summaries") -> list[Response]:
    """Responses with log-ratios that know a little of the truth."""
    rng = np.random.default_rng(seed)
    return [
        dataclasses.replace(r, columns={"log_ratio": tuple((s.label or 0.0) + rng.normal() for s in r.sentences)})
        for r in make_responses(n, task, seed=seed, difficulty=0.0)
    ]


TRAIN, TEST = data(80, 1), data(12, 2)


@pytest.fixture(scope="module")
def entailment_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    texts = [text for r in TRAIN[:20] for text in (r.text, *r.context)]
    return cross_encoder(tmp_path_factory.mktemp("nli"), texts, ("contradiction", "entailment", "neutral"))


def baseline(name: str, model: str, **options: object) -> LearnedBaseline:
    made: LearnedBaseline = BASELINES[name](aggregation="product", encoder="hashing(dim=32)", cache=False, **options)
    if isinstance(made, NetworkBaseline):
        made.network_plan = NetworkPlan(epochs=3)
    if name == "nli":
        made.model = model  # type: ignore[attr-defined]
    return made


@cache
def fitted(name: str, model: str) -> LearnedBaseline:
    return baseline(name, model).fit(TRAIN)


@pytest.mark.parametrize("name", NAMES)
def test_scores_lie_in_the_unit_interval(name: str, entailment_model: str) -> None:
    for scored in fitted(name, entailment_model).score_responses(TEST):
        assert all(0.0 <= score <= 1.0 for score in (*scored.sentence_scores, scored.response_score))


@pytest.mark.parametrize("name", ["curriculum", "prototypes"])
def test_levels_that_a_baseline_cannot_learn_are_refused_before_texts_are_encoded(name: str) -> None:
    with pytest.raises(BadSpec, match="one output a sentence"):
        BASELINES[name](aggregation="max_levels(levels=3)", encoder="hashing(dim=32)", cache=False).fit(TRAIN)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_scores_and_another_fit_leaves_no_trace(name: str, entailment_model: str) -> None:
    again = baseline(name, entailment_model).fit(TRAIN[::-1]).fit(TRAIN)
    assert again.score_responses(TEST) == fitted(name, entailment_model).score_responses(TEST)


@pytest.mark.parametrize("name", NAMES)
def test_batch_mates_do_not_matter(name: str, entailment_model: str) -> None:
    whole = fitted(name, entailment_model).score_responses(TEST)
    alone = [fitted(name, entailment_model).score_responses([response])[0] for response in TEST]
    for one, other in zip(whole, alone, strict=True):
        assert one.sentence_scores == pytest.approx(other.sentence_scores, abs=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_labels_have_no_influence_on_scores(name: str, entailment_model: str) -> None:
    bare = [response.without_labels() for response in TEST]
    scored = fitted(name, entailment_model).score_responses(bare)
    assert [one.sentence_scores for one in scored] == [
        one.sentence_scores for one in fitted(name, entailment_model).score_responses(TEST)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_unfitted_is_refused(name: str, entailment_model: str) -> None:
    with pytest.raises(NotFitted, match=name):
        baseline(name, entailment_model).score_responses(TEST)


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_teach_is_refused(name: str, entailment_model: str) -> None:
    with pytest.raises(BadData, match="preferences"):
        baseline(name, entailment_model).fit(make_preferences(5))
    with pytest.raises(BadData, match="nothing to tell apart"):
        baseline(name, entailment_model).fit([dataclasses.replace(r, label=1.0) for r in TRAIN])


@pytest.mark.parametrize("name", NAMES)
def test_one_line_of_help(name: str) -> None:
    assert BASELINES.summary(name).endswith(".") or ";" in BASELINES.summary(name)
    assert BASELINES.spec(BASELINES.build(name)) == name
