"""New responses against those before: an exit code that a scheduled job can act on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fractal import SentenceScorer, TrainingPlan, make_responses, write
from fractal.cli import main
from fractal.evaluation.drift import calibration_drift, share_drift
from fractal.records import Response, ScoredResponse


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("watch")
    plan = TrainingPlan(epochs=4, members=2, folds=2)
    scorer = SentenceScorer(aggregation="product", encoder="hashing(dim=32)", recipe="own", plan=plan, cache=False)
    scorer.fit(make_responses(80, task="summaries", seed=1)).save_pretrained(path / "scorer")
    return path


def stamped(responses, time):
    return [replace(r, id=f"{time}-{r.id}", extra={**r.extra, "time": time}) for r in responses]


@pytest.fixture
def run(capsys):
    """Run the command as a shell does, and return its exit code and what it said."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["watch", *map(str, words)])
        return ended.value.code, *capsys.readouterr()

    return run


def test_more_of_the_same_is_no_drift_and_strange_texts_are(folder, run):
    old = stamped(make_responses(60, task="summaries", seed=2), "2026-01-01")
    same = stamped(make_responses(60, task="summaries", seed=3), "2026-02-01")
    bare = [replace(response, label=None) for response in same]
    write([*old, *bare], folder / "same.jsonl")
    code, said, noted = run(folder / "scorer", folder / "same.jsonl", "--since", "2026-01-15", "--margin", "0.2")
    assert code == 0, said
    assert "No new response is rated" in noted
    strange = [
        Response.from_sentences(f"s{n}", ["9 * 9 = 80; " * 60] * 2, extra={"time": "2026-02-01T00:00:00Z"})
        for n in range(40)
    ]
    write([*old, *strange], folder / "strange.jsonl")
    code, said, _ = run(folder / "scorer", folder / "strange.jsonl", "--since", "2026-01-15", "--json")
    assert code == 1, said
    rows = json.loads(said)
    assert next(row for row in rows if row["name"] == "sentences unlike training")["drifted"]


def test_what_is_new_must_be_said(folder, run):
    assert run(folder / "scorer", folder / "same.jsonl")[0] == 2


def test_shares_drift_where_the_interval_is_beyond_the_margin():
    rng = np.random.default_rng(0)
    rows = [(rng.random(5) < 0.1).tolist() for _ in range(300)]
    more = [(rng.random(5) < 0.4).tolist() for _ in range(300)]
    assert not share_drift("x", rows[:150], rows[150:]).drifted
    moved = share_drift("x", rows, more)
    assert moved.drifted
    assert 0.2 < moved.low < moved.after - moved.before < moved.high < 0.4


def test_scores_are_held_against_new_ratings():
    def scored(label, score):
        return ScoredResponse(Response.from_sentences("r", ["One."], label=label), (score,), score)

    assert calibration_drift([scored(None, 0.5)]) is None
    assert not calibration_drift([scored(float(n % 2), 0.5) for n in range(400)]).drifted
    assert calibration_drift([scored(float(n % 4 == 0), 0.6) for n in range(400)]).drifted
