"""Options that a docstring names change what is fitted, or are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fractal import Preference, Response, SentenceScorer, make_responses
from fractal.datasets.synthetic import make_preferences
from fractal.errors import BadData, BadSpec
from fractal.mil.training.plan import TrainingPlan

PLAN = TrainingPlan(epochs=2, members=2, folds=2, hidden=(8,), batch_size=16)
RATED = make_responses(60, task="summaries", seed=5)
PAIRS = make_preferences(30, seed=5)


def scores(data: list[Response] | list[Preference], **options: object) -> list[tuple[float, ...]]:
    settings = {"aggregation": "product", "recipe": "own", "gold_weight": 0.0, "plan": PLAN, **options}
    scorer = SentenceScorer(encoder="hashing(dim=32)", cache=False, **settings).fit(data)  # type: ignore[arg-type]
    return [scored.sentence_scores for scored in scorer.score_responses(RATED[:5])]


@pytest.fixture(scope="module")
def plain() -> list[tuple[float, ...]]:
    return scores(RATED)


CHANGED = [
    *({"loss": kind} for kind in ("bce", "mae", "mse", "msle")),
    {"class_weights": "balanced"},
    {"gold_weight": 1.0},
    {"start": "prior"},
    {"learn_from": "sentences"},
    {"priors": "cosine"},
    {"priors": "correlation"},
    {"priors": "hybrid"},
    *(
        {"plan": replace(PLAN, **change)}
        for change in (
            *({"epochs": 1}, {"learning_rate": 1e-2}, {"weight_decay": 0.5}, {"hidden": (4,)}, {"dropout": 0.5}),
            *({"members": 3}, {"folds": 3}, {"seed": 1}, {"batch_size": 8}, {"from_initial": False}),
        )
    ),
]


@pytest.mark.parametrize("options", [o for o in CHANGED if o != {"loss": "bce"}], ids=str)
def test_an_option_changes_what_is_fitted(options: dict[str, object], plain: list[tuple[float, ...]]) -> None:
    assert scores(RATED, **options) != plain


def test_the_ratio_of_preferences_is_another_loss_than_their_log_odds() -> None:
    assert scores(PAIRS, loss="ratio", aggregation="mean") != scores(PAIRS, aggregation="mean")


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (RATED, {"loss": "ratio"}),
        (PAIRS, {"loss": "mse", "aggregation": "mean"}),
        (PAIRS, {"class_weights": "balanced", "aggregation": "mean"}),
        (RATED, {"loss": "mse", "learn_from": "sentences"}),
        (RATED, {"loss": "huber"}),
        (RATED, {"class_weights": "heavy"}),
    ],
)
def test_a_loss_that_nothing_reads_is_refused(data: list[Response], options: dict[str, object]) -> None:
    with pytest.raises(BadSpec):
        scores(data, **options)


def test_the_teacher_of_the_hybrid_prior_uses_a_share_of_the_sentence_labels(plain: list[tuple[float, ...]]) -> None:
    few, all_ = (scores(RATED, priors=f"hybrid(share={share}, weight=0.5)") for share in (0.1, 0.7))
    assert few != plain
    assert few != all_
    scorer = SentenceScorer(
        aggregation="product", recipe="own", encoder="hashing(dim=32)", cache=False, plan=PLAN, priors="hybrid"
    ).fit(RATED)
    (choice,) = (c for c in scorer.choices_ if c.about == "teacher of the prior hybrid")
    assert choice.taken.endswith("of 60 responses with sentence labels")
    with pytest.raises(BadData, match="none is left to guide"):
        scores(RATED, priors="hybrid(share=1.0)")
    with pytest.raises(BadData, match="needs a teacher"):
        scores([replace(r.without_labels(), label=r.label) for r in RATED], priors="hybrid")
