"""How the files of the source hang together: no circle of imports, none by string, and no file that is too long."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
LONGEST = 500  # lines of a file
BY_STRING = {  # where a name becomes a module when it is asked for, so that what is not used is not loaded
    "fractal": "public names on first use",
    "fractal.cli": "one command, one file",
    "fractal.cli.list": "the registries of all families",
    "fractal.readers.columnar": "packages of others, where they are installed",
}


def modules() -> dict[str, Path]:
    paths = {path.relative_to(SOURCE).with_suffix(""): path for path in sorted(SOURCE.rglob("*.py"))}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in paths.items()}


MODULES = modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the project's own modules that are imported beneath a node, inside functions too; not those for types."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        assert not node.level, "imports name the whole path"
        inner = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name if name in MODULES else node.module for name in inner)
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_files_import_each_other_in_a_circle():
    graph = {name: {one for one in imported(tree) if one in MODULES and one != name} for name, tree in TREES.items()}
    assert sum(map(len, graph.values())) > len(graph)
    assert circle(graph) == []
    assert circle({**graph, "fractal.errors": {"fractal.registry"}}) != []  # a circle would be seen


def test_imports_by_string_stand_where_they_are_needed_alone():
    calls = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__")
    }
    assert calls == set(BY_STRING)


def test_no_file_is_longer_than_a_reader_bears():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
