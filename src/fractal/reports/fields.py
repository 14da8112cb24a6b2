"""Fields that responses carry (the model, the topic) as filters of the page: those of few short values."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fractal.evaluation.slices import carried_value, field_names, field_value, slices
from fractal.records import ScoredResponse

__all__ = ["Field", "Fields", "carried_fields"]

MOST_VALUES = 30  # of a filter
MOST_FIELDS = 8
LONGEST = 60  # characters of a value


@dataclasses.dataclass(frozen=True)
class Field:
    """One filter: its values, those of most responses first, and the place of each response's value among them."""

    name: str
    values: tuple[str, ...]
    places: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Fields:
    """The filters of a page, and which carried fields are none."""

    filters: tuple[Field, ...]
    left_out: tuple[str, ...]


def carried_fields(scored: Sequence[ScoredResponse], by: str = "") -> Fields:
    """Choose the filters: fields of 2 to 30 short values; the field of the slices comes first, cut as these are."""
    first = (_sliced(scored, by),) if by else ()
    names: dict[str, None] = {}
    for item in scored:
        names |= dict.fromkeys(field_names(item.response.extra))
    candidates = [(name, _field(scored, name)) for name in names if name != by]
    possible = [field for _, field in candidates if field is not None]
    filters = (*first, *possible)[:MOST_FIELDS]
    chosen = {field.name for field in filters}
    objects = {name.partition(".")[0] for name in names if "." in name}
    return Fields(filters, tuple(name for name, _ in candidates if name not in chosen | objects))


def _sliced(scored: Sequence[ScoredResponse], by: str) -> Field:
    parts = slices(scored, by)
    place_of = {id(item): place for place, items in enumerate(parts.values()) for item in items}
    return Field(by, tuple(parts), tuple(place_of[id(item)] for item in scored))


def _field(scored: Sequence[ScoredResponse], name: str) -> Field | None:
    """Return a field as a filter; None where its values are too many, too long, one alone or no values at all."""
    counts: Counter[str] = Counter()
    values = []
    for item in scored:
        if not _short(carried_value(item.response, name)):
            return None
        value = field_value(item.response, name)
        if len(value) > LONGEST:
            return None
        counts[value] += 1
        values.append(value)
        if len(counts) > MOST_VALUES:
            return None
    if len(counts) < 2:
        return None
    ordered = [value for value, _ in counts.most_common()]
    place_of = {value: place for place, value in enumerate(ordered)}
    return Field(name, tuple(ordered), tuple(place_of[value] for value in values))


def _short(value: Any) -> bool:
    """Whether a value is one that can be chosen from a list: no object, no list of objects, no long list."""
    if isinstance(value, Mapping):
        return False
    if isinstance(value, list | tuple):
        return len(value) <= 3 and all(isinstance(one, str | int | float | bool) for one in value)
    return True
