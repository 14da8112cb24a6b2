"""The notebooks run as they stand, cell by cell, and what a notebook would show can be shown."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SHOWN = {"quick_start": "fractal-scored", "ratings_to_report": "fractal-card", "choosing_what_to_label": "roc_auc"}


def cells(path: Path) -> list[str]:
    """Return the cells of code of a notebook in its text form."""
    parts = re.split(r"^# %%(.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [body for kind, body in zip(parts[::2], parts[1::2], strict=True) if "[markdown]" not in kind]


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell and return the value of its last expression, which a notebook shows."""
    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(last, "cell", "eval"), names) if last else None


def displayed(value: Any) -> str:
    """Return what a notebook shows of a value."""
    form = next((name for name in ("_repr_html_", "_repr_markdown_") if hasattr(value, name)), "__repr__")
    return str(getattr(value, form)()) if value is not None else ""


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "cache"))
    names: dict[str, Any] = {"__name__": "notebook"}
    shown = ""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for cell in cells(path):
            value = run_cell(cell, names)
            shown += displayed(value)
    assert SHOWN.get(path.stem, "") in shown + printed.getvalue()
    assert not re.search(r"\d\.\d{9}", shown), "numbers are rounded"
    assert printed.getvalue()


def test_there_are_the_five_notebooks_and_the_site_has_them() -> None:
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    names = [path.name for path in EXAMPLES]
    assert len(names) == 5
    assert re.findall(r"^--8<-- \"examples/(\w+\.py)\"$", page, re.MULTILINE) == sorted(names, key=page.index)
