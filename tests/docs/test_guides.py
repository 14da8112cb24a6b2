"""The guides run as they are written: every shell and Python block, in order, with a small encoder and few epochs."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from click.testing import CliRunner

from fractal.cli import app
from support.commands import SMALL, run_shell

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
RECIPES = sorted((ROOT / "recipes").rglob("*.toml"))
BLOCK = re.compile(r"^```(shell|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_runs_from_raw_file_to_report(guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    names: dict[str, object] = {}
    blocks = BLOCK.findall(guide.read_text())
    assert {kind for kind, _ in blocks} == {"shell", "python"}
    for kind, block in blocks:
        if kind == "shell":
            run_shell(block)
        else:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block, str(guide), "exec"), names)
    page = (tmp_path / "report.html").read_text()
    assert "<html" in page


def test_there_are_the_five_guides() -> None:
    assert [guide.stem for guide in GUIDES] == ["agents", "long-answers", "reasoning", "retrieval", "summaries"]


DATA = Path(__file__).parents[1] / "data" / "paper"
SOURCES = {
    "qa_feedback": DATA / "dev_feedback.json",
    "fira": DATA / "fira",
    "multispanqa": DATA / "multispanqa" / "valid.json",
    "prm800k": DATA / "prm800k",
}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_recipe_reads_its_data_set_and_is_understood(recipe: Path, tmp_path: Path) -> None:
    source = SOURCES.get(recipe.stem)
    if source is None:  # summaries are corrupted first
        from fractal.datasets.corruption import corrupt
        from fractal.datasets.synthetic import make_responses
        from fractal.writers import write

        source = tmp_path / "summaries.jsonl"
        write(corrupt([r for r in make_responses(40, task="summaries") if r.label == 1.0]), source)
    words = ["train", "--recipe-file", str(recipe), str(source), "--dry-run", "--json"]
    told = CliRunner().invoke(app, words, catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert '"learn_from": "responses"' in told.stdout


def test_every_data_set_has_both_recipes() -> None:
    from fractal.datasets.fetch import SOURCES as known

    for folder in (ROOT / "recipes", ROOT / "recipes" / "paper"):
        assert {path.stem for path in folder.glob("*.toml")} == set(known)


def test_a_recipe_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from fractal.datasets.synthetic import make_responses
    from fractal.writers import write

    write(make_responses(80, task="arithmetic"), tmp_path / "steps.jsonl")
    recipe = ROOT / "recipes" / "paper" / "prm800k.toml"
    small = [*SMALL, "--set", "hidden=(16, 8)", "--set", "learning_rate=0.01"]
    words = ["train", "--recipe-file", str(recipe), "--reader", "jsonl", "steps.jsonl", "-o", "scorer", "-q", *small]
    ran = CliRunner().invoke(app, words, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "scorer" / "config.json").exists()
