"""The tables that evaluations and comparisons are: rows of numbers, as text, Markdown and JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

from fractal.errors import MissingExtra
from fractal.jsonable import jsonable


@dataclasses.dataclass(frozen=True)
class Row:
    """One metric: its value, its interval, and over how many sentences or responses it speaks."""

    metric: str
    level: str
    value: float
    low: float
    high: float
    count: int
    unit: str = "sentence"  # what is counted
    note: str = ""


@dataclasses.dataclass(frozen=True)
class ComparisonRow:
    """One metric of two sets of scores: both values, first − second with its interval, and how likely by chance."""

    metric: str
    level: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    count: int
    unit: str = "sentence"
    better: str = ""  # "first" or "second" where the interval leaves out 0
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """What evaluations and comparisons share: rows, how they were resampled, and how they are shown."""

    rows: tuple[Any, ...]
    responses: int
    sentences: int
    labelled: int
    bootstrap: int
    seed: int
    confidence: float

    def __getitem__(self, metric: str) -> Any:
        """Return the row of a metric, by its text form."""
        for row in self.rows:
            if row.metric == metric:
                return row
        raise KeyError(f"{metric!r} was not measured; measured: {', '.join(row.metric for row in self.rows)}")

    @property
    def heading(self) -> str:
        """Say what was measured, in one line."""
        span = f"{self.confidence:.0%} intervals from {self.bootstrap:,} resamples of whole responses"
        how = span if self.bootstrap else "no intervals"
        return f"{self.responses:,} responses, {self.labelled:,} of {self.sentences:,} sentences labelled; {how}"

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        raise NotImplementedError

    def to_markdown(self) -> str:
        """Return a table for a README or a paper's notes."""
        return f"{markdown(*self._cells())}\n\n{self.heading}."

    def to_pandas(self) -> Any:
        """Return a frame with a row a metric."""
        try:
            import pandas
        except ImportError as error:
            raise MissingExtra("A frame of metrics", "data", "pandas") from error
        return pandas.DataFrame([dataclasses.asdict(row) for row in self.rows])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what is undefined is None."""
        return {**jsonable(dataclasses.asdict(self))}

    def to_json(self, indent: int | None = 2) -> str:
        """Return the same as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def __str__(self) -> str:
        return f"{aligned(*self._cells())}\n{self.heading}"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


@dataclasses.dataclass(frozen=True)
class Evaluation(Table):
    """How good one set of scores is: a row for each metric."""

    unlike: str = ""  # how many responses are unlike those that their scorer learned from, where it is no chance

    @property
    def heading(self) -> str:
        """Say what was measured, and on what it does not say much."""
        return f"{super().heading}. {self.unlike}" if self.unlike else super().heading

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what is undefined is None."""
        return {name: value for name, value in super().to_dict().items() if value or name != "unlike"}

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        head = ["metric", "value", "interval", "count", "note"]
        return head, [
            [
                row.metric,
                number(row.value),
                _interval(row),
                f"{row.count:,} {row.unit}{'s' * (row.count != 1)}",
                row.note,
            ]
            for row in self.rows
        ]


@dataclasses.dataclass(frozen=True)
class Comparison(Table):
    """How two sets of scores of the same responses differ: a row for each metric."""

    names: tuple[str, str] = ("first", "second")

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        head = ["metric", *self.names, "difference", "interval", "p", "better", "note"]
        named = {"first": self.names[0], "second": self.names[1]}
        return head, [
            [
                row.metric,
                *(number(value) for value in (row.first, row.second)),
                number(row.difference, signed=True),
                _interval(row, signed=True),
                number(row.p),
                named.get(row.better, ""),
                row.note,
            ]
            for row in self.rows
        ]


def _interval(row: Row | ComparisonRow, signed: bool = False) -> str:
    return "–" if math.isnan(row.low) else f"{number(row.low, signed=signed)} … {number(row.high, signed=signed)}"


def number(value: float, signed: bool = False) -> str:
    """Write a number for people; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:{'+' if signed else ''}.3f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out cells as a Markdown table; a pipe in a cell stays a pipe."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out cells in columns of equal width."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
