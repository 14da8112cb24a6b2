"""Ratings that their sentences contradict: ranked by surprise, mirrored, and found where labels were turned."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fractal import SentenceScorer, TrainingPlan, make_responses, write
from fractal.cli import app
from fractal.errors import UnknownName
from fractal.evaluation.suspects import surprise, suspects
from fractal.records import Response, ScoredResponse

UNIT = st.floats(0, 1)


def scored(number, scores, label, rule="min", whole=0.5):
    response = Response.from_sentences(f"r{number}", [f"s{n}" for n in range(len(scores))], label=label)
    return ScoredResponse(response, tuple(scores), whole, aggregation=rule)


@given(UNIT, UNIT)
def test_surprise_is_nothing_where_label_and_score_agree_and_grows_from_there(label, score):
    assert surprise(label, score) >= -1e-12
    assert surprise(min(max(label, 0.001), 0.999), label) == pytest.approx(0, abs=1e-9)
    assert surprise(label, score) == pytest.approx(surprise(1 - label, 1 - score))
    further = score + 0.5 * ((1 if score > label else 0) - score)
    assert surprise(label, further) >= surprise(label, score) - 1e-12


def test_surprise_of_a_plain_label_is_minus_its_log_probability():
    assert surprise(1.0, 0.25) == pytest.approx(-math.log(0.25))
    assert surprise(0.0, 0.25) == pytest.approx(-math.log(0.75))


@given(st.lists(st.tuples(st.lists(UNIT, min_size=1, max_size=4), st.sampled_from([0.0, 0.5, 1.0, None]), UNIT)))
def test_the_order_is_that_of_surprise_and_the_mirror_is_the_same(rows):
    low = [scored(n, scores, label, whole=whole) for n, (scores, label, whole) in enumerate(rows)]
    high = [
        scored(n, [1 - s for s in scores], None if label is None else 1 - label, "max", 1 - whole)
        for n, (scores, label, whole) in enumerate(rows)
    ]
    ranked = suspects(low, "both")
    assert len(ranked) == sum(label is not None for _, label, _ in rows)
    assert [one.surprise for one in ranked] == sorted((one.surprise for one in ranked), reverse=True)
    for one, other in zip(ranked, suspects(high, "both"), strict=True):
        assert one.surprise == pytest.approx(other.surprise, abs=1e-6)
    parts = [{s.scored.response.id: s.surprise for s in suspects(low, by)} for by in ("response", "sentence")]
    for one in ranked:
        assert one.surprise == pytest.approx(sum(part[one.scored.response.id] for part in parts))


def test_what_speaks_against_a_rating_is_said():
    (bad,) = suspects([scored(1, [0.9, 0.1, 0.8], 1.0)])
    assert (bad.place, bad.why) == (1, "rated 1, its worst sentence (number 2) scores 0.10")
    (missed,) = suspects([scored(1, [0.2, 0.7], 0.0, "max")])
    assert missed.why == "rated 0, its best sentence (number 2) scores 0.70"
    (graded,) = suspects([scored(1, [0.2, 0.4], 0.9, "mean")])
    assert (graded.place, graded.why) == (None, "rated 0.9, sentences score 0.30 on average")
    with pytest.raises(UnknownName):
        suspects([], by="confidence")


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """A scorer that learned from ratings of which one in ten is wrong, and which those are."""
    rated = make_responses(300, task="summaries", seed=1)
    wrong = set(np.random.default_rng(0).permutation(len(rated))[:30].tolist())
    noisy = [dataclasses.replace(r, label=1 - r.label) if n in wrong else r for n, r in enumerate(rated)]
    plan = TrainingPlan(epochs=12, members=3, folds=3)
    scorer = SentenceScorer(aggregation="product", encoder="hashing(dim=64)", plan=plan, cache=False).fit(noisy)
    folder = tmp_path_factory.mktemp("suspects")
    write(noisy, folder / "rated.jsonl")
    scorer.save_pretrained(folder / "scorer")
    return folder, scorer, noisy, {noisy[n].id for n in wrong}


def test_wrong_ratings_stand_in_front(turned):
    _, scorer, noisy, wrong = turned
    first = [suspect.scored.response.id for suspect in scorer.suspects(noisy)[:30]]
    assert sum(id in wrong for id in first) >= 12  # by chance: 3


def test_inspect_ranks_and_writes_them(turned, tmp_path):
    folder, scorer, noisy, _ = turned
    words = ("inspect", folder / "rated.jsonl", "--scorer", folder / "scorer", "-n", "7", "--json")
    result = CliRunner().invoke(app, [*map(str, words), "--suspects", str(tmp_path / "again.jsonl")])
    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)["suspects"]
    expected = [suspect.to_dict() for suspect in scorer.suspects(noisy)]
    assert [one["id"] for one in shown] == [one["id"] for one in expected[:7]]
    rows = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [one["id"] for one in expected]
    told = CliRunner().invoke(app, ["inspect", str(folder / "rated.jsonl"), "--scorer", str(folder / "scorer")])
    assert "Ratings that their sentences contradict most (the first 5 of 300)" in told.stdout
    assert "which trained on 300 of them" in told.stderr
    alone = CliRunner().invoke(app, ["inspect", str(folder / "rated.jsonl"), "--suspects", "x.jsonl"])
    assert alone.exit_code == 2


def test_what_no_head_held_out_is_left_out_and_said(turned):
    _, scorer, noisy, _ = turned
    index = scorer.held_out_index_
    assert not index.seen_by_all(noisy).any()
    other = dataclasses.replace(
        index, members=np.where(np.arange(len(index.members)) < 10, np.uint64(0), index.members)
    )
    scorer.held_out_index_ = other
    try:
        with pytest.warns(UserWarning, match="10 responses were held out by no head"):
            assert len(scorer.held_out_scores(noisy)) == len(noisy) - 10
    finally:
        scorer.held_out_index_ = index
