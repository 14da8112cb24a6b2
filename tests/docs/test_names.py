"""What the pages name is there: every module, every import, every class of the architecture's contracts."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
GROUPS = re.compile(
    r"`fractal\.(reader|writer|loss|encoder|aggregation|metric|feature|splitter|prior)`"
)  # entry points
DOTTED = re.compile(r"\bfractal(?:\.\w+)+")
CODE = re.compile(r"^```(?:python|pycon)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILES = re.compile(r"`((?:src|tests|docs|benchmarks)/[\w./-]+|[\w-]+(?:/[\w-]+)*\.py)(?:::?\w+)?`")


def exists(dotted: str) -> bool:
    """Whether a dotted name leads to a module, or to something in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            home = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            home = getattr(home, part, None)
        return home is not None
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_dotted_name_resolves(page):
    text = GROUPS.sub("", page.read_text(encoding="utf-8"))
    assert [name for name in sorted(set(DOTTED.findall(text))) if not exists(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_import_of_an_example_resolves(page):
    names = [
        f"{node.module}.{alias.name}"
        for block in CODE.findall(page.read_text(encoding="utf-8"))
        for line in block.splitlines()
        if re.match(r"\s*from fractal[\w.]* import [\w, ]+$", line.partition("  #")[0])
        for node in ast.parse(line.strip()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert [name for name in names if not exists(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_is_there(page):
    named = {name for name in FILES.findall(page.read_text(encoding="utf-8")) if "…" not in name}
    sources = {str(path.relative_to(ROOT / "src" / "fractal")) for path in (ROOT / "src").rglob("*.py")}
    missing = [
        name
        for name in sorted(named)
        if not (ROOT / name).exists() and not any(f"/{source}".endswith(f"/{name}") for source in sources)
    ]
    assert missing == []


def test_what_is_not_there_is_seen():
    assert not exists("fractal.fitting")
    assert not exists("fractal.records.Answer")
    assert exists("fractal.records.Response.label_of")
