"""Pages whose blocks of Python stand by themselves run as they stand, in order; absent libraries are skipped."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from fractal.readers import read

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = ("integrations",)
NEEDS = {  # what a block brings in by a module of ours
    "import MLflow": "mlflow",
    "llama_index_evaluator": "llama_index",
    "ragas_metric": "ragas",
    "scorer_runnable": "langchain_core",
    "from datasets": "datasets",
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    ran = 0
    for block in blocks:
        absent = [library for word, library in NEEDS.items() if word in block and not importlib.util.find_spec(library)]
        if absent:
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block, f"{page}.md", "exec"), names)
        ran += 1
    assert ran >= len(blocks) - len(NEEDS)
    assert ran >= 3


def test_the_lines_of_the_first_hour_are_read_as_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8")
    chats, pairs, runs = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for name, lines in (("chats", chats), ("pairs", pairs), ("runs", runs)):
        (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    rated = list(read(tmp_path / "chats.jsonl"))
    assert [(one.label, one.query != "", len(one.sentences)) for one in rated] == [(1.0, True, 2), (0.0, True, 2)]
    (pair,) = read(tmp_path / "pairs.jsonl")
    assert (pair.better.sentences[0].text, pair.worse.sentences[0].text) == ("In France.", "In Spain.")
    (run,) = read(tmp_path / "runs.jsonl", "openai_messages")
    assert (run.label, len(run.sentences)) == (1.0, 2)
