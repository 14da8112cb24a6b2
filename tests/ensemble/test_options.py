"""Every option changes what is fitted or written: the list is made from the options, so a new one needs a case."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fractal import AspectScorer, Preference, Response, SentenceScorer, make_responses
from fractal.datasets.synthetic import make_preferences
from fractal.encoders.cache import EmbeddingCache
from fractal.ensemble.config import FitConfig
from fractal.ensemble.self_training import SelfTraining
from fractal.errors import BadData, BadSpec
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.objectives.priors import PRIORS
from fractal.mil.training.plan import TrainingPlan

Data = list[Response] | list[Preference]

PLAN = TrainingPlan(epochs=2, members=2, folds=2, hidden=(8,), batch_size=16)
RATED = [
    replace(r, columns={"own": tuple(float(len(s.text) % 2) for s in r.sentences), "other": (0.5,) * len(r.sentences)})
    for r in make_responses(60, task="summaries", seed=5)
]
LEVELS = [replace(r.without_labels(), label=i % 3 / 2) for i, r in enumerate(RATED)]
PAIRS = make_preferences(40, seed=5)
DATA: dict[str, Data] = {"rated": RATED, "levels": LEVELS, "pairs": PAIRS}
OUTCOMES: dict[str, tuple[Any, ...]] = {}  # many cases begin at the same
RAW = "One is here. Two is here\nThree is here."


def fitted(data: Data, **options: Any) -> SentenceScorer:
    settings = {"aggregation": "product", "recipe": "own", "gold_weight": 0.0, "plan": PLAN, **options}
    return SentenceScorer(**{"encoder": "hashing(dim=32)", "cache": False, **settings}).fit(data)


def outcome(name: str, options: Mapping[str, Any]) -> tuple[Any, ...]:
    """What is fitted and said of the fit: scores, choices, how long it trained, and how a raw text is cut."""
    key = f"{name} {sorted(options.items(), key=str)}"
    if key not in OUTCOMES:
        OUTCOMES[key] = _outcome(name, options)
    return OUTCOMES[key]


def _outcome(name: str, options: Mapping[str, Any]) -> tuple[Any, ...]:
    scorer = fitted(DATA[name], **options)
    answers = [pair.better for pair in PAIRS[:5]] if name == "pairs" else RATED[:5]
    scores = [scored.sentence_scores for scored in scorer.score_responses(answers)]
    costs = [(choice.about, dict(choice.costs)) for choice in scorer.choices_]
    return scores, costs, len(scorer.history_), len(scorer.read(RAW).sentences)


@dataclasses.dataclass(frozen=True)
class Case:
    """An option at two values: what comes out must differ."""

    change: Mapping[str, Any]
    data: str = "rated"
    base: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def differs(self) -> bool:
        return outcome(self.data, self.base) != outcome(self.data, {**self.base, **self.change})


def planned(data: str = "rated", base: Mapping[str, Any] | None = None, before: Any = None, **change: Any) -> Case:
    plan = replace(PLAN, **(before or {}))
    return Case({"plan": replace(plan, **change)}, data, {**(base or {}), "plan": plan})


def rounds(before: Mapping[str, Any] | None = None, **change: Any) -> Case:
    first = SelfTraining(**{"rounds": 1, **(before or {})})
    return Case({"self_training": replace(first, **change)}, base={"self_training": first, "plan": LIVELY})


MEAN = {"aggregation": "mean"}
LIVELY = replace(PLAN, epochs=6, learning_rate=0.03)  # heads learn something, of which there are pseudo-labels
SCORER = {
    "aggregation": Case({"aggregation": "min"}),
    "recipe": Case({"recipe": "paper"}),
    "encoder": Case({"encoder": "hashing(dim=16)"}),
    "splitter": Case({"splitter": "lines"}),
    "priors": Case({"priors": "cosine"}),
    "start": Case({"start": "prior"}),
    "directions": Case({"directions": 2}, base={"recipe": "vectors"}),
    "self_training": Case({"self_training": SelfTraining(rounds=1)}, base={"plan": LIVELY}),
    "gold_weight": Case({"gold_weight": 1.0}),
    "learn_from": Case({"learn_from": "sentences"}),
    "loss": Case({"loss": "mse"}),
    "class_weights": Case({"class_weights": "balanced"}),
    "task": Case({"task": "retrieval"}, base={"aggregation": "auto"}),
    "control": Case({"control": "length"}),
}
PLANS = {
    "epochs": planned(epochs=1),
    "batch_size": planned(batch_size=8),
    "learning_rate": planned(learning_rate=1e-2),
    "weight_decay": planned(weight_decay=0.5),
    "patience": planned(before={"epochs": 30, "learning_rate": 0.1, "patience": 30}, patience=1),
    "hidden": planned(hidden=(4,)),
    "dropout": planned(dropout=0.5),
    "members": planned(members=3),
    "folds": planned(folds=3),
    "from_initial": planned(from_initial=False),
    "curriculum": planned(base={"priors": "cosine(weight=0.5)"}, before={"epochs": 4}, curriculum=1),
    "length_control": planned("pairs", MEAN, length_control=False),
    "topic_control": planned("pairs", {**MEAN, "recipe": "vectors"}, LIVELY.__dict__, topic_control=False),
    "shrink": planned(shrink=False),
    "few_ratings": planned("rated", {"recipe": "auto"}, few_ratings=False),
    "seed": planned(seed=1),
    "precision": planned(before={"precision": "fp32"}, precision="bf16"),
}
ROUNDS = {
    "rounds": rounds(before={"rounds": 0}, rounds=1),
    "soft": rounds(soft=False),
    "shares": rounds(shares=(0.3,)),
    "alone": rounds(alone=True),
    "always": rounds(before={"rounds": 4}, always=True),
}
EXEMPT = {  # option → why it has no case here
    "plan": "its fields are options of their own",
    "cache": "changes no score; what it writes is below",
    "memory_limit": "says where arrays lie, not what they hold: tests/scorers/test_training_space.py",
    "workers": "says who lays arrays, not what they hold: tests/scorers/test_laying.py",
    "tune": "an encoder is tuned in tests/scorers/test_tuned.py, which takes longer",
    "so_far": "an expert of steps, from 500 rated responses on: tests/ensemble/test_steps_in_order.py",
    "device": "there is but a CPU where tests run; tests/mil/test_training.py says what each device gives",
}
CONFIGURED = {  # field of the fit's configuration → the option that sets it
    **{name: name for name in SCORER},
    "plan": "plan",
    "experts": "recipe",
    "mean_experts": "recipe",
    "pseudo_label_experts": "recipe",
    "why_experts": "recipe",
    "try_priors": "priors",
    "checkpoints": "fit(checkpoints=…)",
    "warm": "fit(earlier=…)",
}
OTHERS = {
    "exponent": -1.5,
    "direction": "'max'",
    "sharpness": 2.0,
    "temperature": 0.9,
    "levels": 5,
    "recovery": 0.3,
    "share": 0.9,
}
OF_PRIORS = {"weight": 0.6, "kind": "'mae'", "share": 0.5, "column": "'other'"}
GIVEN = {"column": "column='own', ", "hybrid": "", "cosine": "", "correlation": ""}


def fields(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def test_every_option_has_a_case_or_a_reason() -> None:
    options = set(inspect.signature(SentenceScorer.__init__).parameters) - {"self"}
    assert options == (SCORER.keys() | (EXEMPT.keys() & options))
    assert fields(TrainingPlan) == (PLANS.keys() | (EXEMPT.keys() & fields(TrainingPlan)))
    assert fields(SelfTraining) == ROUNDS.keys()
    assert fields(FitConfig) <= CONFIGURED.keys()
    assert EXEMPT.keys() <= options | fields(TrainingPlan), "no reason outlives its option"


@pytest.mark.parametrize("name", [*SCORER, *PLANS, *ROUNDS])
def test_an_option_changes_what_is_fitted(name: str) -> None:
    assert {**SCORER, **PLANS, **ROUNDS}[name].differs()


@pytest.mark.parametrize("kind", ["mae", "msle", "bce"])
def test_every_kind_of_loss_is_another(kind: str) -> None:
    base = {"aggregation": "softmin"} if kind == "bce" else {}  # of the product cross-entropy is the likelihood
    other = "mse" if kind == "bce" else "auto"
    assert Case({"loss": kind}, base={**base, "loss": other}).differs()


def test_the_ratio_of_preferences_is_another_loss_than_their_log_odds() -> None:
    assert Case({"loss": "ratio"}, "pairs", MEAN).differs()


def test_class_weights_by_number_are_those_of_that_share() -> None:
    share = float(np.mean([response.label for response in RATED]))  # type: ignore[arg-type]
    plain, balanced, same, other = (outcome("rated", {"class_weights": w}) for w in ("none", "balanced", share, 0.9))
    assert balanced[0] == same[0] != other[0]
    assert outcome("rated", {"class_weights": 0.5})[0] == plain[0]


@pytest.mark.parametrize(
    ("name", "option"), [(name, option.name) for name in AGGREGATIONS for option in AGGREGATIONS.options(name)]
)
def test_every_option_of_an_aggregation_changes_what_is_fitted(name: str, option: str) -> None:
    plain = f"{name}(levels=3)" if option == "levels" else name
    change = Case({"aggregation": f"{name}({option}={OTHERS[option]})"}, base={"aggregation": plain})
    assert replace(change, data="levels" if option == "levels" else "rated").differs()


@pytest.mark.parametrize(
    ("name", "option"), [(name, option.name) for name in PRIORS for option in PRIORS.options(name)]
)
def test_every_option_of_a_prior_changes_what_is_fitted(name: str, option: str) -> None:
    given = "" if option == "column" else GIVEN[name]
    plain = f"{name}({GIVEN[name]}".rstrip(", ") + ")"
    assert Case({"priors": f"{name}({given}{option}={OF_PRIORS[option]})"}, base={"priors": plain}).differs()


def test_the_cache_is_where_it_is_said(tmp_path: Any) -> None:
    assert EmbeddingCache.at(False) is None
    scorer = fitted(RATED[:40])
    slow = replace(scorer._encoder())  # type: ignore[type-var]
    object.__setattr__(slow, "quick", False)
    scorer.carry_encoder(slow)
    scorer.cache = tmp_path / "vectors"
    scorer.score_responses(RATED[:2])
    assert any(path.is_file() for path in (tmp_path / "vectors").rglob("*"))


def test_the_options_of_several_aspects_change_what_is_fitted() -> None:
    rated = [replace(r, aspects={"good": r.label, "odd": float(i % 2)}) for i, r in enumerate(RATED)]
    plain = SentenceScorer(encoder="hashing(dim=32)", cache=False, recipe="own", plan=PLAN)
    assert set(inspect.signature(AspectScorer.__init__).parameters) == {"self", "aggregations", "scorer"}

    def scores(rules: dict[str, str], scorer: SentenceScorer) -> list[tuple[float, ...]]:
        return [s.sentence_scores for s in AspectScorer(rules, scorer).fit(rated).score_responses(rated[:3])]

    before = scores({"good": "product", "odd": "mean"}, plain)
    assert scores({"good": "min", "odd": "mean"}, plain) != before
    other = SentenceScorer(encoder="hashing(dim=32)", cache=False, recipe="paper", plan=PLAN)
    assert scores({"good": "product", "odd": "mean"}, other) != before


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (RATED, {"loss": "ratio"}),
        (PAIRS, {"loss": "mse", "aggregation": "mean"}),
        (PAIRS, {"class_weights": "balanced", "aggregation": "mean"}),
        (PAIRS, {"class_weights": 0.3, "aggregation": "mean"}),
        (RATED, {"loss": "mse", "learn_from": "sentences"}),
        (RATED, {"loss": "huber"}),
        (RATED, {"class_weights": "heavy"}),
        (RATED, {"class_weights": 1.0}),
    ],
)
def test_a_loss_that_nothing_reads_is_refused(data: Data, options: dict[str, object]) -> None:
    with pytest.raises(BadSpec):
        fitted(data, **options)


def test_the_teacher_of_the_hybrid_prior_uses_a_share_of_the_sentence_labels() -> None:
    (choice,) = (c for c in fitted(RATED, priors="hybrid").choices_ if c.about == "teacher of the prior hybrid")
    assert choice.taken.endswith("of 60 responses with sentence labels")
    with pytest.raises(BadData, match="none is left to guide"):
        fitted(RATED, priors="hybrid(share=1.0)")
    with pytest.raises(BadData, match="needs a teacher"):
        fitted([replace(r.without_labels(), label=r.label) for r in RATED], priors="hybrid")
