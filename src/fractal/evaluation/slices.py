"""Scores by a field that responses carry (the model, the topic, the language): where they are good, and where not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from fractal.errors import BadData, suggestion
from fractal.records import Response, ScoredResponse

__all__ = ["NONE", "carried_value", "field_names", "field_value", "missing_field", "slices"]

Item = TypeVar("Item", Response, ScoredResponse)
MOST = 20  # values that are told apart, those of most responses; the others are one slice
OTHERS = "(other values)"
NONE = "(none)"


def slices(items: Iterable[Item], field: str) -> dict[str, list[Item]]:
    """Return the items by the value of a carried field, as `model` or `meta.model`; the largest slices first.

    A field that no response carries is an error that names those that are there.
    """
    by_value: defaultdict[str, list[Item]] = defaultdict(list)
    names: dict[str, None] = {}
    for item in items:
        response = item.response if isinstance(item, ScoredResponse) else item
        by_value[field_value(response, field)].append(item)
        if len(names) < 100:
            names |= dict.fromkeys(field_names(response.extra))
    if set(by_value) <= {NONE}:
        raise BadData(missing_field(field, names))
    ordered = dict(sorted(by_value.items(), key=lambda pair: -len(pair[1])))
    kept = dict(list(ordered.items())[:MOST])
    others = [item for value in list(ordered)[MOST:] for item in ordered[value]]
    return {**kept, OTHERS: others} if others else kept


def field_value(response: Response, field: str) -> str:
    """Return what a response carries in a field, as text; `group` is the response's own."""
    if field == "group":
        return response.group or NONE
    value = carried_value(response, field)
    if value is None or value == "":
        return NONE
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def carried_value(response: Response, field: str) -> Any:
    """Return what a response carries in a field, as it is; None where it carries nothing there."""
    value: Any = response.extra
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def missing_field(field: str, names: Iterable[str], *others: str, who: str = "response") -> str:
    """Say that nobody carries a field, which it may mean of those carried, and what there is, `others` first."""
    names = list(names)
    listed = ", ".join((*others, *names)) or "none are carried"
    return f"no {who} carries the field {field!r}.{suggestion(field, names)} Fields here: {listed}"


def field_names(extra: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """Yield the names of carried fields, and those inside objects: `meta`, `meta.topic`."""
    for name, value in extra.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping) and not prefix:
            yield from field_names(value, f"{name}.")
