"""Several aspects on the command line: one line a response and aspect, and every command takes one of them."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from pathlib import Path

import pytest

from fractal.cli import main
from fractal.datasets.synthetic import make_responses
from fractal.readers import read, read_scored
from fractal.scorers.persistence import load_folder
from fractal.writers import write

QUICK = [
    *("--encoder", "hashing(dim=64)", "--recipe", "own", "--set", "epochs=3"),
    *("--set", "members=2", "--set", "folds=2", "-q"),
]
ODD = "<b>wordy</b>"  # a name is text, never markup
COUNT = 40


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty responses that carry two labels, and a scorer of both."""
    place = tmp_path_factory.mktemp("aspects")
    os.environ["FRACTAL_CACHE"] = str(place / "cache")
    made = []
    for response in make_responses(COUNT, "summaries", seed=3):
        truths = [sentence.label or 0.0 for sentence in response.sentences]
        labels = {"factual": min(truths), ODD: 1 - sum(truths) / len(truths)}
        made.append(dataclasses.replace(response.without_labels(), aspects=labels, extra={}))
    write(made, place / "rated.jsonl")
    named = ["--aspect", "factual=product", "--aspect", f"{ODD}=mean"]
    assert run("train", place / "rated.jsonl", "-o", place / "scorer", *named, *QUICK) == 0
    assert run("score", place / "scorer", place / "rated.jsonl", "-o", place / "scores.jsonl", "-q") == 0
    return place


def test_scores_are_a_line_a_response_and_aspect(folder: Path) -> None:
    scored = list(read_scored(folder / "scores.jsonl"))
    assert [item.aspect for item in scored] == ["factual", ODD] * COUNT
    assert [item.response.id for item in scored[::2]] == [item.response.id for item in scored[1::2]]
    assert all(item.response.aspects.keys() == {"factual", ODD} for item in scored)


