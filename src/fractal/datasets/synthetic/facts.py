"""Small invented worlds: subjects, the facts that hold about them, and many ways to say and to ask each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from random import Random

from fractal.datasets.synthetic.scenes import capitalised, load_texts


@dataclasses.dataclass(frozen=True)
class Schema:
    """A kind of fact: what varies in it, how it is said and asked, and a sentence near it that tells nothing."""

    slots: tuple[tuple[str, str], ...]  # name and kind, such as ("n", "count 40 900")
    say: tuple[str, ...]
    ask: tuple[str, ...]
    vague: str


@dataclasses.dataclass(frozen=True)
class World:
    """A field of life, such as museums: how its subjects are called and what can be told about them."""

    name: str
    names: tuple[str, ...]
    short: str
    broad: tuple[str, ...]
    schemas: tuple[Schema, ...]


@dataclasses.dataclass(frozen=True)
class Subject:
    """What facts are about; the short form is used where it stands in the centre."""

    name: str
    short: str
    world: World


@dataclasses.dataclass(frozen=True)
class Fact:
    """One statement about a subject, with a detail at its end where the source gives one."""

    subject: Subject
    schema: Schema
    values: tuple[tuple[str, str], ...]
    tail: str = ""

    def replacing(self, **values: str) -> Fact:
        """Return the fact with other values."""
        return dataclasses.replace(self, values=tuple((name, values.get(name, old)) for name, old in self.values))

    def agrees_with(self, source: Fact) -> bool:
        """Say whether the source states this fact too, where rounded numbers count as equal."""
        return (
            self.subject == source.subject
            and self.schema is source.schema
            and self.tail in ("", source.tail)
            and all(
                _rounded(value) == _rounded(other)
                for (_, value), (_, other) in zip(self.values, source.values, strict=True)
            )
        )

    def say(self, rng: Random, wording: int, *, short: bool = False, rounding: float = 0.0, lead: str = "") -> str:
        """Put the fact into words; some numbers are rounded with the given probability."""
        template = self.schema.say[wording % len(self.schema.say)]
        if lead and not template.startswith("{"):
            template = template[0].lower() + template[1:]
        kinds = dict(self.schema.slots)
        shown = {name: _shown(value, kinds[name], rng, rounding) for name, value in self.values}
        text = template.format(subject=self.subject.short if short else self.subject.name, **shown)
        tail = f", {self.tail}." if self.tail else "."
        return capitalised((f"{lead}, " if lead else "") + text.removesuffix(".") + tail)

    def ask(self, rng: Random) -> str:
        """Ask for the fact."""
        return rng.choice(self.schema.ask).format(subject=self.subject.name, **dict(self.values))

    def evade(self, *, short: bool = False) -> str:
        """Speak about the same matter without telling the fact."""
        return capitalised(self.schema.vague.format(subject=self.subject.short if short else self.subject.name))


def _shown(value: str, kind: str, rng: Random, rounding: float) -> str:
    if kind == "trend":
        return str(rng.choice(load_texts("names")[value]))
    if kind.startswith("count") and rng.random() < rounding:
        near = _rounded(value)
        return value if near == value else f"about {near}"
    return value


def _rounded(value: str) -> str:
    """Return a count with only its first two digits told, and any other value as it is."""
    digits = value.replace(",", "")
    if not digits.isdigit() or (len(value) == 4 and value == digits):  # a year is not rounded
        return value
    unit = 10 ** max(0, len(digits) - 2)
    return f"{round(int(digits) / unit) * unit:,}"


@cache
def worlds() -> tuple[World, ...]:
    """Every world that ships with the package, by name."""
    folder = files(__package__).joinpath("texts", "worlds")
    names = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return tuple(_read_world(name) for name in names)


def _read_world(name: str) -> World:
    texts = load_texts(f"worlds/{name}")
    schemas = tuple(
        Schema(tuple(fact["slots"].items()), tuple(fact["say"]), tuple(fact["ask"]), fact["vague"])
        for fact in texts["facts"]
    )
    return World(name, tuple(texts["names"]), texts["short"], tuple(texts["broad"]), schemas)


def _number(low: str, high: str, rng: Random) -> int:
    # small numbers are as frequent as large ones, as they are in the world
    bottom, top = int(low), int(high)
    return min(top, bottom + int((top - bottom + 1) * rng.random() * rng.random()))


_NUMBERS: Mapping[str, Callable[[int], str]] = {
    "count": lambda n: f"{n:,}",
    "money": lambda n: f"${n} million",
    "price": lambda n: f"${n}",
    "percent": lambda n: f"{n} percent",
}


def draw_value(kind: str, rng: Random) -> str:
    """Draw a value of a kind: a number in a range, a date, a name, or one of the words that stand between bars."""
    if "|" in kind:
        return rng.choice([word.strip() for word in kind.split("|")])
    word, *limits = kind.split()
    if word in _NUMBERS:
        return _NUMBERS[word](_number(limits[0], limits[1], rng))
    names = load_texts("names")
    if word == "year":
        return str(rng.randrange(1978, 2024))
    if word == "trend":
        return rng.choice(("up", "down"))
    if word == "person":
        return f"{rng.choice(names['first'])} {rng.choice(names['surname'])}"
    return str(rng.choice(names[word]))


def draw_tail(rng: Random) -> str:
    """Draw a detail that a fact may carry at its end."""
    return str(rng.choice(load_texts("names")["tails"]))


def draw_fact(subject: Subject, schema: Schema, rng: Random, tails: float = 0.0) -> Fact:
    """Draw a fact about a subject, with a detail at its end with the given probability."""
    values = tuple((name, draw_value(kind, rng)) for name, kind in schema.slots)
    return Fact(subject, schema, values, draw_tail(rng) if rng.random() < tails else "")


def draw_subjects(world: World, count: int, rng: Random) -> list[Subject]:
    """Draw so many subjects with different names."""
    names: list[str] = []
    while len(names) < count:
        slots = {kind: draw_value(kind, rng) for kind in ("town", "firm", "coined")}
        surname = rng.choice(load_texts("names")["surname"])
        name = rng.choice(world.names).format(surname=surname, **slots)
        if name not in names:
            names.append(name)
    return [Subject(name, world.short, world) for name in names]
