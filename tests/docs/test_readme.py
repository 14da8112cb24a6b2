"""The README is kept: its commands and its example are run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from fractal.cli import main
from fractal.datasets.synthetic import make_responses
from fractal.writers import write

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_commands_run_one_after_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "cache"))
    write((response.without_labels() for response in make_responses(20, "summaries", seed=9)), "answers.jsonl")
    rated = make_responses(60, "summaries", seed=8)
    write(rated, "ratings.jsonl")
    lines = [line for line in blocks("sh")[1].splitlines() if line.startswith("fractal ")]
    assert len(lines) >= 7
    quick = ["--encoder", "hashing(dim=64)", "--recipe", "own", "--set", "epochs=3"]  # the words are what is tested
    for line in lines:
        args = shlex.split(line, comments=True)[1:]
        with pytest.raises(SystemExit) as ended:
            main([*args, *quick] if args[0] == "train" else args)
        assert ended.value.code == 0, (line, capsys.readouterr().err)
    assert {"scorer", "scores.jsonl", "labelled.jsonl", "report.html", "scores.csv"} <= {
        p.name for p in Path().iterdir()
    }


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "cache"))
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line]) <= 12
    exec(compile(example, "README.md", "exec"), {"__name__": "example"})
    out = capsys.readouterr().out
    assert "roc_auc" in out
    assert (tmp_path / "scorer" / "config.json").exists()


def test_make_has_the_commands_that_are_named():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\S+)", blocks("sh")[0], re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()
