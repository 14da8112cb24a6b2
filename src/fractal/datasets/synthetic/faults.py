"""Faults that can be planted in a fact: each gives the false statement, or nothing where it does not apply."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from random import Random

from fractal.datasets.synthetic.facts import Fact, draw_fact, draw_subjects, draw_tail, draw_value, worlds

NUMBERS = ("count", "money", "price", "percent")


@dataclasses.dataclass(frozen=True)
class Case:
    """What a fault is made from: the fact it befalls, the whole source, and what the response has said so far."""

    fact: Fact
    source: Sequence[Fact]
    said: Sequence[Fact]


Fault = Callable[[Case, Random], Fact | None]


def _invented_value(case: Case, rng: Random) -> Fact | None:
    slots = [(name, kind) for name, kind in case.fact.schema.slots if kind != "trend"]
    name, kind = rng.choice(slots)
    source_values = {value for fact in case.source for _, value in fact.values}
    value = next((value for value in (draw_value(kind, rng) for _ in range(20)) if value not in source_values), None)
    return None if value is None else case.fact.replacing(**{name: value})


def _fits(value: str, kind: str) -> bool:
    # a number from elsewhere in the source must be one that this fact could have had
    word, *limits = kind.split()
    if word not in NUMBERS:
        return True
    number = int("".join(letter for letter in value if letter.isdigit()))
    return int(limits[0]) <= number <= int(limits[1])


def _family(kind: str) -> str:
    return "" if "|" in kind or kind == "trend" else kind.split()[0]


def _swapped_value(case: Case, rng: Random) -> Fact | None:
    fact_values = {value for _, value in case.fact.values}
    elsewhere = [
        (_family(dict(fact.schema.slots)[name]), value)
        for fact in case.source
        if fact is not case.fact
        for name, value in fact.values
    ]
    options = [
        (name, value)
        for name, kind in case.fact.schema.slots
        for family, value in elsewhere
        if family and family == _family(kind) and value not in fact_values and _fits(value, kind)
    ]
    return case.fact.replacing(**dict([rng.choice(options)])) if options else None


def _turned_trend(case: Case, rng: Random) -> Fact | None:
    values = dict(case.fact.values)
    if "trend" not in values:
        return None
    return case.fact.replacing(trend="down" if values["trend"] == "up" else "up")


def _wrong_subject(case: Case, rng: Random) -> Fact | None:
    subjects = [fact.subject for fact in case.source if fact.subject != case.fact.subject]
    return dataclasses.replace(case.fact, subject=rng.choice(subjects)) if subjects else None


def _added_detail(case: Case, rng: Random) -> Fact | None:
    tail = draw_tail(rng)
    return None if tail == case.fact.tail else dataclasses.replace(case.fact, tail=tail)


def _unsupported_claim(case: Case, rng: Random) -> Fact | None:
    subject = case.source[0].subject
    stated = {id(fact.schema) for fact in case.source if fact.subject == subject}
    schemas = [schema for schema in subject.world.schemas if id(schema) not in stated]
    return draw_fact(subject, rng.choice(schemas), rng, tails=0.2) if schemas else None


def _off_topic(case: Case, rng: Random) -> Fact | None:
    world = rng.choice([world for world in worlds() if world is not case.fact.subject.world])
    (subject,) = draw_subjects(world, 1, rng)
    return draw_fact(subject, rng.choice(world.schemas), rng, tails=0.2)


def _said_before(case: Case, rng: Random) -> Fact | None:
    return rng.choice(case.said) if case.said else None


FAULTS: Mapping[str, Fault] = {
    "invented value": _invented_value,
    "swapped value": _swapped_value,
    "turned trend": _turned_trend,
    "wrong subject": _wrong_subject,
    "added detail": _added_detail,
    "unsupported claim": _unsupported_claim,
    "off topic": _off_topic,
    "said before": _said_before,
}
