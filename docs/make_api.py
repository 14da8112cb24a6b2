"""Writes the public API as one page of documentation: `python docs/make_api.py docs/api.md`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fractal

WIDTH = 100
INTRODUCTION = """# The Python interface

Generated from signatures and docstrings by `python docs/make_api.py docs/api.md`.
Everything here is imported from `fractal`.
What can be named in an option, as `aggregation="softmin(temperature=0.1)"`, is listed by `fractal list`.
"""
PARAMETERS, ATTRIBUTES, FIELDS = "Parameters\n----------\n", "Attributes\n----------\n", "Attributes:\n"


def document() -> str:
    """Return the whole page."""
    members = {name: getattr(fractal, name) for name in fractal.__all__}
    classes = sorted((name for name, member in members.items() if inspect.isclass(member)), key=str.lower)
    functions = sorted(name for name in members if name not in classes)
    contents = " · ".join(f"[{name}](#{name.lower()})" for name in (*classes, *functions))
    entries = (part for name in (*classes, *functions) for part in _entry(members[name]))
    return "\n".join([INTRODUCTION, contents, *entries]) + "\n"


def options(kind: type) -> dict[str, str]:
    """Return what is said of each option, by name: in the class docstring, or beside the field of a record."""
    return {
        name: re.sub(r"\s+", " ", text).strip() for name, text in (*_of_fields(kind), *_in_docstring(kind, PARAMETERS))
    }


def _in_docstring(kind: type, title: str) -> Iterator[tuple[str, str]]:
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition(title)
    section = re.split(r"^\w+\n-+$", section, maxsplit=1, flags=re.MULTILINE)[0]
    entry = re.compile(r"^(\w+) *: *({.*?})?.*\n((?:(?: .*)?\n?(?!\w))*)", re.MULTILINE)
    for name, choices, text in entry.findall(section + "\n"):
        yield name, f"{choices.strip('{}')}. {text}" if choices else text


def _of_fields(kind: type) -> Iterator[tuple[str, str]]:
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition(FIELDS)
    yield from re.findall(r"^ +(\w+): (.*)$", section, re.MULTILINE)
    yield from re.findall(r"^    (\w+): [^#\n]*  # (.*)$", inspect.getsource(kind), re.MULTILINE)


def _entry(member: Any) -> Iterator[str]:
    name = member.__name__
    yield f"\n## {name}\n\n```python\n{signature(member, name)}\n```\n\n{_prose(member)}\n"
    if not inspect.isclass(member):
        return
    for title, described in (("option", options(member)), ("after `fit`", dict(_in_docstring(member, ATTRIBUTES)))):
        if described:
            yield f"| {title} | what it is |\n|---|---|"
            yield from (f"| `{name}` | {' '.join(text.split())} |" for name, text in described.items())
            yield ""
    for name, method in _methods(member):
        yield f"\n### `{member.__name__}.{name}`\n"
        if callable(method):
            yield f"```python\n{signature(method, name)}\n```\n"
        yield _prose(method)


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that the project itself defines, in the order of the source."""
    seen = set()
    for home in (kind, *kind.__mro__[1:]):
        for name, value in vars(home).items():
            method = value.fget if isinstance(value, property) else getattr(kind, name)
            public = not name.startswith("_") and name not in seen and (getattr(method, "__doc__", None) or "").strip()
            if public and getattr(method, "__module__", "").startswith("fractal") and inspect.isroutine(method):
                seen.add(name)
                yield name, (value if isinstance(value, property) else method)


def _prose(member: Any) -> str:
    return re.split("|".join((PARAMETERS, ATTRIBUTES, FIELDS)), inspect.getdoc(member) or "")[0].strip()


def signature(member: Any, name: str) -> str:
    """Return the call as it is written, a parameter a line where it is long."""
    if inspect.isclass(member) and issubclass(member, BaseException):
        return f"class {name}({member.__base__.__name__})"
    call = inspect.signature(member)
    parameters = [parameter for key, parameter in call.parameters.items() if key not in ("self", "cls")]
    parts = [_written(parameter) for parameter in parameters]
    kinds = [parameter.kind for parameter in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    returns = "" if inspect.isclass(member) or call.return_annotation is call.empty else f" -> {call.return_annotation}"
    line = f"{name}({', '.join(parts)}){returns}"
    return line if len(line) <= WIDTH else "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){returns}"])


def _written(parameter: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    annotation = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{stars}{parameter.name}{annotation}{default}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document(), encoding="utf-8")
