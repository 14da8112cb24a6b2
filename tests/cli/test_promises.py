"""Promises on the command line: made in training or later, and followed wherever sentences are flagged."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from fractal import SentenceScorer, TrainingPlan, make_responses, write
from fractal.cli import app
from fractal.records import Response

SMALL = (
    "--encoder",
    "hashing(dim=32)",
    "--recipe",
    "own",
    "--set",
    "epochs=4",
    "--set",
    "members=2",
    "--set",
    "folds=2",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("promises")
    write(make_responses(160, task="summaries", seed=1), path / "rated.jsonl")
    write([r.without_labels() for r in make_responses(60, task="summaries", seed=2)], path / "new.jsonl")
    plan = TrainingPlan(epochs=4, members=2, folds=2)
    scorer = SentenceScorer(aggregation="product", encoder="hashing(dim=32)", recipe="own", plan=plan, cache=False)
    scorer.fit(make_responses(160, task="summaries", seed=1)).save_pretrained(path / "scorer")
    assert run("guarantee", path / "scorer", path / "rated.jsonl", "--false-alarms", "0.2")[0] == 0
    assert run("score", path / "scorer", path / "new.jsonl", "-o", path / "scores.jsonl", "--no-cache")[0] == 0
    return path


def run(*words):
    result = CliRunner().invoke(app, [*map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def threshold(place):
    return json.loads((place / "scorer" / "config.json").read_text())["guarantees"][""]["threshold"]


def test_train_makes_a_promise_and_refuses_early_what_it_cannot(place, tmp_path):
    data = place / "rated.jsonl"
    code, out, err = run(
        *("train", data, "-o", tmp_path / "s", "--aggregation", "product", *SMALL, "--no-cache", "--json"),
        *("--false-alarms", "0.2"),
    )
    assert code == 0, err
    assert json.loads(out)["promises"][""]["false_alarms"] == 0.2
    code, _, err = run("train", data, "-o", tmp_path / "m", "--aggregation", "mean", *SMALL, "--misses", "0.2")
    assert code == 2
    assert "says of no sentence" in err
    code, _, err = run("train", data, "-o", tmp_path / "m", *SMALL, "--misses", "0.001")
    assert code == 2
    assert "rate more responses" in err
    assert not (tmp_path / "m").exists()


def test_a_training_that_can_promise_nothing_leaves_the_scorer_and_says_so(place, tmp_path):
    code, _, err = run(
        *("train", place / "rated.jsonl", "-o", tmp_path / "s", "--aggregation", "product", *SMALL, "--no-cache", "-q"),
        *("--false-alarms", "0.05", "--misses", "0.05"),
    )
    assert code == 2
    assert "holds the trained scorer, without a promise" in err
    assert (tmp_path / "s" / "config.json").exists()


def test_what_flags_follows_the_promise(place, tmp_path):
    code, _, err = run("report", place / "scores.jsonl", "--scorer", place / "scorer", "-o", tmp_path / "r.html")
    assert code == 0, err
    assert f"below {threshold(place):.4f} are flagged" in err
    code, _, err = run("show", place / "scores.jsonl", "--scorer", place / "scorer", "-n", "1")
    assert code == 0, err
    assert f"below {threshold(place):.4f}" in err
    # filters pick what is shown, not what the promise is held against
    code, _, err = run("show", place / "scores.jsonl", "--scorer", place / "scorer", "--find", "in no text at all")
    assert "No response passes the filters" in err
    assert f"below {threshold(place):.4f}" in err
    out = tmp_path / "tasks.json"
    to = ("--to", "stepwise", "-o")
    code, _, err = run("export", place / "scores.jsonl", "--scorer", place / "scorer", *to, out)
    assert code == 0, err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert all((s >= threshold(place)) == y for row in rows for s, y in zip(row["scores"], row["labels"], strict=True))
    direct = tmp_path / "direct.json"
    code, _, err = run("score", place / "scorer", place / "new.jsonl", "--no-cache", *to, direct)
    assert code == 0, err
    assert [json.loads(line)["labels"] for line in direct.read_text().splitlines()] == [row["labels"] for row in rows]
    chosen = tmp_path / "own.json"
    run("export", place / "scores.jsonl", "--scorer", place / "scorer", "--to", "stepwise(threshold=0.0)", "-o", chosen)
    assert all(all(json.loads(line)["labels"]) for line in chosen.read_text().splitlines())


def test_scores_of_another_kind_are_refused_and_a_threshold_of_ones_own_is_not(place, tmp_path):
    strange = [
        Response.from_sentences(f"s{n}", ["9 * 9 = 80; " * 60] * 2, query=f"q{n}", context=("x",)) for n in range(200)
    ]
    write(strange, tmp_path / "strange.jsonl")
    scores = tmp_path / "scores.jsonl"
    assert (
        run("score", place / "scorer", tmp_path / "strange.jsonl", "-o", scores, "--no-cache", "--allow-missing")[0]
        == 0
    )
    code, _, err = run("report", scores, "--scorer", place / "scorer", "-o", tmp_path / "r.html")
    assert code == 2
    assert "of another kind" in err
    code, _, err = run("report", scores, "--scorer", place / "scorer", "-o", tmp_path / "r.html", "--threshold", "0.4")
    assert code == 0, err
