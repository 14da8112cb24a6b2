"""A named task: the direction that it states, how texts are cut, what is said of it, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tests.first_hour.made import jsonl, rows

from fractal.cli import main
from fractal.datasets.synthetic import make_responses
from fractal.ensemble.direction import QUESTION
from fractal.ensemble.tasks import TASKS, forms_of, task_of
from fractal.errors import BadSpec
from fractal.mil.aggregations import AGGREGATIONS, FORMS
from fractal.mil.training.plan import TrainingPlan
from fractal.records.splitting import SPLITTERS
from fractal.scorers.sentence import SentenceScorer

DIRECTIONS = {"factuality": "min", "reasoning": "min", "retrieval": "max", "quality": "mean"}
QUICK = ["--encoder", "hashing(dim=64)", "--recipe", "own", "--no-cache"]
QUICK += ["--set", "epochs=2", "--set", "members=2", "--set", "folds=2"]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_states_its_direction_and_how_texts_are_cut(name: str) -> None:
    (form,) = forms_of("auto", name, tuple(FORMS))
    assert str(form.direction) == DIRECTIONS[name]
    assert SPLITTERS.build(TASKS[name].splitter)("One. Two.")
    assert f"'{name}'" in QUESTION


def test_without_a_task_all_directions_that_labels_allow_are_tried() -> None:
    assert [str(form.direction) for form in forms_of("auto", None, ("min", "mean"))] == ["min", "mean"]


def test_another_form_of_the_same_direction_may_be_named_beside_a_task_and_no_other() -> None:
    assert AGGREGATIONS.spec(forms_of("first_error", "reasoning", ())[0]) == "first_error"
    with pytest.raises(BadSpec, match="leave one of them out"):
        task_of("factuality", "noisy_or")
    with pytest.raises(BadSpec, match="Did you mean 'retrieval'"):
        task_of("retreival")


def test_a_scorer_with_a_task_fits_that_form_alone_and_says_so() -> None:
    plan = TrainingPlan(epochs=1, members=2, folds=2)
    scorer = SentenceScorer(encoder="hashing(dim=16)", recipe="own", cache=False, plan=plan, task="retrieval")
    scorer.fit([dataclasses.replace(response, extra={}) for response in make_responses(60, "summaries", seed=2)])
    assert scorer.aggregation_ == "noisy_or"
    assert scorer.choices_[0].taken == "retrieval: noisy_or"
    assert TASKS["retrieval"].meaning in scorer.choices_[0].why
    assert SentenceScorer(**scorer.get_params(deep=False)).task == "retrieval"


@pytest.mark.parametrize(("words", "splitter"), [([], "steps"), (["--splitter", "lines"], "lines")])
def test_train_takes_a_task_and_cuts_texts_as_it_says(words: list[str], splitter: str, tmp_path: Path) -> None:
    (tmp_path / "ratings.jsonl").write_bytes(jsonl(rows()))
    given = ["train", str(tmp_path / "ratings.jsonl"), "-o", str(tmp_path / "scorer"), "-q"]
    with pytest.raises(SystemExit) as ended:
        main([*given, "--task", "reasoning", *words, *QUICK])
    assert not ended.value.code
    config = json.loads((tmp_path / "scorer" / "config.json").read_text())
    assert config["splitter"] == splitter
    assert config["ensemble"]["aggregation"] == "product"
    assert config["choices"][0]["about"] == "task"


def test_a_task_is_the_rule_of_aspects_that_name_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aspects = [{**row, "aspects": {"right": row["label"], "kind": row["label"]}} for row in rows()]
    (tmp_path / "ratings.jsonl").write_bytes(jsonl(aspects))
    words = ["train", str(tmp_path / "ratings.jsonl"), "--aspect", "right", "--aspect", "kind=mean", "--json"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "-o", str(tmp_path / "scorer"), "--task", "factuality", *QUICK])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["aggregation"] == {"right": "product", "kind": "mean"}


def test_a_wrong_task_ends_with_a_plain_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ratings.jsonl").write_bytes(jsonl(rows()))
    with pytest.raises(SystemExit) as ended:
        main(["train", str(tmp_path / "ratings.jsonl"), "-o", str(tmp_path / "scorer"), "--task", "facts", *QUICK])
    assert ended.value.code
    assert "no such task" in capsys.readouterr().err
