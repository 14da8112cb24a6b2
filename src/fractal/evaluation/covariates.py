"""Covariates of responses (who wrote one, how long it is, any field that they carry) as columns of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadData
from fractal.evaluation.outcomes import Area, Outcome, cross_validated
from fractal.evaluation.slices import carried_value, field_names, missing_field
from fractal.records import Response

__all__ = ["LENGTH", "Covariate", "explained"]

Floats = NDArray[np.float64]

LENGTH = "length"  # of any response: its words and its sentences
FEWEST = 5  # responses of a value; one of fewer is as good as unknown
MOST = 50  # values that are told apart, those of most responses


@dataclass(frozen=True, eq=False)
class Covariate:
    """What responses carry in a field, as columns about their means; a row of zeros is neutral: nothing is known."""

    name: str
    columns: Floats  # (response, column); no column where all responses are alike
    what: str  # what the field was taken for
    missing: int = 0  # responses that carry nothing in it
    rare: int = 0  # responses of a value that is seldom

    @classmethod
    def of(cls, responses: Sequence[Response], name: str) -> Covariate:
        """Read a field, as `author` or `meta.model`: numbers as they are, else one column a value; or the length."""
        if name == LENGTH:
            return cls(name, _lengths(responses), "the logarithms of words and sentences")
        values = [_cleaned(carried_value(response, name)) for response in responses]
        missing = sum(value is None for value in values)
        if missing == len(values):
            names = dict.fromkeys(field for response in responses[:1000] for field in field_names(response.extra))
            raise BadData(missing_field(name, names, LENGTH), field=name)
        numbers = _numbers(values)
        if numbers is not None:
            return cls(name, numbers, "a number", missing)
        return cls(name, *_of_values(values), missing, _rare(values))

    @property
    def differs(self) -> bool:
        """Whether responses differ in it, so that there is anything that it could explain."""
        return bool(self.columns.shape[1])

    def __str__(self) -> str:
        """Say what it was taken for, and which responses are neutral."""
        neutral = [f"{self.missing:,} without"] * (self.missing > 0)
        neutral += [f"{self.rare:,} of values that are seldom"] * (self.rare > 0)
        return f"{self.what}; {' and '.join(neutral)} count as unknown" if neutral else self.what


def _lengths(responses: Sequence[Response]) -> Floats:
    counts = [(sum(len(s.text.split()) for s in r.sentences), len(r.sentences)) for r in responses]
    lengths = np.log1p(np.array(counts, dtype=np.float64).reshape(-1, 2))
    return lengths - lengths.mean(0) if np.ptp(lengths, axis=0).any() else lengths[:, :0]


def _cleaned(value: Any) -> Any:
    """None for what is no value; numbers that are written as text as numbers."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text or None
    return number if np.isfinite(number) else text


def _numbers(values: Sequence[Any]) -> Floats | None:
    """Return numbers, standardised (response, 1), nothing for those missing; None where they name things.

    A few whole numbers that come again and again name things: raters by number, versions.
    """
    present = [value for value in values if value is not None]
    if any(isinstance(value, bool | str) for value in present):
        return None
    distinct = set(present)
    if all(float(value).is_integer() for value in distinct) and len(distinct) <= min(MOST, len(present) / FEWEST):
        return None
    column = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    spread = float(np.nanstd(column))
    if spread < 1e-12:
        return np.zeros((len(column), 0))
    return np.nan_to_num((column - np.nanmean(column)) / spread)[:, None]


def _told_apart(values: Sequence[Any]) -> list[Any]:
    """Return the values that enough responses have."""
    counts = Counter(value for value in values if value is not None)
    return [value for value, count in counts.most_common(MOST) if count >= FEWEST]


def _rare(values: Sequence[Any]) -> int:
    often = {*_told_apart(values), None}
    return sum(value not in often for value in values)


def _of_values(values: Sequence[Any]) -> tuple[Floats, str]:
    """Return one column a value that is told apart (response, value), about its mean; nothing where there is one."""
    told_apart, count = _told_apart(values), len({*values} - {None})
    what = "one value" if count == 1 else f"{count} values"
    if count > len(told_apart) > 0:
        what = f"{len(told_apart)} of {count} values"
    if not told_apart or count == 1:
        return np.zeros((len(values), 0)), what
    place = {value: number for number, value in enumerate(told_apart)}
    rows = np.array([place.get(value, -1) for value in values])
    columns = (rows[:, None] == np.arange(len(told_apart))).astype(np.float64)
    present = rows >= 0
    columns[present] -= columns[present].mean(0)
    return columns, what


def explained(columns: Floats, outcome: Outcome, seed: int = 0) -> tuple[Area, float, float]:
    """Return how well columns of responses alone tell held-out labels: the area, the nats without and with them."""
    leads = cross_validated(outcome.of_values(columns), outcome, seed)
    even = cross_validated(np.zeros((len(outcome), 0)), outcome, seed)
    without, cost = (float((np.logaddexp(0.0, z) - outcome.truth * z).mean()) for z in (even, leads))
    return outcome.area(leads, seed), without, cost
