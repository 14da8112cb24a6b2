"""The demonstration: what it leaves behind, what it learns from, and how well it does."""

from __future__ import annotations

import json

import pytest

from fractal.cli import main
from fractal.cli._demo import Standout, contrast, run_demo
from fractal.readers import read
from fractal.records import Response, ScoredResponse
from support.effort import few


def test_it_leaves_data_scorers_scores_and_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "cache"))
    told: list[str] = []

    def train(scorer, rated):
        scorer.set_params(recipe="own", plan__epochs=3)
        scorer.fit(rated)

    found = run_demo(tmp_path / "demo", responses=120, encoder="hashing(dim=64)", train=train, log=told.append)
    for part in found.parts:
        names = {path.name for path in part.folder.iterdir()}
        assert names == {"ratings.jsonl", "answers.jsonl", "truth.jsonl", "scorer", "scores.jsonl"}
        rated, kept = list(read(part.folder / "ratings.jsonl")), list(read(part.folder / "truth.jsonl"))
        assert {r.split_group for r in rated}.isdisjoint(r.split_group for r in kept)
        assert not any(label is not None for r in rated for label in r.sentence_labels)
        assert all(r.label is None for r in read(part.folder / "answers.jsonl"))
        assert len(rated) + len(kept) == 60
    assert found.report.read_text().count("<html") == 1
    assert len(found.standouts) == 3
    assert len(told) == 4


def test_the_sentence_that_stands_out_is_found():
    response = Response.from_sentences("a", ["One.", "Two.", "Three."])
    gap, standout = contrast(ScoredResponse(response, (0.9, 0.1, 0.8), 0.1))
    assert gap == pytest.approx(0.75)
    assert standout == Standout(standout.scored, 1)
    assert (standout.text, standout.score, standout.truth) == ("Two.", 0.1, None)


def test_same_seed_same_scores(tmp_path, monkeypatch):
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "cache"))

    def scores(name: str) -> bytes:
        run_demo(
            tmp_path / name,
            responses=60,
            tasks=["summaries"],
            encoder="hashing(dim=64)",
            train=lambda scorer, rated: scorer.set_params(recipe="own", plan__epochs=2).fit(rated),
        )
        return (tmp_path / name / "summaries" / "scores.jsonl").read_bytes()

    assert scores("one") == scores("two")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_sentences_are_told_apart_without_one_sentence_label(tmp_path, capsys):
    """The real thing, as `make demo` runs it, on fewer responses."""
    with pytest.raises(SystemExit) as ended:
        main(["demo", "-o", str(tmp_path), "--json", "-n", str(few(500, 1_500))])
    assert ended.value.code == 0
    tasks = json.loads(capsys.readouterr().out)["tasks"]
    for told in tasks.values():
        values = {row["metric"]: row["value"] for row in told["rows"]}
        assert values["roc_auc"] > 0.85
