"""Scores by the values of a field that responses carry: how many are marked in each slice, and how good they are."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from fractal.evaluation.slices import slices
from fractal.records import ScoredResponse
from fractal.reports.rivals import Standing
from fractal.reports.summary import Summary, summarise

__all__ = ["SliceRow", "SliceTable", "slice_tables"]


@dataclasses.dataclass(frozen=True)
class SliceRow:
    """The responses of one value."""

    value: str
    place: int  # of the value among the values of the page's filter
    summary: Summary
    mean: float  # of response scores
    metrics: Mapping[str, Any]  # rows of an evaluation by metric; empty where no label is known


@dataclasses.dataclass(frozen=True)
class SliceTable:
    """The slices of one aspect; the largest come first."""

    aspect: str
    place: int | str  # of the aspect among those of the page; "" where there is one alone
    metrics: tuple[str, ...]
    rows: tuple[SliceRow, ...]

    @property
    def aim(self) -> str:
        """What readers look for, or "mixed" where slices differ."""
        aims = {row.summary.aim for row in self.rows}
        return aims.pop() if len(aims) == 1 else "mixed"


def slice_tables(
    scored: Sequence[ScoredResponse],
    field: str,
    threshold: float,
    evaluations: Mapping[str, Mapping[str, Any]],
    standing: Sequence[Standing | None],
) -> list[SliceTable]:
    """Count each slice of every aspect, beside its evaluation: {aspect: {value: evaluation}}.

    Rivals stand in other slices, too, as where each is what one model answers: `standing` is among all responses.
    """
    parts = slices(scored, field)
    standing_of = {id(item): rivals for item, rivals in zip(scored, standing, strict=True)}
    aspects = list(dict.fromkeys(item.aspect for item in scored))
    tables = []
    for number, aspect in enumerate(aspects):
        measured = evaluations.get(aspect, {})
        rows = []
        for at, (value, items) in enumerate(parts.items()):
            chosen = [item for item in items if item.aspect == aspect]
            if chosen:
                metrics = {row.metric: row for row in measured[value].rows} if value in measured else {}
                mean = statistics.fmean(item.response_score for item in chosen)
                summary = summarise(chosen, threshold, aspect, [standing_of[id(item)] for item in chosen])
                rows.append(SliceRow(value, at, summary, mean, metrics))
        names = dict.fromkeys(metric for row in rows for metric in row.metrics)
        tables.append(SliceTable(aspect, number if len(aspects) > 1 else "", tuple(names), tuple(rows)))
    return tables
