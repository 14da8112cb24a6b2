"""Scores of a scorer that learned from preferences alone say so, with torch and without, and in the file."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from fractal import Preference, SentenceScorer, TrainingPlan, make_responses
from fractal.readers import read_scored
from fractal.records import ScoredResponse
from fractal.scorers.inputs import relative_scores
from fractal.scorers.runtime import load_runtime
from fractal.writers import write
from fractal.writers.preferences import RELATIVE, kto_rows

RESPONSES = make_responses(40, task="summaries", seed=3)
GOOD = [one for one in RESPONSES if one.label == 1.0]
BAD = [one for one in RESPONSES if one.label == 0.0]
PAIRS = [
    Preference(
        dataclasses.replace(good, label=None, query=f"q{n}"), dataclasses.replace(bad, label=None, query=f"q{n}")
    )
    for n, (good, bad) in enumerate(zip(GOOD, BAD, strict=False))
]
BARE = [Preference(pair.better.without_labels(), pair.worse.without_labels()) for pair in PAIRS]
ASKED = [pair.better for pair in BARE]
OPTIONS: dict[str, Any] = {"encoder": "hashing(dim=32)", "aggregation": "mean", "recipe": "own", "cache": False}


def fitted(data: Any) -> SentenceScorer:
    return SentenceScorer(**OPTIONS, plan=TrainingPlan(epochs=1, members=2, folds=2)).fit(data)


def test_scores_learned_from_preferences_alone_are_relative(tmp_path: Path) -> None:
    scorer = fitted(BARE)
    scored = scorer.score_responses(ASKED[:4])
    assert all(one.relative for one in scored)
    assert all(one.relative for one in scorer.disaggregate(BARE))
    folder = scorer.save_pretrained(tmp_path / "scorer")
    assert all(one.relative for one in load_runtime(folder).score_responses(ASKED[:2]))
    assert all(one.relative for one in SentenceScorer.from_pretrained(folder).score_responses(ASKED[:2]))
    write(scored, tmp_path / "scores.jsonl")
    assert [*read_scored(tmp_path / "scores.jsonl")] == [*scored]


@pytest.mark.parametrize(
    "data", [RESPONSES, [*BARE, *RESPONSES[:8]], PAIRS], ids=["ratings", "both", "sentence labels"]
)
def test_scores_that_labels_anchor_are_not(data: Any, tmp_path: Path) -> None:
    scored = fitted(data).score_responses(ASKED[:2])
    assert not any(one.relative for one in scored)
    write(scored, tmp_path / "scores.jsonl")
    assert "relative" not in (tmp_path / "scores.jsonl").read_text()


def test_counts_of_another_kind_of_scorer_say_nothing() -> None:
    assert not relative_scores({})
    assert not relative_scores({"preferences": 0, "labelled responses": 0})


def test_no_thumbs_are_made_of_relative_scores() -> None:
    response = dataclasses.replace(ASKED[0], query="Which?")
    sure = ScoredResponse(response, (0.99,) * len(response.sentences), 0.99, aggregation="mean", relative=True)
    left_out: Counter[str] = Counter()
    rows = [*kto_rows([sure, dataclasses.replace(sure, relative=False)], left_out=left_out)]
    assert [row["label"] for row in rows] == [True]
    assert left_out == {RELATIVE: 1}
