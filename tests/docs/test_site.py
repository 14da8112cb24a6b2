"""The site: every page has its place in the menu, no link is broken, and nothing is asked of another host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOADS = re.compile(r"""<(?:script|img|iframe|link(?=[^>]*stylesheet))[^>]*?(?:src|href)=["'](https?:)?//""")


def pages(entry: Any) -> list[str]:
    """Return the pages of a part of the menu."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in pages(part)]


def test_every_page_stands_in_the_menu_once() -> None:
    yaml = pytest.importorskip("yaml")
    menu = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    written = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
    assert sorted(page for page in menu if not page.startswith("benchmarks/")) == written


def test_the_site_builds_without_a_broken_link_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    build = pytest.importorskip("mkdocs.commands.build", reason="mkdocs is not installed: `make docs` brings it")
    from mkdocs.config import load_config

    build.build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True))
    built = list((tmp_path / "site").rglob("*.html"))
    assert len(built) > 20
    for page in built:
        assert not LOADS.search(page.read_text(encoding="utf-8")), page.name
