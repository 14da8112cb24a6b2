"""The page on the architecture draws the house as it stands: every room, its files, its floors, its names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "fractal"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
TREE, FLOORS = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[:2]


def rooms() -> set[str]:
    return {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}


def test_the_tree_names_every_room_and_every_file_outside_one():
    assert rooms() <= set(re.findall(r"^  (?:.*\s)?(\w+)/", TREE, re.MULTILINE)) | set(re.findall(r"\b(\w+)/ ", TREE))
    files = {path.name for path in SOURCE.glob("*.py")} - {"__main__.py"}
    assert files <= set(re.findall(r"\w+\.py", TREE))


def test_what_the_tree_names_is_there():
    room = ""
    for line in TREE.splitlines()[1:]:
        start = re.match(r"  (\w+)/", line)
        room = start[1] if start else "" if re.match(r"  \w", line) else room
        names = re.findall(r"\b(\w+\.py|\w+/)", line)
        missing = [name for name in names if not any(SOURCE.glob(f"{room}/**/{name}" if room else name))]
        assert [name for name in missing if not (SOURCE / name).exists()] == [], line


def test_the_floors_are_those_that_the_check_holds_imports_to():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert FLOORS.splitlines() == next(one["layers"] for one in contracts if one["type"] == "layers")


def test_every_class_and_function_of_the_contracts_is_in_the_file_that_is_named():
    contracts = PAGE[PAGE.index("## Central contracts") :]
    home, checked = None, 0
    for line in contracts.splitlines():
        if heading := re.match(r"# ([\w/]+(?:\.py)?)\b", line):
            home = SOURCE / heading[1]
            assert home.exists(), line
        name = re.match(r"(?:@dataclass\(frozen=True\) )?(?:class|def) (\w+)", line)
        if name and home is not None:
            files = [home] if home.is_file() else list(home.rglob("*.py"))
            text = "\n".join(path.read_text(encoding="utf-8") for path in files)
            assert re.search(rf"^(class|def) {name[1]}\b", text, re.MULTILINE), (home, name[1])
            checked += 1
    assert checked >= 12
