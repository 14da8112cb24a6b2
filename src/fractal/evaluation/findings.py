"""What a check found: a number, its interval, what it means, and what to do about it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from fractal.jsonable import jsonable

Verdict = Literal["ok", "warn", "fail"]

GROUPS = {
    "length shortcut": "Shortcuts",
    "author shortcut": "Shortcuts",
    "position shortcut": "Shortcuts",
    "contradicted responses": "Labels",
    "contradicted sentences": "Labels",
    "label noise": "Labels",
    "leaking groups": "Held-out labels",
    "groups": "Held-out labels",
    "aggregation": "Aggregation",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One assumption held against the data."""

    name: str
    verdict: Verdict
    sentence: str  # for people: what was found and what it means
    value: float
    low: float = math.nan  # the interval, at 99 %
    high: float = math.nan
    advice: str = ""  # what would be better, as an option is written: an aggregation's name, a column's name

    @property
    def group(self) -> str:
        """Which part of the method the check is about: what a report puts under one heading."""
        return "Priors" if self.name.startswith("prior: ") else GROUPS.get(self.name, "Other")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: what is not a number is None."""
        return {**jsonable(dataclasses.asdict(self))}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Finding:
        """Return the finding that plain data describe."""
        numbers = {key: math.nan if plain[key] is None else plain[key] for key in ("value", "low", "high")}
        return cls(**{**plain, **numbers})
