"""The code names things by what they are: words that say nothing of a value are few, and become no more."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

SAYS_NOTHING = {"found", "told", "given", "made", "own", "known", "kept"}
CEILING = 82  # bindings of these names in the whole of src; lower it whenever there are fewer, never raise it
SOURCE = Path(__file__).parents[1] / "src" / "fractal"


def bindings(tree: ast.AST) -> Counter[str]:
    """Count the names that a module binds: assignments, parameters, attributes, loop and `with` targets, patterns."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.append(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names.append(node.name)
    return Counter(name for name in names if name in SAYS_NOTHING)


def test_every_way_to_bind_a_name_counts():
    source = (
        "found: int = 1\nwith g() as found: pass\ndef f(told, *given, made=0): self.own = kept = [0 for known in told]"
    )
    assert bindings(ast.parse(source)) == Counter(SAYS_NOTHING) + Counter(["found"])
    assert not bindings(ast.parse("labels = found(told.given, own=known)"))


def test_names_say_what_a_value_is():
    files = sorted(SOURCE.rglob("*.py"))
    counts = {str(path.relative_to(SOURCE)): bindings(ast.parse(path.read_text("utf-8"))).total() for path in files}
    worst = sorted(counts, key=lambda name: -counts[name])[:10]
    assert len(files) > 100
    assert sum(counts.values()) <= CEILING, [(name, counts[name]) for name in worst]
