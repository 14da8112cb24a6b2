"""What 'auto' leaves to the checks: forms ruled out beforehand, priors tried, and the user told why."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from benchmarks.broken import CASES, CHOSEN

from fractal.datasets.synthetic import make_responses
from fractal.encoders import ENCODERS
from fractal.encoders.block import EncodedBlock
from fractal.encoders.embedding import embed
from fractal.ensemble.checks import run_checks
from fractal.ensemble.config import FitConfig
from fractal.ensemble.direction import is_open, mixture_shares
from fractal.ensemble.fit import fit_ensembles
from fractal.ensemble.result import Choice, FitResult
from fractal.ensemble.selection import asked_priors
from fractal.ensemble.specs import ExpertSpec
from fractal.ensemble.tasks import forms_of
from fractal.errors import BadSpec
from fractal.evaluation.metrics import METRICS
from fractal.mil.aggregations import AGGREGATIONS, FORMS, ORDERED_FORMS, Aggregation
from fractal.mil.objectives.priors import CosinePrior
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Preference, Response
from fractal.records.corpus import Corpus, gather
from fractal.scorers.sentence import SentenceScorer
from support.effort import few

ENCODER = "hashing"
PLAN = TrainingPlan(epochs=12, members=2, folds=2)
ALL = tuple(AGGREGATIONS.build(form) for form in ("product", "noisy_or", "mean"))


def laid(responses: Sequence[Response]) -> tuple[EncodedBlock, Corpus]:
    corpus = gather(responses)
    return embed(corpus.responses, ENCODERS.build(ENCODER)), corpus


def quick(responses: Sequence[Response], *forms: Aggregation, **options: object) -> FitResult:
    config = FitConfig((ExpertSpec(("cosine", "overlap", "novel_names")),), plan=PLAN, try_priors=True)
    config = dataclasses.replace(config, **options)  # type: ignore[arg-type]
    return fit_ensembles(*laid(responses), {"": forms or ALL}, config)[""]


def told(fitted: FitResult, about: str) -> Choice:
    return next(choice for choice in fitted.choices if choice.about == about)


def test_a_form_that_small_models_rule_out_is_not_fitted() -> None:
    fitted = quick(CASES["nothing"].made(0))
    first = told(fitted, "aggregation, by small models")
    assert first.taken == "product"
    assert set(first.costs) == {"product", "noisy_or", "mean"}
    assert first.costs["product"] == min(first.costs.values())
    assert "not fitted" in first.why
    assert all(choice.about != "aggregation" for choice in fitted.choices)  # one whole fit, nothing to compare
    assert AGGREGATIONS.spec(fitted.ensemble.aggregation) == "product"


def test_whole_fits_are_compared_where_small_models_leave_it_open() -> None:
    fitted = quick(CASES["similarity without signal: contexts of others"].made(0))
    open_forms = told(fitted, "aggregation, by small models").taken.split(" or ")
    compared = told(fitted, "aggregation")
    assert len(open_forms) > 1
    assert set(compared.costs) == set(open_forms)
    directions = fitted.directions
    assert sum(directions.values()) == pytest.approx(1)
    shares = mixture_shares(directions)
    assert fitted.ensemble.aggregation.direction == max(shares, key=lambda name: shares[name])
    assert ("The direction is open" in compared.why) == is_open(directions)


@pytest.mark.parametrize(("of_worst", "taken"), [(True, "product"), (False, "mean")])
def test_graded_labels_are_a_mean_unless_another_form_explains_them_clearly_better(
    *, of_worst: bool, taken: str
) -> None:
    """Ratings in stars: of the worst sentence, or of all together."""
    draw = np.random.default_rng(0)
    rated = []
    for made in make_responses(300, "summaries", "min" if of_worst else "mean", seed=0):
        stars = round(4 * float(np.clip(made.label + draw.uniform(-0.2, 0.2), 0, 1)))
        rated.append(dataclasses.replace(made.without_labels(), label=stars / 4, extra={}))
    assert len({case.label for case in rated}) > 2
    fitted = quick(rated, *SentenceScorer().forms(gather(rated)))
    choice = told(fitted, "aggregation, by small models")
    assert choice.taken == taken == AGGREGATIONS.spec(fitted.ensemble.aggregation)
    assert ("clearly better" in choice.why) == of_worst
    assert set(choice.costs) == {"product", "noisy_or", "mean"}


def test_few_graded_labels_are_a_mean() -> None:
    rated = [dataclasses.replace(case, label=0.5 * (case.label or 0)) for case in CASES["nothing"].made(0, 60)]
    fitted = quick(rated, *SentenceScorer().forms(gather(rated)))
    assert AGGREGATIONS.spec(fitted.ensemble.aggregation) == "mean"
    assert not [choice for choice in fitted.choices if "aggregation" in choice.about]


def test_few_labels_rule_nothing_out() -> None:
    fitted = quick(CASES["nothing"].made(0, 60))
    assert set(told(fitted, "aggregation").costs) == {"product", "noisy_or", "mean"}
    assert "Fewer than 100" in told(fitted, "prior cosine").why


@pytest.mark.parametrize("seed", range(3))
def test_the_check_never_contradicts_what_auto_took(seed: int) -> None:
    for name in ("aggregation: labels are the best sentence's", "20% of the labels flipped"):
        block, corpus = laid(CASES[name].made(seed, 300))
        settings = FitConfig((ExpertSpec(("cosine", "overlap")),), plan=dataclasses.replace(PLAN, seed=seed))
        fitted = fit_ensembles(block, corpus, {"": ALL}, settings)[""]
        found = {finding.name: finding for finding in run_checks(block, corpus, fitted, seed=seed)}
        check = found["aggregation"]
        assert check.verdict == "ok" or "The direction is open" in check.sentence


def test_only_priors_with_signal_are_tried_and_only_gains_are_kept() -> None:
    fitted = quick(CASES["nothing; a column with signal"].made(0), *ALL[:1])
    tried = [choice for choice in fitted.choices if choice.about.startswith("prior ") and choice.costs]
    assert {"prior cosine", "prior column(column='mine')"} <= {choice.about for choice in tried}
    for choice in tried:
        assert (choice.taken == "with") == (choice.costs["with"] < choice.costs["without"])
        assert "carries signal" in choice.why
    assert len(fitted.priors) == sum(choice.taken == "with" for choice in tried)
    assert fitted.cost == min(min(choice.costs.values()) for choice in tried)


@pytest.mark.parametrize(
    ("case", "prior", "why"),
    [
        ("similarity without signal: contexts of others", "cosine", "no clear signal"),
        ("similarity the wrong way: labels turned round", "cosine", "the wrong way"),
        ("a column without signal", "column(column='mine')", "no clear signal"),
        ("a column the wrong way", "column(column='mine')", "the wrong way"),
    ],
)
def test_priors_without_signal_or_against_it_get_no_weight(case: str, prior: str, why: str) -> None:
    right = AGGREGATIONS.build(CASES[case].right)
    fitted = quick(CASES[case].made(0), right)
    choice = told(fitted, f"prior {prior}")
    assert (choice.taken, choice.costs) == ("without", {})
    assert why in choice.why
    assert prior.partition("(")[0] not in {term.name for term in fitted.priors}


def test_a_column_that_no_score_could_reach_is_no_prior() -> None:
    made = CASES["nothing; a column with signal"].made(0)
    stretched = [dataclasses.replace(r, columns={"mine": tuple(5 * v for v in r.columns["mine"])}) for r in made]
    fitted = quick(stretched, *ALL[:1])
    assert all("mine" not in choice.about for choice in fitted.choices)


def test_a_prior_given_by_hand_is_used_and_the_user_is_told() -> None:
    responses = CASES["similarity the wrong way: labels turned round"].made(0)
    scorer = SentenceScorer("noisy_or", "own", ENCODER, priors=("cosine",), plan=PLAN, cache=False).fit(responses)
    finding = {one.name: one for one in scorer.checks_}["prior: similarity to the context"]
    assert finding.verdict == "fail"
    assert "yet it had weight, as given" in finding.sentence
    without = SentenceScorer("noisy_or", "own", ENCODER, plan=PLAN, cache=False).fit(responses)
    assert "deserves no weight" in {one.name: one for one in without.checks_}[finding.name].sentence
    assert without.cost_ != scorer.cost_


def test_how_priors_are_asked_for() -> None:
    assert asked_priors("auto") == asked_priors(("auto",)) == ((), True)
    assert asked_priors("cosine") == asked_priors((CosinePrior(),)) == ((CosinePrior(),), False)
    assert asked_priors(()) == ((), False)
    with pytest.raises(BadSpec, match="alone"):
        asked_priors(("auto", "cosine"))


def test_full_supervision_tries_no_prior() -> None:
    fitted = quick(CASES["nothing"].made(0, 120, bare=False), *ALL[:1], learn_from="sentences")
    assert [choice.about for choice in fitted.choices if choice.about.startswith("prior")] == []


def area(scorer: SentenceScorer, responses: Sequence[Response]) -> float:
    truth = np.array([sentence.label for response in responses for sentence in response.sentences], dtype=float)
    scored = scorer.score_responses([response.without_labels() for response in responses])
    return float(METRICS.build("roc_auc")(truth, np.array([s for one in scored for s in one.sentence_scores])))


def made_by(aggregation: str, priors: str | Sequence[str], plan: TrainingPlan) -> SentenceScorer:
    """Return a scorer of one head, so that all that differs is what was chosen."""
    return SentenceScorer(aggregation, "own", "hashing(dim=256)", priors=priors, plan=plan, cache=False)


def taken(scorer: SentenceScorer) -> tuple[str, tuple[str, ...]]:
    """Return the form and the priors that 'auto' took, as one gives them by hand."""
    kept = [choice.about for choice in scorer.choices_ if choice.about.startswith("prior ") and choice.taken == "with"]
    return scorer.aggregation_, tuple(about.removeprefix("prior ") for about in kept)


def loses(name: str, seed: int, n: int, plan: TrainingPlan) -> float:
    """Return the sentence AUC that 'auto' loses against the right choice made by hand."""
    case, plan = CASES[name], dataclasses.replace(plan, seed=seed)
    train, test = case.made(seed, n), case.made(seed + 10_000, 200, bare=False)
    auto = made_by("auto", "auto", plan).fit(train)
    if taken(auto) == (case.right, case.priors):
        return 0.0  # the same scorer, as the test below makes sure
    return area(made_by(case.right, case.priors, plan).fit(train), test) - area(auto, test)


def test_what_auto_takes_is_learned_as_if_it_were_given_by_hand() -> None:
    case = CASES["nothing; a column with signal"]
    auto = made_by("auto", "auto", PLAN).fit(case.made(0, 300))
    assert taken(auto)[1]
    hand = made_by(*taken(auto), PLAN).fit(case.made(0, 300))
    assert hand.score_responses(case.made(1, 50)) == auto.score_responses(case.made(1, 50))


IN_LITTLE = ("aggregation: labels are the best sentence's", "a column the wrong way")  # in quick runs, too
LEARNABLE = [name for name in CHOSEN if CASES[name].learnable]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in IN_LITTLE else pytest.mark.slow) for name in LEARNABLE]
)
def test_auto_is_as_good_as_the_right_choice(name: str) -> None:
    """One seed may fall between two close forms; the mean over seeds may not."""
    plan = TrainingPlan(epochs=few(20, 40), members=3, folds=3)
    assert np.mean([loses(name, seed, few(300, 400), plan) for seed in range(few(2, 3))]) <= 0.02


def test_every_form_that_auto_fits_has_a_small_model() -> None:
    assert set(FORMS.values()) == {AGGREGATIONS.spec(form) for form in ALL}


def rated(*labels: float | None, stated: tuple[str, ...] = ("",)) -> list[Response]:
    said = itertools.cycle(stated)
    return [
        Response.from_sentences(str(i), ["One.", f"Two is {i}."], label=label, extra={"aggregation": next(said)})
        for i, label in enumerate(labels)
    ]


@pytest.mark.parametrize(
    ("data", "directions"),
    [
        (rated(0, 1, None), ("min", "max", "mean")),
        (rated(0, 0.5, 1), ("mean", "min", "max")),
        (rated(None, None), ("mean",)),
        (rated(0, 1, stated=("max",)), ("max",)),
        (rated(0, 1, stated=("avg",)), ("mean",)),
        (rated(0, 1, stated=("max", "min")), ("min", "max", "mean")),
        (rated(0, 1, stated=("whatever",)), ("min", "max", "mean")),
        ([Preference(*rated(None, None, stated=("max",)))], ("mean",)),
    ],
)
def test_directions_are_what_the_data_state_or_their_labels_allow(data, directions) -> None:
    assert gather(data).directions == directions


def ordered_runs(recovery: float, count: int = 500, of: str = "Agent: step {} of {}") -> list[Response]:
    """Steps that are wrong or right, as a column says; a right one mends an earlier error with this chance."""
    draw = np.random.default_rng(3)
    runs = []
    for number in range(count):
        wrong = draw.random(8) < 0.25
        failing = False
        for step in wrong:
            failing = bool(step) or (failing and draw.random() >= recovery)
        steps = [of.format(place, number) for place in range(8)]
        columns = {"wrong": tuple(wrong.astype(float))}
        runs.append(Response.from_sentences(str(number), steps, label=float(not failing), columns=columns))
    return runs


@pytest.mark.parametrize(("recovery", "taken"), [(0.4, "first_error(recovery=0.4)"), (0.0, "product")])
def test_a_form_that_knows_the_order_is_taken_where_held_out_outcomes_are_clearly_better_for_it(
    recovery: float, taken: str
) -> None:
    """Where errors are mended later; where they never are the product stays, as it does where nothing is clear."""
    runs = ordered_runs(recovery)
    expert = ExpertSpec(("precomputed(column='wrong')",), linear=True)
    forms = SentenceScorer(encoder=ENCODER).forms(gather(runs))
    assert {AGGREGATIONS.spec(form) for form in forms} >= {*ORDERED_FORMS}
    only_minimum = [form for form in forms if form.direction == "min"]
    fitted = quick(runs, *only_minimum, experts=(expert,), try_priors=False)
    choice = told(fitted, "order of steps, by small models")
    assert choice.taken == taken == AGGREGATIONS.spec(fitted.ensemble.aggregation)
    assert set(choice.costs) == set(ORDERED_FORMS)


def test_it_is_said_that_responses_which_calculate_are_taken_for_steps() -> None:
    expert = ExpertSpec(("precomputed(column='wrong')",), linear=True)
    for text, told_so in (("{0} + {1} = 3", True), ("Agent: step {} of {}", False)):
        runs = ordered_runs(0.0, 120, text)
        only_minimum = [form for form in SentenceScorer(encoder=ENCODER).forms(gather(runs)) if form.direction == "min"]
        fitted = quick(runs, *only_minimum, experts=(expert,), try_priors=False)
        choice = told(fitted, "order of steps, by small models")
        assert choice.why.startswith("Most responses calculate, so their sentences are steps.") == told_so


def test_texts_are_tried_under_forms_without_order_alone() -> None:
    corpus = gather(CASES["nothing"].made(0))
    for splitter, in_order in (("sentences", False), ("steps", True)):
        forms = SentenceScorer(encoder=ENCODER, splitter=splitter).forms(corpus)
        assert forms == forms_of("auto", None, corpus.directions, in_order=in_order)
        assert (set(ORDERED_FORMS) <= {AGGREGATIONS.spec(form) for form in forms}) == in_order
