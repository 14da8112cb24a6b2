"""Every check fires where its assumption is broken in generated data, and is silent where it holds."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fractal.datasets.synthetic import make_preferences, make_responses
from fractal.encoders import ENCODERS
from fractal.encoders.embedding import embed
from fractal.ensemble.checks import run_checks
from fractal.ensemble.self_training import SelfTraining
from fractal.evaluation.data_checks import data_checks
from fractal.evaluation.findings import Finding
from fractal.evaluation.outcomes import Outcome
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Preference, Response
from fractal.records.corpus import gather
from fractal.scorers.sentence import SentenceScorer
from support.effort import few

SEEDS = [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, few(6, 20)))]
ENCODER = ENCODERS.build("hashing")


def made(
    seed: int, task: str = "summaries", rule: str | None = None, noise: float = 0.0, n: int = 300
) -> list[Response]:
    """Responses as users have them: no sentence labels, nothing that tells of the generator."""
    responses = make_responses(n, task, rule, seed=seed, noise=noise, difficulty=0.0)
    return [
        dataclasses.replace(r, extra={}, sentences=tuple(dataclasses.replace(s, label=None) for s in r.sentences))
        for r in responses
    ]


def checked(data: Sequence[Response | Preference], aggregation: str = "min") -> dict[str, Finding]:
    corpus = gather(data)
    found = run_checks(embed(corpus.responses, ENCODER), corpus, aggregation=aggregation)
    return {finding.name: finding for finding in found}


def relabelled(responses: Sequence[Response], labels: Sequence[float]) -> list[Response]:
    return [dataclasses.replace(r, label=float(label)) for r, label in zip(responses, labels, strict=True)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("task", "rule", "right", "wrong"),
    [
        ("summaries", "min", "product", "max"),
        ("retrieval", "max", "noisy_or", "min"),
        ("answers", "mean", "mean", "min"),
        ("answers", "min", "product", "mean"),
    ],
)
def test_silent_where_every_assumption_holds_and_a_wrong_aggregation_is_named(
    seed: int, task: str, rule: str, right: str, wrong: str
) -> None:
    corpus = gather(made(seed, task, rule, n=500))
    block = embed(corpus.responses, ENCODER)
    found = {finding.name: finding for finding in run_checks(block, corpus, aggregation=right)}
    assert [name for name, finding in found.items() if finding.verdict != "ok"] == []
    assert found["aggregation"].high < 0
    against = {finding.name: finding for finding in run_checks(block, corpus, aggregation=wrong)}["aggregation"]
    assert (against.verdict, against.advice) == ("warn", right)
    assert against.low > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_prior_without_signal_or_against_it_is_named(seed: int) -> None:
    responses = made(seed)
    shuffled = np.random.default_rng(seed).permutation(len(responses))
    contexts = [responses[place].context for place in shuffled]
    lost = [dataclasses.replace(r, context=c) for r, c in zip(responses, contexts, strict=True)]
    assert checked(lost)["prior: similarity to the context"].verdict == "warn"
    turned = relabelled(responses, [1 - (r.label or 0.0) for r in responses])
    against = checked(turned)["prior: similarity to the context"]
    assert (against.verdict, against.advice) == ("fail", "drop")
    assert against.high < 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_noisy_labels_are_noticed(seed: int) -> None:
    finding = checked(made(seed, noise=0.2, n=1200))["label noise"]
    assert finding.verdict != "ok"
    assert finding.value == pytest.approx(0.2, abs=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_length_shortcut_is_noticed(seed: int) -> None:
    responses = made(seed)
    middle = float(np.median([len(r.text) for r in responses]))
    rng = random.Random(seed)
    labels = [float((len(r.text) < middle) != (rng.random() < 0.2)) for r in responses]
    found = {finding.name: finding for finding in data_checks(relabelled(responses, labels))}
    assert found["length shortcut"].verdict in ("warn", "fail")


@pytest.mark.parametrize("seed", SEEDS)
def test_contradictions_and_leaks_are_noticed(seed: int) -> None:
    responses = made(seed)
    copies = [dataclasses.replace(r, id=f"{r.id} again", group=f"other {r.id}") for r in responses[:30]]
    leaked = {finding.name: finding for finding in data_checks([*responses, *copies])}
    assert leaked["leaking groups"].verdict == "fail"
    assert leaked["contradicted responses"].verdict == "ok"
    at_odds = relabelled(copies, [1 - (r.label or 0.0) if i % 3 == 0 else r.label or 0.0 for i, r in enumerate(copies)])
    found = {finding.name: finding for finding in data_checks([*responses, *at_odds])}["contradicted responses"]
    assert found.verdict != "ok"
    # a third of the pairs is at odds: 2p(1 − p) = 1/3
    assert found.value == pytest.approx((1 - np.sqrt(1 / 3)) / 2)


def test_position_shortcut_reads_sentence_labels() -> None:
    last_is_bad = [
        Response.from_sentences(
            f"r{i}", [f"Sentence {i} {j}." for j in range(4)], labels=[1.0, 1.0, 1.0, float(i % 3 == 0)], label=1.0
        )
        for i in range(60)
    ]
    names = {finding.name: finding.verdict for finding in data_checks(last_is_bad)}
    assert names["position shortcut"] == "fail"


def test_preferences_are_checked_as_pairs() -> None:
    found = checked(make_preferences(200, seed=3, difficulty=0.0), "mean")
    assert found["prior: similarity to the context"].verdict == "ok"
    assert found["length shortcut"].verdict == "ok"
    assert "aggregation" not in found
    for name in ("prior: similarity to the context", "length shortcut"):
        assert "on preferences" in found[name].sentence
        assert "labels" not in found[name].sentence


def test_similarity_is_named_by_what_sentences_are_compared_with() -> None:
    responses = make_preferences(120, seed=3, difficulty=0.0)
    asked = [
        dataclasses.replace(
            pair,
            better=dataclasses.replace(pair.better, context=(), query="Which is it?"),
            worse=dataclasses.replace(pair.worse, context=(), query="Which is it?"),
        )
        for pair in responses
    ]
    names = [[name for name in checked(data, "mean") if "similarity" in name] for data in (asked, responses + asked)]
    assert names == [["prior: similarity to the query"], ["prior: similarity to the context or query"]]


def test_own_columns_are_checked_by_name() -> None:
    responses = made(0)
    truth = make_responses(300, seed=0, difficulty=0.0)
    columns = [{"good": tuple(s.label or 0.0 for s in r.sentences)} for r in truth]
    told = [dataclasses.replace(r, columns=c) for r, c in zip(responses, columns, strict=True)]
    assert checked(told)["prior: column 'good'"].value == pytest.approx(1.0)


def test_area_counts_pairs_in_order() -> None:
    outcome = Outcome(np.array([0.0, 0.0, 1.0, 1.0]), np.arange(4), np.empty(0, np.int64), np.arange(4))
    assert outcome.area(np.array([0.1, 0.4, 0.3, 0.9])).value == 0.75


def test_few_labels_say_nothing_of_the_method() -> None:
    assert {"aggregation", "label noise"}.isdisjoint(checked(made(0, n=30)))


def test_findings_survive_plain_data() -> None:
    for finding in data_checks(made(0, n=60)):
        again = Finding.from_dict(finding.to_dict())
        assert again.to_dict() == finding.to_dict()


def test_data_checks_need_no_torch() -> None:
    code = (
        "import sys; from fractal.evaluation.data_checks import data_checks; from fractal import make_responses;"
        "data_checks(make_responses(50)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_fit_keeps_its_findings_and_saves_them(tmp_path: Path) -> None:
    plan = TrainingPlan(epochs=3, members=2, folds=2)
    scorer = SentenceScorer(
        "noisy_or", "own", "hashing", start="even", self_training=SelfTraining(rounds=0), plan=plan, cache=False
    )
    scorer.fit(made(0))
    assert {f.name: f.advice for f in scorer.checks_}["aggregation"] == "product"
    again = SentenceScorer.from_pretrained(scorer.save_pretrained(tmp_path / "scorer"))
    assert [f.to_dict() for f in again.checks_] == [f.to_dict() for f in scorer.checks_]
