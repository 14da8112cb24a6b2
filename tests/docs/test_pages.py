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
