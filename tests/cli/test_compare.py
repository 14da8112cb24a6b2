"""`fractal compare`: saved scorers side by side, and held against each other on the same resamples."""

from __future__ import annotations

import dataclasses
import json

import pytest

pytest.importorskip("torch")

from click.testing import CliRunner

from fractal.cli import app
from fractal.datasets.synthetic import make_responses
from fractal.evaluation import compare
from fractal.mil.training.plan import TrainingPlan
from fractal.scorers.aspects import AspectScorer
from fractal.scorers.sentence import SentenceScorer
from fractal.writers import write

MADE = make_responses(90, "summaries", seed=5)


def small(**options) -> SentenceScorer:
    plan = TrainingPlan(epochs=options.pop("epochs", 3), members=2, folds=2)
    return SentenceScorer(recipe="own", aggregation="product", plan=plan, **options)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scorers")
    small(encoder="hashing(dim=32)").fit(MADE[:60]).save_pretrained(folder / "a")
    small(encoder="hashing(dim=64)", epochs=5).fit(MADE[:60]).save_pretrained(folder / "b")
    write(MADE[60:], folder / "labelled.jsonl")
    return folder


def run(*words, code=0):
    ended = CliRunner().invoke(app, ["compare", *map(str, words)])
    assert ended.exit_code == code, ended.output
    return ended


def test_what_differs_is_shown_and_what_is_equal_is_counted(work):
    shown = json.loads(run(work / "a", work / "b", "--json").stdout)
    differing = {name for name in shown["settings"] if not name.startswith("expert ")}  # experts differ by their shares
    assert differing == {"encoder", "encoder_fingerprint", "plan: epochs"}
    assert shown["settings"]["plan: epochs"] == [3, 5]
    assert shown["equal_settings"] > 10
    assert shown["data"]["responses"] == [60, 60]
    scorers = [SentenceScorer.from_pretrained(work / name) for name in "ab"]
    for name, figures in shown["held_out"].items():
        assert figures == [scorer.metrics_[name] for scorer in scorers]
    text = run(work / "a", work / "b").stdout
    assert "hashing(dim=64)" in text
    assert "splitter" not in text


def test_on_labelled_responses_the_differences_are_paired(work):
    words = ("--on", work / "labelled.jsonl", "--bootstrap", 50, "-m", "roc_auc")
    shown = json.loads(run(work / "a", work / "b", *words, "--json").stdout)
    scored = [SentenceScorer.from_pretrained(work / name).score_responses(MADE[60:]) for name in "ab"]
    row = compare(*scored, ["roc_auc"], bootstrap=50)["roc_auc"]
    told = shown["on"]["b"]["rows"][0]
    assert {name: told[name] for name in ("first", "second", "low", "high")} == pytest.approx(
        {name: getattr(row, name) for name in ("first", "second", "low", "high")}, abs=1e-4
    )
    assert "roc_auc" in run(work / "a", work / "b", *words).stdout


def test_equal_scorers_differ_in_nothing(work, tmp_path):
    SentenceScorer.from_pretrained(work / "a").save_pretrained(tmp_path / "copy")
    assert "settings are equal" in run(work / "a", tmp_path / "copy").stdout


def test_aspects_stand_under_their_names(work, tmp_path):
    rated = [dataclasses.replace(one, label=None, aspects={"so": one.label, "no": 1 - one.label}) for one in MADE[:60]]
    scorer = AspectScorer({"so": "product", "no": "mean"}, small(encoder="hashing(dim=32)")).fit(rated)
    scorer.save_pretrained(tmp_path / "many")
    shown = json.loads(run(work / "a", tmp_path / "many", "--json").stdout)
    assert shown["settings"]["no: aggregation"] == ["–", "mean"]
    assert shown["settings"]["aggregation"] == ["product", "–"]
    assert shown["held_out"]["so: held-out log-loss"][1] == scorer.metrics_["so: held-out log-loss"]


def test_what_can_be_read_only_once_is_refused_where_it_is_read_again(work):
    content = (work / "labelled.jsonl").read_bytes()
    for words in (("compare", work / "a", work / "b", "--on", "-"), ("inspect", "-", "--scorer", work / "a")):
        ended = CliRunner().invoke(app, [*map(str, words)], input=content)
        assert ended.exit_code == 2
        assert "standard input can be read only once" in ended.output


@pytest.mark.parametrize(
    ("words", "said"), [(("a",), "two or more"), (("a", "a"), "twice"), (("a", "nowhere"), "no folder")]
)
def test_what_cannot_be_compared_is_said(work, words, said):
    assert said in run(*(work / word for word in words), code=2).output
