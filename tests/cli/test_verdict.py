"""The end of a training: what fails stands last and marked, the verdict is plain, --strict ends with 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from click.testing import CliRunner
from tests.first_hour.made import changed, jsonl, rows

from fractal.cli import app, main
from fractal.cli._verdict import marked, verdict

QUICK = ["--encoder", "hashing(dim=64)", "--aggregation", "product", "--recipe", "own", "--no-cache"]
QUICK += ["--set", "epochs=2", "--set", "members=2", "--set", "folds=2"]


def summary(area: float | None, count: int, *verdicts: str) -> dict[str, object]:
    return {
        "held out": {} if area is None else {"held-out response ROC AUC": area},
        "data": {"labelled responses": count},
        "checks": [{"name": f"check {n}", "verdict": v, "sentence": "."} for n, v in enumerate(verdicts)],
        "learning curves": {"": "By number of ratings, …"},
    }


@pytest.mark.parametrize(
    ("area", "says"), [(0.55, "? No"), (0.7, "? Hardly"), (0.9, ", yes"), (None, "Nothing was held out")]
)
def test_the_verdict_follows_the_held_out_figure(area: float | None, says: str) -> None:
    assert says in verdict(summary(area, 200))[0]


def test_few_ratings_the_curve_and_failures_are_said() -> None:
    lines = verdict(summary(0.9, 12, "ok", "fail"))
    assert any("Only 12 responses are rated" in line for line in lines)
    assert any("By number of ratings" in line for line in lines)
    assert lines[-1] == "Look first at what fails: check 1."
    assert [row[0] for row in marked(summary(0.9, 1, "fail", "ok", "warn")["checks"])] == ["ok", "! warn", "✗ fail"]


def test_an_open_direction_is_asked_at_the_end() -> None:
    open_one = {"name": "aggregation", "verdict": "warn", "sentence": "The direction is open: which task?"}
    lines = verdict({**summary(0.9, 200), "checks": [open_one]})
    assert "The direction is open: which task?" in lines
    assert "The direction is open: which task?" not in verdict({**summary(0.9, 200), "checks": []})


@pytest.mark.parametrize(("shortcut", "code"), [(True, 1), (False, 0)])
def test_strict_ends_with_1_where_a_check_fails(
    shortcut: bool, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = " And this is added to it. And this as well."
    listed = changed(lambda row, n: {"answer": row["answer"] + more * 3 * row["label"]} if shortcut else None)
    (tmp_path / "ratings.jsonl").write_bytes(jsonl(listed))
    words = ["train", str(tmp_path / "ratings.jsonl"), "-o", str(tmp_path / "scorer"), "--strict", *QUICK]
    with pytest.raises(SystemExit) as ended:
        main(words)
    output = capsys.readouterr().err
    assert ended.value.code == code, output
    assert "Is it good enough?" in output
    assert ("✗ fail" in output) == bool(code)
    assert (tmp_path / "scorer" / "config.json").exists()


def test_the_learning_curve_is_measured_and_saved(tmp_path: Path) -> None:
    from fractal import SentenceScorer, TrainingPlan, make_responses

    plan = TrainingPlan(epochs=1, members=2, folds=2)
    scorer = SentenceScorer(encoder="hashing(dim=64)", recipe="own", aggregation="product", plan=plan, cache=False)
    fitted = scorer.fit(make_responses(160, task="summaries", seed=1))
    curve = fitted.learning_curve_
    assert [round(count / 40) for count in curve.ratings] == [1, 2, 4]
    assert all(0.2 <= area <= 1.0 for area in curve.areas)
    assert curve.last_gain == curve.areas[2] - curve.areas[1]
    assert "The last doubling gave" in str(curve)
    config = json.loads((fitted.save_pretrained(tmp_path / "scorer") / "config.json").read_text())
    assert config["learning curve"]["ratings"] == list(curve.ratings)
    assert SentenceScorer.from_pretrained(tmp_path / "scorer").learning_curve_ == curve
    assert str(SentenceScorer(**scorer.get_params(deep=False)).fit(make_responses(40, seed=1)).learning_curve_) == ""


def test_a_column_named_like_a_label_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl([{**row, "user_rating": 3} for row in rows()]))
    ended = CliRunner().invoke(app, ["inspect", str(tmp_path / "a.jsonl")], catch_exceptions=False)
    assert (
        "named like labels, yet not used: user_rating; map one, as in --column aspects.user_rating=user_rating"
        in ended.output
    )


def test_a_label_inside_an_object_is_pointed_out_by_its_path_and_the_hint_runs(tmp_path: Path) -> None:
    made = [{"completion": row["answer"], "user_feedback": {"at": 3, "verdict": "👍"}} for row in rows()]
    (tmp_path / "a.jsonl").write_bytes(jsonl(made))
    ended = CliRunner().invoke(app, ["inspect", str(tmp_path / "a.jsonl")], catch_exceptions=False)
    hint = "--column label=user_feedback.verdict"
    assert f"user_feedback; map one, as in {hint}" in ended.output
    ended = CliRunner().invoke(app, ["inspect", str(tmp_path / "a.jsonl"), *hint.split()], catch_exceptions=False)
    assert "labels: label as thumbs" in ended.output


def test_rejects_are_told_of_in_the_words_of_the_shell(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("response,label\nFine.,good\nBad.,schrecklich\n")
    words = ["inspect", str(tmp_path / "a.csv"), "--on-error", "reject"]
    ended = CliRunner().invoke(app, words, catch_exceptions=False)
    assert ended.output.count("as in --label bad=schrecklich") == 2
    assert "label_words=" not in ended.output


def test_a_field_that_an_option_reads_is_not_called_unused(tmp_path: Path) -> None:
    made = [{**row, "Written By": "ann", "meta": {"model": "a"}, "note": "x"} for row in rows()]
    (tmp_path / "a.jsonl").write_bytes(jsonl(made))
    told = ["train", str(tmp_path / "a.jsonl"), "--dry-run", "--control", "Written By", "--control", "meta.model"]
    output = CliRunner().invoke(app, [*told, *QUICK], catch_exceptions=False).output
    assert "read by --control: Written By" in output
    assert "read by --control: meta.model" in output
    assert "not used: note\n" in output
