"""The first half hour: files as users have them, the commands they type, and what must come out.

Every file is either read rightly, so that a scorer learns from the labels that are in it, or stopped by an error that
names the next command.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from click.testing import CliRunner, Result
from tests.first_hour import made
from tests.first_hour.made import RESPONSES, changed, jsonl, labelled, rows, table

from fractal.cli import app

QUICK = ["--encoder", "hashing(dim=64)", "--aggregation", "product", "--recipe", "own", "--no-cache"]
QUICK += ["--set", "epochs=2", "--set", "members=2", "--set", "folds=2", "--set", "rounds=0"]
LABELS = [float(response.label or 0) for response in RESPONSES]


def run(*words: str) -> Result:
    """Run `fractal` in this process."""
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


@dataclasses.dataclass(frozen=True)
class Case:
    """A file, the flags that it needs, and what is read of it: labels, and the share with a query and a context."""

    name: str
    content: bytes | Callable[[Path], object]
    flags: tuple[str, ...] = ()
    labels: tuple[float | None, ...] = tuple(LABELS)
    query: float = 1.0
    context: float = 1.0


def graded(values: list[float]) -> tuple[float, ...]:
    return tuple(values[number % len(values)] for number in range(len(LABELS)))


def stars(label: int, number: int) -> int:
    return (4 + number % 2) if label else 1 + number % 2


STARS = tuple((stars(int(label), number) - 1) / 4 for number, label in enumerate(LABELS))
SOME_UNKNOWN = tuple(None if number % 6 == 0 else label for number, label in enumerate(LABELS))


def pairs_of_words(good: str, bad: str) -> list[dict[str, Any]]:
    return labelled(lambda label, number: good if label else bad)


WORDS = [
    *(
        ("yes-no", "yes", "no"),
        ("y-n", "Y", "N"),
        ("true-false", "TRUE", "FALSE"),
        ("helpful", "Helpful", "Not helpful"),
    ),
    *(("supported", "supported", "unsupported"), ("safe", "safe", "unsafe"), ("accept", "accept", "reject")),
    *(("upvote", "upvote", "downvote"), ("thumbs", "👍", "👎"), ("thumbs-words", "thumbs_up", "thumbs_down")),
    *(("pass", "PASS", "FAIL"), ("faithful", "faithful", "hallucinated"), ("grounded", "Grounded", "Not-grounded")),
]


def saved_dataset(path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(rows()).save_to_disk(str(path))


def saved_splits(path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows())}).save_to_disk(str(path))


def folder_of_parts(path: Path) -> None:
    path.mkdir()
    (path / "part-1.jsonl").write_bytes(jsonl(rows()[:20]))
    (path / "part-2.jsonl").write_bytes(jsonl(rows()[20:]))
    (path / "README.txt").write_text("not data")


def parquet(path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame(rows()).to_parquet(path)


READ = [
    Case("ratings.jsonl", jsonl(rows())),
    Case("ratings.csv", table(rows())),
    Case("semicolons.csv", table(rows(), ";")),
    Case("tabs.csv", table(rows(), "\t")),
    Case("pipes.csv", table(rows(), "|")),
    Case("ratings.tsv", table(rows(), "\t")),
    Case("bom.csv", b"\xef\xbb\xbf" + table(rows())),
    Case(
        "windows.csv", table(changed(lambda row, n: {"answer": f"Es wäre schön – ja. {row['answer']}"}), ";", "cp1252")
    ),
    Case("array.json", json.dumps(rows()).encode()),
    Case("pretty.json", json.dumps(rows(), indent=2).encode()),
    Case("wrapped.json", json.dumps({"version": 1, "data": rows()}, indent=2).encode()),
    Case("ratings.xlsx", lambda path: made.workbook(path, rows())),
    Case("blank-row.xlsx", lambda path: made.workbook(path, rows(), before=True)),
    Case("ratings.parquet", parquet),
    Case("saved", saved_dataset),
    Case("saved-splits", saved_splits),
    Case("parts", folder_of_parts),
    *(Case(f"words-{name}.csv", table(pairs_of_words(good, bad))) for name, good, bad in WORDS),
    Case("stars.csv", table(labelled(stars)), ("--scale", "1..5"), STARS),
    Case("n-stars.csv", table(labelled(lambda label, n: f"{stars(label, n)} stars")), (), STARS),
    Case(
        "spelled-stars.csv",
        table(labelled(lambda label, n: f"{('One', 'Two', 'Three', 'Four', 'Five')[stars(label, n) - 1]} stars")),
        (),
        STARS,
    ),
    Case("signs.csv", table(labelled(lambda label, n: "★" * (s := stars(label, n)) + "☆" * (5 - s))), (), STARS),
    Case(
        "fractions.csv",
        table(labelled(lambda label, n: "4/5" if label else "1/5")),
        (),
        tuple(0.8 if y else 0.2 for y in LABELS),
    ),
    Case(
        "out-of.csv",
        table(labelled(lambda label, n: "9 out of 10" if label else "2 out of 10")),
        (),
        tuple(0.9 if y else 0.2 for y in LABELS),
    ),
    Case(
        "percent.csv",
        table(labelled(lambda label, n: "90%" if label else "10%")),
        (),
        tuple(0.9 if y else 0.1 for y in LABELS),
    ),
    Case(
        "unknown.csv", table(labelled(lambda label, n: "N/A" if n % 6 == 0 else ["no", "yes"][label])), (), SOME_UNKNOWN
    ),
    Case("empty-labels.csv", table(labelled(lambda label, n: "" if n % 6 == 0 else label)), (), SOME_UNKNOWN),
    Case("german.csv", table(pairs_of_words("gut", "schlecht")), ("--label", "good=gut,bad=schlecht")),
    Case("reversed.csv", table(labelled(lambda label, n: 1 if label else 5)), ("--scale", "5..1")),
    Case(
        "renamed.jsonl",
        jsonl(rows(context="kb_articles", answer="reply_text", label="ok")),
        ("--column", "context=kb_articles", "--column", "response=reply_text", "--column", "label=ok"),
    ),
    Case(
        "nested.jsonl",
        jsonl([{**row, "label": None, "feedback": {"thumbs": "up" if row["label"] else "down"}} for row in rows()]),
        ("--column", "label=feedback.thumbs"),
    ),
    Case(
        "documents.jsonl",
        jsonl(
            [{**row, "context": None, "retrieved": [{"page_content": row["context"], "score": 1}]} for row in rows()]
        ),
        ("--column", "context=retrieved.page_content"),
    ),
    Case("objects.jsonl", jsonl(changed(lambda row, n: {"context": [{"chunk": row["context"]}, {"chunk": "More."}]}))),
    Case("page_content.jsonl", jsonl([{**row, "context": [{"page_content": row["context"]}]} for row in rows()])),
    Case("retrieved_docs.jsonl", jsonl(rows(context="retrieved_docs"))),
    Case(
        "chats.jsonl",
        jsonl(
            [
                {
                    "messages": [
                        {"role": "user", "content": row["question"]},
                        {"role": "assistant", "content": row["answer"]},
                    ],
                    "thumbs": bool(row["label"]),
                }
                for row in rows()
            ]
        ),
        (),
        tuple(LABELS),
        1.0,
        0.0,
    ),
    Case("answers-only.csv", table(rows(question="", context="")), (), tuple(LABELS), 0.0, 0.0),
]


def written(case: Case, folder: Path) -> Path:
    path = folder / case.name
    case.content(path) if callable(case.content) else path.write_bytes(case.content)
    return path


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_a_file_is_read_rightly(case: Case, tmp_path: Path) -> None:
    path = written(case, tmp_path)
    ended = run("inspect", str(path), "--json", *case.flags)
    assert ended.exit_code == 0, ended.output
    (facts,) = json.loads(ended.stdout)["files"]
    known = [label for label in case.labels if label is not None]
    assert (facts["responses"], facts["labelled"]) == (len(case.labels), len(known))
    assert facts["with a query"] == case.query * len(case.labels)
    assert facts["with a context"] == case.context * len(case.labels)
    mean = sum(float(label) * count for label, count in facts["labels"].items()) / len(known)
    assert mean == pytest.approx(sum(known) / len(known), abs=0.006)


LEARNED = ["semicolons.csv", "array.json", "renamed.jsonl", "german.csv", "stars.csv", "documents.jsonl"]


@pytest.mark.parametrize("name", LEARNED)
def test_a_scorer_learns_from_a_file_and_scores_it_without_the_flags(name: str, tmp_path: Path) -> None:
    case = next(case for case in READ if case.name == name)
    path, scorer, scores = written(case, tmp_path), tmp_path / "scorer", tmp_path / "scores.jsonl"
    ended = run("train", str(path), "-o", str(scorer), *case.flags, *QUICK)
    assert ended.exit_code == 0, ended.output
    assert "nan" not in ended.output
    ended = run("score", str(scorer), str(path), "-o", str(scores))
    assert ended.exit_code == 0, ended.output
    lines = [json.loads(line) for line in scores.open()]
    assert len(lines) == len(RESPONSES)
    assert all(line["context"] and line["query"] for line in lines)


@dataclasses.dataclass(frozen=True)
class Stopped:
    """A file and a command that must not go through, and what the error says."""

    name: str
    content: bytes
    flags: tuple[str, ...]
    says: tuple[str, ...]


STOPPED = [
    Stopped(
        "mistyped.jsonl",
        jsonl(rows()),
        ("--column", "context=contxt"),
        ("contxt", "Did you mean 'context'", "--column context=context"),
    ),
    Stopped(
        "mistyped-label.jsonl",
        jsonl([{**row, "feedback": {"thumbs": label}} for row, label in zip(rows(label=""), LABELS, strict=True)]),
        ("--column", "label=feedbak.thumbs"),
        ("Did you mean 'feedback.thumbs'", "--column label=feedback.thumbs"),
    ),
    Stopped("no-response.csv", table(rows(answer="my_column_7")), (), ("my_column_7", "--column response=")),
    Stopped("stars.csv", table(labelled(stars)), (), ("--scale 1..5",)),
    Stopped("own-words.csv", table(pairs_of_words("prima", "mies")), (), ("--label bad=",)),
    Stopped("no-label.csv", table(rows(label="")), (), ("no response has a label",)),
    Stopped("one-label.csv", table(labelled(lambda label, n: 1)), (), ("different labels",)),
    Stopped("empty.csv", b"", (), ("nothing to learn from",)),
    Stopped("utf16.csv", table(rows()).decode().encode("utf-16"), (), ("UTF-16", "iconv")),
    Stopped("broken.xlsx", b"no workbook", (), ("no workbook of Excel",)),
    Stopped(
        "mixed.csv",
        table(labelled(lambda label, n: "good" if n == 3 else label)),
        (),
        ("write all labels of a column in one way",),
    ),
    Stopped("typo.csv", table(rows()), ("--column", "respnse=answer"), ("Did you mean 'response'",)),
    Stopped(
        "scale.csv",
        table(labelled(lambda label, n: 7 if n == 2 else 5 if label else 1)),
        ("--scale", "1..5"),
        ("outside the scale 1..5",),
    ),
]


@pytest.mark.parametrize("case", STOPPED, ids=lambda case: case.name)
def test_what_cannot_be_right_is_stopped_by_an_error_that_helps(case: Stopped, tmp_path: Path) -> None:
    path = tmp_path / case.name
    path.write_bytes(case.content)
    ended = run("train", str(path), "-o", str(tmp_path / "scorer"), *case.flags, *QUICK)
    assert ended.exit_code == 2, ended.output
    assert not (tmp_path / "scorer").exists()
    for words in case.says:
        assert words in ended.output
    assert "columns={" not in ended.output
    assert "label_scale=" not in ended.output


def hints(text: str) -> list[list[str]]:
    """Return the commands that a text tells to run."""
    lines = re.findall(r"^  (fractal .*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_every_printed_hint_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("optuna")
    Path("my ratings.csv").write_bytes(table(labelled(stars), ";"))
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "cache"))
    flags = ["--scale", "1..5", *QUICK]
    looked = run("inspect", "my ratings.csv", "--scale", "1..5")
    searched = run("tune", "my ratings.csv", "--trials", "1", "-o", "tuned", *flags)
    trained = run("train", "my ratings.csv", "-o", "a scorer", *flags)
    every_hint_runs((looked, 1), (searched, 1), (trained, 3))


def test_hints_after_a_file_with_a_broken_line_run_on_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ratings.jsonl").write_bytes(jsonl(rows()) + b'{"query": "broken\n')
    trained = run("train", "ratings.jsonl", "-o", "scorer", "--on-error", "reject", *QUICK)
    every_hint_runs((trained, 3))


@pytest.mark.slow
def test_every_hint_of_the_demonstration_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    every_hint_runs((run("demo", "-n", "120", "--encoder", "hashing(dim=64)", "-o", "demo"), 2))


def every_hint_runs(*runs: tuple[Result, int]) -> None:
    """Run each command that the output of others tells to run next."""
    for ended, least in runs:
        assert ended.exit_code == 0, ended.output
        commands = hints(ended.output)
        assert len(commands) >= least, ended.output
        for words in commands:
            small = QUICK if words[0] == "train" and "--config" not in words else []
            again = run(*words, *small)
            assert again.exit_code == 0, f"{words}\n{again.output}"


def test_flags_go_into_the_tables_of_a_file_of_settings_key_by_key(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    path.write_bytes(jsonl(rows(context="kb", label="ok")))
    config = tmp_path / "recipe.toml"
    config.write_text('encoder = "hashing(dim=64)"\n[set]\nepochs = 7\nhidden = [9]\n[column]\ncontext = "kb"\n')
    words = ["train", str(path), "--recipe-file", str(config), "--set", "epochs=3", "--column", "label=ok"]
    ended = run(*words, "--dry-run", "--json")
    assert ended.exit_code == 0, ended.output
    options = json.loads(ended.stdout)["options"]
    assert (options["plan__epochs"], options["plan__hidden"]) == ("3", "(9,)")
    assert json.loads(ended.stdout)["data"]["labelled responses"] == len(RESPONSES)


def test_the_best_settings_of_a_search_are_all_settings(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    import tomllib

    path = tmp_path / "ratings.csv"
    path.write_bytes(table(labelled(stars)))
    flags = ["--scale", "1..5", "--column", "context=context", "--seed", "4", *QUICK]
    assert run("tune", str(path), "--trials", "1", "-o", str(tmp_path / "tuned"), *flags).exit_code == 0
    best = tomllib.loads((tmp_path / "tuned" / "best.toml").read_text())
    assert (best["encoder"], best["seed"], best["scale"]) == ("hashing(dim=64)", 4, "1..5")
    assert best["column"] == {"context": "context"}
    assert best["set"]["epochs"] == "2"
    assert {"learning_rate", "hidden"} <= best["set"].keys()


@pytest.mark.parametrize("command", ["score", "disaggregate", "suggest"])
def test_a_context_that_is_not_recognised_stops_scoring(command: str, scorer: Path, tmp_path: Path) -> None:
    path, output = tmp_path / "answers.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(jsonl(rows(context="kb_articles")))
    ended = run(command, str(scorer), str(path), "-o", str(output))
    assert ended.exit_code == 2
    assert "100% of the responses that the scorer learned from had a context" in ended.output
    assert "--column context=kb_articles" in ended.output
    assert not output.exists()
    assert run(command, str(scorer), str(path), "-o", str(output), "--column", "context=kb_articles").exit_code == 0
    told = run(command, str(scorer), str(path), "-o", str(output), "--allow-missing")
    assert told.exit_code == 0
    assert "0% of these" in told.output


def test_a_context_that_only_some_have_is_a_warning(scorer: Path, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(jsonl(changed(lambda row, number: {"context": ""} if number % 4 else None)))
    ended = run("score", str(scorer), str(path), "-o", str(tmp_path / "out.jsonl"))
    assert ended.exit_code == 0
    assert "25% of these 48 have one" in ended.output
    assert "context = context" in ended.output


def test_rewards_find_the_context_by_a_known_name_and_stop_without(scorer: Path) -> None:
    from fractal import load_scorer
    from fractal.errors import BadData
    from fractal.scorers.rewards import sentence_reward

    loaded = load_scorer(scorer)
    listed = rows()[:4]
    prompts, texts = [row["question"] for row in listed], [row["answer"] for row in listed]
    contexts = [row["context"] for row in listed]
    reward = sentence_reward(loaded)
    named = reward(prompts, texts, context=contexts)
    assert reward(prompts, texts, documents=contexts) == named
    with pytest.raises(BadData, match=r"had a context.*kb_articles"):
        reward(prompts, texts, kb_articles=contexts)


def test_an_older_folder_still_loads_and_scores(scorer: Path, tmp_path: Path) -> None:
    import shutil

    older = tmp_path / "older"
    shutil.copytree(scorer, older)
    config = json.loads((older / "config.json").read_text())
    del config["reading"]
    (older / "config.json").write_text(json.dumps(config))
    path = tmp_path / "answers.jsonl"
    path.write_bytes(jsonl(rows(context="kb_articles")))
    assert run("score", str(older), str(path), "-o", str(tmp_path / "out.jsonl")).exit_code == 0
