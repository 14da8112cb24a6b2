"""Preferences disaggregated: every response once, its labels such that the better one has the larger share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fractal import Preference, Response, SelfTraining, SentenceScorer
from fractal.cli import main
from fractal.datasets.synthetic import make_preferences
from fractal.ensemble import fit as fitting
from fractal.errors import BadData
from fractal.mil.training.plan import TrainingPlan
from fractal.writers import write

PLAN = TrainingPlan(epochs=2, members=2, folds=2, hidden=(8,))


def small(**options: object) -> SentenceScorer:
    return SentenceScorer(encoder="hashing(dim=32)", recipe="own", cache=False, plan=PLAN, **options)


@pytest.fixture(scope="module")
def pairs() -> list[Preference]:
    made = make_preferences(40, seed=2)
    bare = [replace(p, better=p.better.without_labels(), worse=p.worse.without_labels()) for p in made]
    first = bare[0]
    third = Response.from_sentences("third", ["It is so.", "Nobody knows.", "It was so."], query=first.worse.query)
    return [first, Preference(first.worse, third), Preference(first.better, third), *bare[1:]]


@pytest.fixture(scope="module")
def scorer(pairs: list[Preference]) -> SentenceScorer:
    return small().fit(pairs)


def share(labels: tuple[float, ...]) -> float:
    return sum(labels) / len(labels)


def test_the_better_response_has_the_larger_share_of_good_sentences(
    scorer: SentenceScorer, pairs: list[Preference]
) -> None:
    labelled = {s.response.id: s for s in scorer.disaggregate(pairs)}
    assert len(labelled) == len({r.id for p in pairs for r in (p.better, p.worse)})
    for pair in pairs:
        one, two = labelled[pair.better.id], labelled[pair.worse.id]
        assert set(one.sentence_labels) <= {0.0, 1.0}
        if not pair.tie:
            assert share(one.sentence_labels) > share(two.sentence_labels)


def test_a_circle_is_counted(scorer: SentenceScorer, pairs: list[Preference]) -> None:
    with pytest.warns(UserWarning, match="2 responses are compared in ways that no labels"):
        scorer.disaggregate([pairs[0], Preference(pairs[0].worse, pairs[0].better)])


def test_the_command_line_labels_pairs(scorer: SentenceScorer, pairs: list[Preference], tmp_path: Path) -> None:
    scorer.save_pretrained(tmp_path / "scorer")
    write(pairs, tmp_path / "pairs.jsonl")
    out = tmp_path / "labelled.jsonl"
    with pytest.raises(SystemExit) as ended:
        main(["disaggregate", str(tmp_path / "scorer"), str(tmp_path / "pairs.jsonl"), "-o", str(out), "-q"])
    assert ended.value.code == 0
    rows = {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}
    for pair in pairs:
        if not pair.tie:
            better, worse = (tuple(rows[r.id]["disaggregated_labels"]) for r in (pair.better, pair.worse))
            assert share(better) > share(worse)


def test_soft_and_hard_pseudo_labels_of_pairs_differ(pairs: list[Preference]) -> None:
    soft, hard = (small(self_training=SelfTraining(rounds=1, soft=soft)).fit(pairs) for soft in (True, False))
    assert soft.choices_[-1].costs != hard.choices_[-1].costs


def test_levels_of_preferences_are_refused_before_training(
    pairs: list[Preference], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "train_expert", None)
    with pytest.raises(BadData, match="do not tell levels"):
        small(aggregation="max_levels(levels=3)").fit(pairs)


def test_shards_of_preferences_are_refused(
    scorer: SentenceScorer, pairs: list[Preference], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scorer.save_pretrained(tmp_path / "scorer")
    write(pairs, tmp_path / "pairs.jsonl")
    with pytest.raises(SystemExit) as ended:
        main(["disaggregate", str(tmp_path / "scorer"), str(tmp_path / "pairs.jsonl"), "-o", f"{tmp_path}/out/", "-q"])
    assert ended.value.code != 0
    assert "give one file" in capsys.readouterr().err
