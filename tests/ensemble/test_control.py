"""Control: what length or author alone explain of labels is taken out of them, and not taught to sentences."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fractal.ensemble.config import FitConfig
from fractal.ensemble.control import preference_offset, rating_offset
from fractal.ensemble.result import Choice
from fractal.ensemble.self_training import SelfTraining
from fractal.errors import BadData, BadSpec
from fractal.evaluation.covariates import Covariate
from fractal.evaluation.folds import member_weights
from fractal.evaluation.metrics import METRICS
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Preference, Response
from fractal.records.corpus import gather
from fractal.scorers.aspects import AspectScorer, load_scorer
from fractal.scorers.sentence import SentenceScorer

WORDS = ("rain", "wind", "snow", "cloud", "frost", "storm")


def answer(number: int, sentences: int, *, good: int = 0, rng: np.random.Generator) -> Response:
    """Write sentences of weather, of which so many are marked as good by a number in them."""
    told = [" ".join(rng.choice(WORDS, 4)) + (" 7." if i < good else ".") for i in range(sentences)]
    return Response.from_sentences(f"r{number}", told, labels=[float(i < good) for i in range(sentences)])


def lengths_of(responses: list[Response]) -> np.ndarray:
    return np.log1p([[sum(len(s.text.split()) for s in r.sentences), len(r.sentences)] for r in responses])


def length_offsets(responses: list[Response], pairs: np.ndarray) -> np.ndarray:
    """Return the log-odds that length gives each response, by pairs alone."""
    records = [Preference(responses[a], responses[b], tie=bool(tie)) for a, b, tie in pairs.tolist()]
    corpus = gather(records)
    weights = np.ones((len(corpus.responses), 2), dtype=np.float32)
    offset = preference_offset(corpus, FitConfig(experts=()), weights)
    assert offset is not None
    assert offset.shape == (len(corpus.responses), 1), "two weights, fitted once to all pairs"
    by_id = dict(zip((r.id for r in corpus.responses), offset[:, 0].tolist(), strict=True))
    return np.array([by_id.get(response.id, np.nan) for response in responses])


@given(seed=st.integers(0, 1000))
def test_no_other_weights_of_length_explain_preferences_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    responses = [answer(i, int(rng.integers(1, 9)), rng=rng) for i in range(24)]
    order = rng.permutation(24)
    pairs = np.column_stack([order[:12], order[12:], rng.integers(0, 2, 12)]).astype(np.int64)
    lengths = lengths_of(responses)

    def cost(weights: np.ndarray) -> float:
        lead = (lengths[pairs[:, 0]] - lengths[pairs[:, 1]]) @ weights
        share = 1 - 0.5 * pairs[:, 2]
        return float((np.logaddexp(0, lead) - share * lead).sum() + 0.5 * weights @ weights)

    fitted = np.linalg.lstsq(lengths - lengths.mean(0), length_offsets(responses, pairs), rcond=None)[0]
    least = cost(fitted)
    for _ in range(20):
        assert cost(fitted + rng.normal(0, 0.1, 2)) >= least - 1e-6


def test_equal_lengths_leave_nothing_to_take_out() -> None:
    rng = np.random.default_rng(0)
    responses = [answer(i, 3, rng=rng) for i in range(10)]
    words = [dataclasses.replace(r, sentences=responses[0].sentences, text=responses[0].text) for r in responses]
    corpus = gather([Preference(words[0], dataclasses.replace(words[1], query="another"))])
    assert preference_offset(corpus, FitConfig(experts=()), np.ones((2, 2), dtype=np.float32)) is None


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
    unlabelled = [
        dataclasses.replace(p, better=p.better.without_labels(), worse=p.worse.without_labels())
        for p in preferences(300, seed=1)
    ]
    plan = TrainingPlan(epochs=30, hidden=(), seed=0, length_control=control)
    recipe = "arithmetic + markers + vectors"
    scorer = SentenceScorer(aggregation="mean", encoder="hashing(dim=32)", recipe=recipe, cache=False, plan=plan)
    scorer.fit(unlabelled)
    test = [p.better for p in preferences(100, seed=2)]
    truth = np.array([s.label for r in test for s in r.sentences])
    scored = scorer.score_responses([r.without_labels() for r in test])
    score = np.array([s for one in scored for s in one.sentence_scores])
    return float(score[truth == 1].mean() - score[truth == 0].mean())


def test_sentences_need_not_explain_that_long_answers_win() -> None:
    assert gap(control=True) > gap(control=False) + 0.05


AUTHORS = ("ana", "ben", "cyd", "dan")


def rated(n: int, seed: int, effect: float, field: str = "author") -> list[Response]:
    """Draw responses that are good where every sentence is, or by their author, who leaves marks in them."""
    rng = np.random.default_rng(seed)
    drawn = []
    for number in range(n):
        author, size = int(rng.integers(len(AUTHORS))), int(rng.integers(2, 6))
        good = rng.random(size) < 0.8
        marks = [f" {AUTHORS[author]} says" * bool(rng.random() < 0.5) for _ in range(size)]
        texts = [
            " ".join(rng.choice(WORDS, 3)) + mark + (" 7." if fine else ".")
            for mark, fine in zip(marks, good, strict=True)
        ]
        chance = 1 / (1 + np.exp(-(3 * (good.all() - 0.5) + effect * (author - 1.5))))
        drawn.append(
            Response.from_sentences(
                f"r{seed}-{number}",
                texts,
                labels=good.astype(float).tolist(),
                label=float(rng.random() < chance),
                extra={field: AUTHORS[author]},
            )
        )
    return drawn


def bare(responses: list[Response]) -> list[Response]:
    return [dataclasses.replace(r.without_labels(), label=r.label) for r in responses]


def small(control: str | tuple[str, ...] = (), **options: Any) -> SentenceScorer:
    plan = TrainingPlan(epochs=15, hidden=(), members=3, folds=3)
    settings: dict[str, Any] = {"aggregation": "product", "recipe": "vectors", "encoder": "hashing(dim=32)"}
    return SentenceScorer(**{**settings, "cache": False, "plan": plan, "control": control, **options})


def sentence_area(scorer: SentenceScorer, test: list[Response]) -> float:
    scored = scorer.score_responses([r.without_labels() for r in test])
    truth = np.array([s.label for r in test for s in r.sentences])
    return float(METRICS.build("roc_auc")(truth, np.array([s for one in scored for s in one.sentence_scores])))


def chosen(scorer: Any) -> list[Choice]:
    return [choice for choice in scorer.choices_ if "control of" in choice.about]


def test_sentences_need_not_explain_that_an_author_is_rated_better() -> None:
    train, test = bare(rated(300, 1, effect=1.5)), rated(150, 2, effect=1.5)
    without, controlled = small().fit(train), small("author").fit(train)
    assert sentence_area(controlled, test) > sentence_area(without, test) + 0.02
    (choice,) = chosen(controlled)
    assert choice.taken == "taken out"
    assert choice.costs["without"] - choice.costs["author"] > 0.05
    assert "4 values" in choice.why
    checks = [{one.name: one for one in scorer.checks_}["author shortcut"] for scorer in (without, controlled)]
    assert [check.verdict for check in checks] == ["warn", "ok"]
    assert "--control author" in checks[0].sentence
    assert checks[0].advice == "author"


def test_an_author_who_changes_nothing_is_left_in() -> None:
    train, test = bare(rated(200, 1, effect=0.0)), rated(80, 2, effect=0.0)
    without, controlled = small().fit(train), small("author").fit(train)
    (choice,) = chosen(controlled)
    assert choice.taken == "nothing to take out"
    assert sentence_area(controlled, test) == pytest.approx(sentence_area(without, test), abs=0.01)


def test_one_author_has_nothing_to_take_out() -> None:
    train = [dataclasses.replace(r, extra={"author": "ana"}) for r in bare(rated(60, 1, effect=0.0))]
    (choice,) = chosen(small("author").fit(train))
    assert choice.taken == "nothing to take out"
    assert "do not differ" in choice.why
    assert "one value" in choice.why


def test_a_field_that_no_response_carries_is_refused_by_those_there_are() -> None:
    with pytest.raises(BadData, match=r"'autor'.*author"):
        small("autor").fit(bare(rated(60, 1, effect=0.0)))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"learn_from": "sentences"}, "learn_from"),
        ({"tune": "minilm"}, "tune"),
        ({"aggregation": "count"}, "mean"),
    ],
)
def test_what_cannot_be_controlled_is_refused(options: dict[str, str], word: str) -> None:
    with pytest.raises(BadSpec, match=f"control=author.*{word}"):
        small("author", **options).fit(rated(60, 1, effect=0.0))


def test_members_know_nothing_of_the_labels_that_they_hold_out() -> None:
    responses = bare(rated(120, 1, effect=1.5))
    scorer = small("author")
    corpus, config = scorer.prepare(responses)
    weights = member_weights(corpus.groups, corpus.labels, 3, 3)
    first = rating_offset(corpus, config, weights)
    turned = [
        dataclasses.replace(r, label=1 - r.label) if weights[number, 0] == 0 else r
        for number, r in enumerate(corpus.responses)
    ]
    second = rating_offset(dataclasses.replace(corpus, responses=tuple(turned)), config, weights)
    assert first is not None
    assert second is not None
    assert torch.equal(first[:, 0], second[:, 0])
    assert not torch.equal(first[:, 1], second[:, 1])


def graded(responses: list[Response]) -> list[Response]:
    return [dataclasses.replace(r, label=round(0.2 + 0.6 * (r.label or 0), 1)) for r in responses]


def levelled(responses: list[Response]) -> list[Response]:
    return [dataclasses.replace(r, label=(r.label or 0) / 2) for r in responses]


def compared(responses: list[Response]) -> list[Preference]:
    """Compare good ones with bad ones, each with another."""
    ordered = sorted(responses, key=lambda r: -(r.label or 0))
    return [Preference(better, worse) for better, worse in zip(ordered[:60], ordered[-60:], strict=True)]


@pytest.mark.parametrize(
    ("options", "of"),
    [
        ({"aggregation": "mean"}, graded),
        ({"aggregation": "mean", "loss": "mse"}, graded),
        ({"aggregation": "min_levels(levels=3)"}, levelled),
        ({"aggregation": "prefix_value"}, list),
        ({"aggregation": "auto", "recipe": "auto", "encoder": "hashing(dim=8)"}, list),
        ({"aggregation": "mean"}, compared),
        ({"start": "auto", "self_training": SelfTraining(rounds=1)}, list),
    ],
    ids=["graded", "graded, mse", "levels", "prefixes", "auto", "pairs", "start"],
)
def test_every_kind_of_label_is_controlled(options: dict[str, Any], of: Any) -> None:
    plan = TrainingPlan(epochs=2, hidden=(), members=3, folds=3)
    scorer = small("author", plan=plan, **options).fit(of(bare(rated(150, 1, effect=2.0))))
    assert [choice.taken for choice in chosen(scorer)] == ["taken out"]


@pytest.mark.parametrize("rules", [{"a": "product", "b": "noisy_or"}, {"a": "auto"}], ids=["two", "one"])
def test_aspects_are_controlled_each_by_itself(rules: dict[str, str]) -> None:
    plan = TrainingPlan(epochs=2, hidden=(), members=3, folds=3)
    responses = bare(rated(150, 1, effect=2.0))
    even = Counter[str]()
    aspects = []
    for r in responses:
        even[r.extra["author"]] += 1
        other = float(even[r.extra["author"]] % 2)  # as often good as bad, whoever wrote it
        aspects.append(dataclasses.replace(r, label=None, aspects={"a": r.label, "b": other}))
    scorer = AspectScorer(rules, small("author", plan=plan)).fit(aspects)
    taken = {choice.about: choice.taken for choice in chosen(scorer)}
    assert taken["a: control of author"] == "taken out"
    assert taken.get("b: control of author", "nothing to take out") == "nothing to take out"


@pytest.mark.parametrize("taken", ["taken out", "nothing to take out"])
def test_preferences_are_freed_of_length_whether_or_not_it_was_named(taken: str) -> None:
    rng = np.random.default_rng(0)
    sizes = [(3, 2), (2, 3)] * 30 if taken == "nothing to take out" else [(5, 2)] * 60
    pairs = [
        Preference(answer(2 * i, better, rng=rng), answer(2 * i + 1, worse, rng=rng))
        for i, (better, worse) in enumerate(sizes)
    ]
    corpus, config = small("length", aggregation="mean").prepare(pairs)
    assert config.control is not None
    assert [choice.taken for choice in config.control.choices[""]] == [taken]
    offset = preference_offset(corpus, config, np.ones((len(corpus.responses), 3), dtype=np.float32))
    assert offset is not None
    assert offset.shape == (120, 3)


def test_a_saved_scorer_says_what_was_controlled(tmp_path: Path) -> None:
    aspects = [dataclasses.replace(r, aspects={"a": r.label}) for r in bare(rated(60, 1, effect=1.5))]
    plain, several = small(("author", "length")).fit(aspects), AspectScorer({"a": "product"}, small("author"))
    read = [load_scorer(one.fit(aspects).save_pretrained(tmp_path / str(i))) for i, one in enumerate((plain, several))]
    assert read[0].control == ("author", "length")
    assert read[0].choices_ == plain.choices_
    assert len(chosen(read[0])) == 2
    assert read[1].scorer.control == ("author",)
    assert chosen(read[1]) == chosen(several)
    assert "control of author" in (tmp_path / "0" / "README.md").read_text()


@given(
    values=st.lists(st.sampled_from([None, "", "a", "b", "c", 1.5, "2.5", float("nan")]), min_size=12, max_size=40),
    labels=st.data(),
)
def test_unknown_and_seldom_values_are_neutral(values: list[Any], labels: st.DataObject) -> None:
    made = [
        Response.from_sentences(str(i), ["one."], label=float(labels.draw(st.booleans())), extra={"by": value})
        for i, value in enumerate(values)
    ]
    try:
        covariate = Covariate.of(made, "by")
    except BadData:
        assert all(value is None or value == "" or value != value for value in values)
        return
    assert np.abs(covariate.columns.mean(0)).max(initial=0.0) < 1e-9
    unknown = [value is None or value == "" or value != value for value in values]
    assert covariate.missing == sum(unknown)
    assert not covariate.columns[np.array(unknown)].any()
    if covariate.what != "a number" and covariate.differs:
        assert int((~covariate.columns.any(1)).sum()) >= covariate.missing + covariate.rare


def test_numbers_are_one_column_and_few_whole_ones_are_names() -> None:
    rng = np.random.default_rng(0)

    def columns(values: list[Any]) -> int:
        made = [Response.from_sentences(str(i), ["one."], extra={"by": value}) for i, value in enumerate(values)]
        return Covariate.of(made, "by").columns.shape[1]

    assert columns(rng.normal(size=40).tolist()) == 1
    assert columns([str(value) for value in rng.normal(size=40)]) == 1
    assert columns(list(range(40))) == 1
    assert columns([1, 2, 3, 4] * 10) == 4
    assert columns([2.5] * 40) == 0
