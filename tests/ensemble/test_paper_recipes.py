"""The recipes of the paper are the paper: its columns, head, losses, priors, chunk maximum and retraining, no more."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fractal import Preference, Response, SentenceScorer, make_responses
from fractal.cli._train_options import ScorerOptions
from fractal.cli.train import without_sentence_labels
from fractal.datasets.synthetic import make_preferences
from fractal.ensemble.datasets import build_training_sets
from fractal.ensemble.objective import objective_of
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.objectives.base import Term
from fractal.mil.objectives.losses import PreferenceLoss, ResponseLoss
from fractal.mil.objectives.priors import CorrelationPrior, CosinePrior

FOLDER = Path(__file__).parents[2] / "recipes" / "paper"
PAPER: dict[str, tuple[str, Term]] = {  # data set → aggregation, loss on what people say of responses
    "multispanqa": ("max", ResponseLoss(kind="bce")),
    "fira": ("max_levels(levels=4)", ResponseLoss(kind="likelihood")),
    "qa_feedback": ("mean", PreferenceLoss(kind="ratio")),
    "wikicatsum": ("min", ResponseLoss(kind="bce")),
    "aquamuse": ("min", ResponseLoss(kind="bce")),
    "prm800k": ("min", ResponseLoss(kind="bce")),
}
DIM, MINILM = 32, 384


def scorer_of(name: str, **changes: Any) -> SentenceScorer:
    recipe = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    settings = tuple(f"{key}={value}" for key, value in {**recipe["set"], **changes}.items())
    options = ScorerOptions(
        aggregation=recipe["aggregation"],
        recipe=recipe["recipe"],
        encoder=f"hashing(dim={DIM})",
        priors=tuple(recipe["prior"]),
        settings=settings,
        no_cache=True,
    )
    return options.scorer("sentences")


def data_of(name: str) -> list[Response | Preference]:
    if name == "qa_feedback":
        return [without_sentence_labels(pair) for pair in make_preferences(20, seed=5)]
    rated = make_responses(40, task="summaries", seed=5)
    if name == "fira":
        rated = [replace(response, label=i % 4 / 3) for i, response in enumerate(rated)]
    return [without_sentence_labels(response) for response in rated]


def test_every_data_set_of_the_paper_has_a_recipe() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(PAPER)


@pytest.mark.parametrize("name", PAPER)
def test_what_is_learned_from_is_the_papers(name: str) -> None:
    recipe = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    assert recipe["gold"] == "none", "no sentence label is seen"
    aggregation, loss = PAPER[name]
    scorer = scorer_of(name)
    corpus, config = scorer.prepare(data_of(name))
    assert scorer.forms(corpus) == (AGGREGATIONS.build(aggregation),)
    block = scorer.embed(corpus.responses)
    (data,) = build_training_sets(block, corpus, config.experts, config)
    assert data.pipeline.projection is None, "whole vectors"
    assert data.bags.features.shape[1] == DIM, "no column but the sentence's vector"
    chunks, query = data.bags.shared
    assert chunks.every, "the best context chunk counts"
    assert not query.every
    assert chunks.rows.shape == (max(len(block.chunks), len(block)), DIM)
    assert data.bags.preference_offset is None, "no control of length"
    assert data.bags.rating_offset is None, "no control of anything else"
    objective = objective_of({"": AGGREGATIONS.build(aggregation)}, [""], data.bags, config)
    share = 0.1  # of each prior; what they leave is the labels'
    priors = (CosinePrior(weight=share / (1 - 2 * share)), CorrelationPrior(weight=share / (1 - 2 * share)))
    assert objective.terms == (loss, *priors)
    assert objective.curriculum == 0


@pytest.mark.parametrize("name", PAPER)
def test_the_head_and_its_training_are_the_papers(name: str) -> None:
    plan, rounds = scorer_of(name).plan, scorer_of(name).self_training
    assert plan is not None
    assert plan.hidden == (MINILM // 2, MINILM // 4), "of the bundled encoder; the header says it for the paper's own"
    assert "hidden=(384, 192)" in (FOLDER / f"{name}.toml").read_text()
    assert (plan.learning_rate, plan.weight_decay, plan.dropout) == (1e-3, 0.0, 0.0)
    ours = (plan.from_initial, plan.length_control, plan.topic_control, plan.shrink, plan.few_ratings)
    assert not any(ours), "what the paper does not do"
    assert (plan.folds, plan.members) == (10, 10)
    assert rounds is not None
    assert (rounds.rounds, rounds.soft, rounds.shares, rounds.alone) == (1, False, (1.0,), True)


@pytest.mark.parametrize("name", ["qa_feedback", "fira", "wikicatsum"])
def test_a_recipe_trains_one_expert_of_that_shape(name: str) -> None:
    small = {"hidden": (DIM // 2, DIM // 4), "epochs": 2, "members": 2, "folds": 2}
    scorer = scorer_of(name, **small).fit(data_of(name))
    (expert,) = scorer.ensemble_.experts
    levels = 3 if name == "fira" else 1
    assert (expert.head.shape.columns, expert.head.shape.shared) == (DIM, (DIM, DIM))
    assert (expert.head.shape.hidden, expert.head.shape.thresholds) == ((DIM // 2, DIM // 4), levels)
    assert scorer.ensemble_.topic_share == 0.0, "no control of topic"
