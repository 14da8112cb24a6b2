"""A fit that goes on from an earlier one: honest folds, results as good as afresh, and said where it cannot."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from fractal import SentenceScorer, TrainingPlan, load_scorer, make_responses
from fractal.ensemble.self_training import SelfTraining
from fractal.evaluation.metrics import METRICS
from fractal.mil.training.callbacks import Epoch
from fractal.records import Response
from fractal.scorers.warm import ABOUT, EARLIER
from support.effort import few

PLAN = TrainingPlan(members=3, folds=3, hidden=(16,))


def rated(count: int, seed: int = 1, first: int = 0) -> list[Response]:
    """Responses with ratings alone."""
    made = make_responses(first + count, task="summaries", seed=seed)[first:]
    return [dataclasses.replace(response.without_labels(), label=response.label) for response in made]


def corrected(responses: Sequence[Response], truth: Sequence[Response], share: float, seed: int = 0) -> list[Response]:
    """The same with the true labels of a share of their sentences."""
    chance = random.Random(seed)
    return [
        dataclasses.replace(
            response,
            sentences=tuple(
                dataclasses.replace(sentence, label=true.label if chance.random() < share else None)
                for sentence, true in zip(response.sentences, labelled.sentences, strict=True)
            ),
        )
        for response, labelled in zip(responses, truth, strict=True)
    ]


def scorer(aggregation: str = "product", **options: object) -> SentenceScorer:
    usual = {"recipe": "own", "encoder": "hashing(dim=64)", "plan": PLAN, "cache": False}
    return SentenceScorer(aggregation, **{**usual, **options})  # type: ignore[arg-type]


def beginning_of(fitted: SentenceScorer) -> tuple[str, str]:
    choice = next(choice for choice in fitted.choices_ if choice.about == ABOUT)
    return choice.taken, choice.why


def area(fitted: SentenceScorer, responses: Sequence[Response]) -> float:
    truth = np.array([label for response in responses for label in response.sentence_labels], dtype=float)
    scored = fitted.score_responses([response.without_labels() for response in responses])
    return float(METRICS.build("roc_auc")(truth, np.array([s for item in scored for s in item.sentence_scores])))


@pytest.fixture(scope="module")
def earlier() -> SentenceScorer:
    return scorer().fit(rated(150))


def test_every_response_is_held_out_by_whom_it_was_before(earlier: SentenceScorer) -> None:
    before = rated(150)
    new = [*rated(40, first=150), dataclasses.replace(before[0], id="again", text=f"{before[0].text} More.")]
    fitted = scorer().fit([*new, *before], earlier=earlier)
    assert beginning_of(fitted)[0] == EARLIER
    assert np.array_equal(
        fitted.held_out_index_.weights(before, PLAN.members), earlier.held_out_index_.weights(before, PLAN.members)
    )
    dealt = fitted.held_out_index_.weights(new, PLAN.members)
    assert ((dealt == 0).sum(1) == 1).all()  # each by one member, as three deal three folds
    assert set(dealt.argmin(1)) == {0, 1, 2}
    groups = {
        response.split_group: weights
        for response, weights in zip(before, earlier.held_out_index_.weights(before, 3), strict=True)
    }
    for response, weights in zip(new, dealt, strict=True):
        assert np.array_equal(groups.get(response.split_group, weights), weights)


@pytest.mark.slow
def test_it_is_as_good_as_a_fit_afresh_and_learns_from_corrections() -> None:
    """Held-out cost of the ratings, and sentences of other responses; the mean over seeds, as one is a toss."""
    costs, areas = [], []
    for seed in range(few(2, 3)):
        truth = make_responses(200, task="summaries", seed=seed)
        other = make_responses(150, task="summaries", seed=seed + 100)
        plan = dataclasses.replace(PLAN, seed=seed)
        before = scorer(plan=plan).fit(rated(200, seed))
        labelled = corrected(rated(200, seed), truth, 0.015)
        afresh, warm = scorer(plan=plan).fit(labelled), scorer(plan=plan).fit(labelled, earlier=before)
        assert beginning_of(warm)[0] == EARLIER
        assert len(warm.history_) < len(afresh.history_) / 2
        costs.append(warm.cost_ - afresh.cost_)
        areas.append([area(one, other) for one in (before, afresh, warm)])
    assert np.mean(costs) <= 0.01
    first, afresh, warm = np.mean(areas, axis=0)
    assert warm >= afresh - 0.01
    assert warm >= first - 0.005


def test_random_corrections_look_like_chance_to_the_heads_that_held_them_out(
    earlier: SentenceScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fractal.scorers.warm.MOST_CORRECTED", np.inf)
    chance = random.Random(5)
    labelled = [
        dataclasses.replace(
            response,
            sentences=tuple(dataclasses.replace(s, label=float(chance.random() < 0.5)) for s in response.sentences),
        )
        for response in rated(150)
    ]
    fitted = scorer().fit(labelled, earlier=earlier)
    assert beginning_of(fitted)[0] == EARLIER
    bare = [response.without_labels() for response in labelled]
    said = np.array([label for response in labelled for label in response.sentence_labels], dtype=float)
    scores = np.array([s for item in fitted.disaggregate(bare) for s in item.sentence_scores])
    assert abs(METRICS.build("roc_auc")(said, scores) - 0.5) < 0.06


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"aggregation": "noisy_or"}, "it learned under product"),
        ({"encoder": "hashing(dim=32)"}, "another encoder"),
        ({"recipe": "auto"}, "other experts"),
        ({"plan": dataclasses.replace(PLAN, hidden=(8,))}, "other heads"),
        ({"plan": dataclasses.replace(PLAN, members=2)}, "other heads"),
        ({"self_training": SelfTraining(rounds=1)}, "begin afresh"),
    ],
)
def test_where_it_cannot_go_on_it_begins_afresh_and_says_why(
    earlier: SentenceScorer, options: dict[str, object], why: str
) -> None:
    options = {"plan": PLAN, **options}
    options["plan"] = dataclasses.replace(options["plan"], epochs=2)  # type: ignore[type-var]
    fitted = scorer(**options).fit(rated(60), earlier=earlier)  # type: ignore[arg-type]
    taken, said = beginning_of(fitted)
    assert taken == "afresh"
    assert why in said
    alone = scorer(**options).fit(rated(60))  # type: ignore[arg-type]
    assert fitted.score_responses(rated(20)) == alone.score_responses(rated(20))


def test_mostly_new_responses_begin_afresh(earlier: SentenceScorer) -> None:
    plan = dataclasses.replace(PLAN, epochs=2)
    fitted = scorer(plan=plan).fit([*rated(30), *rated(60, seed=9)], earlier=earlier)
    assert "67% of the responses are new" in beginning_of(fitted)[1]


def test_many_corrections_begin_afresh(earlier: SentenceScorer) -> None:
    plan = dataclasses.replace(PLAN, epochs=2)
    labelled = corrected(rated(150), make_responses(150, task="summaries", seed=1), 0.1)
    begun = beginning_of(scorer(plan=plan).fit(labelled, earlier=earlier))
    assert begun[0] == "afresh"
    assert "sentence labels are new" in begun[1]


def test_an_open_rule_is_that_of_the_earlier_scorer(earlier: SentenceScorer) -> None:
    fitted = scorer("auto").fit(rated(150), earlier=earlier)
    assert (fitted.aggregation_, beginning_of(fitted)[0]) == ("product", EARLIER)
    assert [choice.about for choice in fitted.choices_ if choice.about.startswith("aggregation")] == []


class Stopped(Exception):
    """A run that is killed."""


def test_a_saved_scorer_is_gone_on_from_and_a_killed_run_gives_the_same_bits(
    earlier: SentenceScorer, tmp_path: Path
) -> None:
    saved = load_scorer(earlier.save_pretrained(tmp_path / "scorer"), cache=False)
    whole = scorer().fit(rated(150), earlier=saved)

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 3:
            raise Stopped

    with pytest.raises(Stopped):
        scorer().fit(rated(150), earlier=saved, callbacks=[stop], checkpoints=tmp_path / "run")
    again = scorer().fit(rated(150), earlier=saved, checkpoints=tmp_path / "run")
    answers = rated(30, seed=4)
    assert again.score_responses(answers) == whole.score_responses(answers)
    assert whole.score_responses(answers) != saved.score_responses(answers)
