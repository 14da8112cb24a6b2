"""Names → components, and text ⇄ component: the one mechanism behind every swappable part.

A component is a frozen dataclass (or a plain function) registered under a name. One text form builds it everywhere:
`softmin(temperature=0.1)` is the Python default, the word on the command line, the value in `config.json` and the line
on the model card. A specification is data, never code: its options are Python literals.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.metadata
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

from fractal.errors import BadSpec, UnknownName, suggestion

__all__ = ["Option", "Registry", "parse"]

Part = TypeVar("Part")
Made = TypeVar("Made", bound=Callable[..., Any])

MAX_SPEC_LENGTH = 2000  # longer text is never a specification; a bound keeps hostile input cheap


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One option of a component: its name, its type as written, and its default (absent where it must be given)."""

    name: str
    kind: str
    default: Any = dataclasses.MISSING


class Registry(Generic[Part]):
    """The named components of one family, for example the aggregations."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._made: dict[str, Callable[..., Any]] = {}
        self.aliases: dict[str, str] = {}  # further names for users, each with the specification that it stands for
        self._plugins_loaded = False

    def register(self, name: str) -> Callable[[Made], Made]:
        """Register the decorated frozen dataclass or function under a name."""

        def enter(component: Made) -> Made:
            if name in self._made:
                raise BadSpec(
                    f"Two components want to be the {self.kind} {name!r}: {self._made[name]!r} and {component!r}."
                )
            if inspect.isclass(component):
                component.name = name  # type: ignore[attr-defined]
            self._made[name] = component
            return component

        return enter

    def names(self) -> tuple[str, ...]:
        """Return every known name, sorted."""
        self._load_plugins()
        return tuple(sorted(self._made))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> Callable[..., Any]:
        if name not in self._made:
            self._load_plugins()
        if name not in self._made:
            raise UnknownName(self.kind, name, self._made)
        return self._made[name]

    def build(self, given: str | Part) -> Part:
        """Return the component that a text such as `softmin(temperature=0.1)` describes; a component passes through."""
        if not isinstance(given, str):
            return given
        name, options = parse(given, self.kind)
        if name in self.aliases and not options:
            return self.build(self.aliases[name])
        component = self[name]
        if not inspect.isclass(component):
            if options:
                raise BadSpec(
                    f"The {self.kind} {name!r} takes no options, but {given!r} gives it {', '.join(options)}."
                )
            return cast(Part, component)
        self._check_options(given, name, options)
        try:
            return cast(Part, component(**options))
        except (TypeError, ValueError) as error:
            raise BadSpec(f"The {self.kind} {given!r} cannot be built: {error}") from error

    def spec(self, component: Part) -> str:
        """Return the text that builds this component, options at their default left out."""
        if not dataclasses.is_dataclass(component):
            for name, made in self._made.items():
                if made is component:
                    return name
            raise BadSpec(f"{component!r} is no registered {self.kind}, so no text describes it: register it first.")
        given = [
            f"{field.name}={_literal(value)}"
            for field in dataclasses.fields(component)
            if field.init and (value := getattr(component, field.name)) != _default(field)
        ]
        called = str(getattr(type(component), "name", type(component).__name__))
        return f"{called}({', '.join(given)})" if given else called

    def summary(self, name: str) -> str:
        """Return the first line of a component's docstring: its line of help."""
        return (inspect.getdoc(self[name]) or "").partition("\n")[0]

    def options(self, name: str) -> tuple[Option, ...]:
        """Return what can be set on a component."""
        component = self[name]
        if not dataclasses.is_dataclass(component):
            return ()
        return tuple(Option(f.name, str(f.type), _default(f)) for f in dataclasses.fields(component) if f.init)

    def _check_options(self, given: str, name: str, options: dict[str, Any]) -> None:
        known = [option.name for option in self.options(name)]
        for word in options:
            if word not in known:
                has = f"It takes {', '.join(known)}." if known else "It takes no options."
                raise BadSpec(
                    f"{given!r}: the {self.kind} {name!r} has no option {word!r}.{suggestion(word, known)} {has}"
                )

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for entry in importlib.metadata.entry_points(group=f"fractal.{self.kind.replace(' ', '_')}"):
            try:
                component = entry.load()
            except Exception as error:
                warnings.warn(
                    f"The {self.kind} {entry.name!r} of {entry.value} could not be loaded: {error}", stacklevel=3
                )
                continue
            if entry.name not in self._made:
                self.register(entry.name)(component)


@functools.lru_cache(maxsize=4096)
def _parsed(text: str, kind: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
    if len(text) > MAX_SPEC_LENGTH or "\0" in text:
        raise BadSpec(f"{text[:60]!r}… is no {kind}: write a name such as `name` or `name(option=value)`.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadSpec(f"{text!r} is no {kind}: write `name` or `name(option=value)`.") from error
    if isinstance(tree, ast.Name):
        return tree.id, ()
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
        raise BadSpec(f"{text!r} is no {kind}: write `name` or `name(option=value)`.")
    if tree.args or any(word.arg is None for word in tree.keywords):
        raise BadSpec(f"{text!r}: name every option, as in `{tree.func.id}(option=value)`.")
    words = [str(word.arg) for word in tree.keywords]
    if twice := next((word for word in words if words.count(word) > 1), None):
        raise BadSpec(f"{text!r} gives {twice!r} twice: give it once.")
    return tree.func.id, tuple((str(word.arg), _value(word, text)) for word in tree.keywords)


def parse(text: str, kind: str = "component") -> tuple[str, dict[str, Any]]:
    """Split `name(option=value, …)` into the name and its options; values are Python literals, nothing is run."""
    name, options = _parsed(text, kind)
    return name, dict(options)


def _value(word: ast.keyword, text: str) -> Any:
    try:
        return _frozen(ast.literal_eval(word.value))
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        hint = f" Put quotes around it: {word.arg}={word.value.id!r}." if isinstance(word.value, ast.Name) else ""
        raise BadSpec(
            f"{text!r}: the value of {word.arg!r} must be a number, text, True, False, None or a list.{hint}"
        ) from error


def _frozen(value: Any) -> Any:
    """Components are hashable, so a list becomes a tuple; sets, dictionaries and bytes have no place."""
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} is no option's type")


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _literal(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(_literal(item) for item in value)}]"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "1e999" if value > 0 else "-1e999"
    return repr(value)