def test_an_aspect_without_a_rule_takes_that_of_all(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["--aspect", "factual", "--aspect", f"{ODD}=mean", "--aggregation", "noisy_or"]
    valid = ["--valid", folder / "rated.jsonl", "--json"]
    assert run("train", folder / "rated.jsonl", "-o", tmp_path / "scorer", *named, *QUICK, *valid) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["aggregation"] == {"factual": "noisy_or", ODD: "mean"}
    assert told["data"]["factual: labelled responses"] == COUNT
    assert set(told["validation"]) == {"factual", ODD}
    assert run("train", folder / "rated.jsonl", *named, *QUICK, "--dry-run", "--json") == 0
    options = json.loads(capsys.readouterr().out)["options"]
    assert "noisy_or" in options["aggregations"]
    assert options["scorer__plan__epochs"] == "3"


def test_a_stopped_run_goes_on_between_two_responses(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "scores.jsonl").read_bytes()
    out = tmp_path / "scores.jsonl"
    words = ["score", folder / "scorer", folder / "rated.jsonl", "-o", out, "--batch", 16, "-q"]
    assert run(*words) == 0
    by_batch = out.read_bytes()
    assert len(by_batch.splitlines()) == len(whole.splitlines()) == 2 * COUNT
    lines = by_batch.splitlines(keepends=True)
    out.unlink()
    (tmp_path / "scores.jsonl.part").write_bytes(b"".join(lines[:39]))  # a batch, and a half of it
    digest = load_folder(folder / "scorer").digest
    (tmp_path / "scores.jsonl.part.json").write_text(json.dumps({"scorer": digest, "batch": 16}))
    assert run(*words, "--resume") == 0
    assert out.read_bytes() == by_batch


def test_disaggregated_labels_agree_with_the_label_of_their_aspect(folder: Path, tmp_path: Path) -> None:
    for extra in ([], ["--cross-fit", 2]):
        out = tmp_path / f"labelled{len(extra)}.jsonl"
        assert run("disaggregate", folder / "scorer", folder / "rated.jsonl", *extra, "-o", out, "-q") == 0
        rows = list(read_scored(out))
        assert len(rows) == 2 * COUNT
        assert all(min(row.sentence_labels) == row.response.aspects["factual"] for row in rows[::2])


def test_measures_are_of_one_aspect(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = ["evaluate", folder / "scores.jsonl", "--bootstrap", 0, "--json"]
    assert run(*plain) == 2
    assert "several aspects" in capsys.readouterr().err
    assert run(*plain, "--aspect", "factual") == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["metric"] == "response_roc_auc"


def test_show_and_export_pass_one_aspect_or_all(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("show", folder / "scores.jsonl", "-n", 0, "--aspect", ODD) == 0
    shown = capsys.readouterr().out
    assert shown.count(ODD) == COUNT
    assert "factual" not in shown
    assert run("show", folder / "scores.jsonl", "-n", 0, "--label", 1, "--aspect", "factual") == 0
    good = sum(row.response.aspects["factual"] == 1 for row in read_scored(folder / "scores.jsonl")) // 2
    assert 0 < capsys.readouterr().out.count("  factual") == good
    for form in ("csv", "stepwise", "label_studio", "argilla"):
        for filters, share in (([], 2), (["--aspect", "factual"], 1)):
            out = tmp_path / f"{form}{share}"
            assert run("export", folder / "scores.jsonl", "--to", form, *filters, "-o", out) == 0
        text = (tmp_path / f"{form}1").read_text()
        assert 0 < len(text) < len((tmp_path / f"{form}2").read_text())


def test_a_report_tells_aspects_apart_and_takes_no_name_for_markup(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    words = ["report", folder / "scores.jsonl", "--scorer", folder / "scorer", "--bootstrap", 0, "-q", "-o", page]
    assert run(*words) == 0
    text = page.read_text()
    assert ODD not in text
    assert "&lt;b&gt;wordy&lt;/b&gt;" in text
    assert 'id="aspects"' in text
    assert "factual: " in text  # a check of that aspect
    assert run(*words, "--aspect", "factual") == 0
    assert 'id="aspects"' not in page.read_text()


def test_suggestions_want_a_scorer_of_one_label(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("suggest", folder / "scorer", folder / "rated.jsonl", "-o", folder / "asked.jsonl") == 2
    told = capsys.readouterr().err
    assert "several aspects" in told
    assert "without --aspect" in told
    assert not (folder / "asked.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--aspect", "kind=mean"], "the aspect 'kind'; the aspects here are"),
        (["--aspect", "factual=product", "--set", "learn_from=sentences"], "leave out learn_from"),
        (["--aspect", "same=mean"], "all 40 labels are 1"),
        (["--aspect", "factual=product", "--encoder", "nothing"], "No encoder is called 'nothing'"),
    ],
)
@pytest.mark.parametrize("how", [["-o", "scorer"], ["--dry-run"]], ids=["train", "dry run"])
def test_what_no_aspect_can_learn_is_refused_before_texts_are_encoded(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    told: str,
    how: list[str],
) -> None:
    monkeypatch.setattr("fractal.encoders.embedding.embed", lambda *args, **options: pytest.fail("texts were encoded"))
    monkeypatch.chdir(tmp_path)
    rated = [dataclasses.replace(r, aspects={**r.aspects, "same": 1.0}) for r in read(folder / "rated.jsonl")]
    write(rated, tmp_path / "rated.jsonl")
    assert run("train", tmp_path / "rated.jsonl", *QUICK, *words, *how) == 2
    assert told in capsys.readouterr().err


def test_inspect_counts_and_checks_the_labels_of_every_aspect(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_responses(120, "summaries", seed=5)
    middle = statistics.median(len(response.text) for response in made)
    long = [dataclasses.replace(r, aspects={"[bold]long[/]": float(len(r.text) > middle)}) for r in made]
    write(long, tmp_path / "long.jsonl")
    assert run("inspect", folder / "rated.jsonl", tmp_path / "long.jsonl", "--json") == 0
    first, second = json.loads(capsys.readouterr().out)["files"]
    rated = list(read(folder / "rated.jsonl"))
    assert first["aspects"].keys() == {"factual", ODD}
    assert first["aspects"]["factual"]["1"] == sum(response.aspects["factual"] for response in rated)
    checks = {found["name"]: found["verdict"] for found in second["checks"]}
    assert checks["[bold]long[/]: length shortcut"] == "fail"
    assert checks["length shortcut"] == "ok"  # of the responses' own labels
    assert run("inspect", tmp_path / "long.jsonl") == 0
    assert "Labels of the aspect [bold]long[/]" in capsys.readouterr().out
