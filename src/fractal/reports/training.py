"""How a training went, as curves by epoch: each head apart, and the members of its ensemble where they are told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["AREA", "Curve", "TrainingCurves", "history_series", "training_curves"]

AREA = "held-out AUC"  # among the series of a history the one that is no cost
MOST_HEADS = 12  # that a chart draws, the last ones
MEASURES = {"held_out": "held_out_by_member", "auc": "auc_by_member"}

Points = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Curve:
    """One line: whose it is, what it shows, and its values by epoch."""

    head: str  # the stage of the training; "" where there is but one
    name: str
    points: Points
    member: int = 0  # of the head's ensemble, from 1; 0: the mean of all


@dataclasses.dataclass(frozen=True)
class TrainingCurves:
    """What a training told: costs that it lowered, and how it did on responses that members held out."""

    heads: tuple[str, ...]  # in the order in which they trained
    costs: tuple[Curve, ...]
    held_out: tuple[Curve, ...]
    auc: tuple[Curve, ...]
    left_out: int = 0  # heads that trained before those that are drawn


class _Epochs:
    """Where each epoch stands: a training that counts its epochs anew goes on behind the one before."""

    def __init__(self) -> None:
        self._passed: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def at(self, epoch: float, head: str = "") -> float:
        """Return where an epoch of a head stands."""
        if epoch < self._last.get(head, 0.0):
            self._passed[head] = self._passed.get(head, 0.0) + self._last[head]
        self._last[head] = epoch
        return self._passed.get(head, 0.0) + epoch


class _Lines:
    """Points by head, name and member."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, str, int], list[tuple[float, float]]] = {}

    def add(self, head: str, name: str, at: float, value: Any, member: int = 0) -> None:
        """Keep a value that is a finite number."""
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            self.points.setdefault((head, name, member), []).append((at, float(value)))

    def curves(self, names: Iterable[str], heads: Iterable[str]) -> tuple[Curve, ...]:
        """Return the curves of these names and heads; members come before their mean, which lies over them."""
        wanted, drawn = set(names), set(heads)
        chosen = [key for key in self.points if key[1] in wanted and key[0] in drawn]
        chosen.sort(key=lambda key: key[2] == 0)
        return tuple(Curve(head, name, tuple(self.points[head, name, member]), member) for head, name, member in chosen)


def training_curves(history: Iterable[Any]) -> TrainingCurves | None:
    """Return the curves of epochs as training tells them, or of mappings from a cost to its value; None of nothing."""
    lines, epochs, costs, heads = _Lines(), _Epochs(), dict[str, None](), dict[str, None]()
    for number, epoch in enumerate(history, 1):
        row = _row(epoch)
        head = str(row.get("stage") or "")
        heads[head] = None
        at = epochs.at(float(row.get("epoch", number)), head)
        parts = row["parts"] if "parts" in row else _plain_costs(row)
        for name, value in parts.items():
            costs[str(name)] = None
            lines.add(head, str(name), at, value)
        for measure, members in MEASURES.items():
            lines.add(head, measure, at, row.get(measure))
            for member, value in enumerate(row.get(members) or (), 1):
                lines.add(head, measure, at, value, member)
    if not lines.points:
        return None
    drawn = tuple(heads)[-MOST_HEADS:]
    return TrainingCurves(
        heads=drawn,
        costs=lines.curves(costs, drawn),
        held_out=lines.curves(["held_out"], drawn),
        auc=lines.curves(["auc"], drawn),
        left_out=len(heads) - len(drawn),
    )


def _row(epoch: Any) -> Mapping[str, Any]:
    return epoch if isinstance(epoch, Mapping) else {**vars(epoch)}


def _plain_costs(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a plain mapping tells but the epoch and what is no cost."""
    return {name: value for name, value in row.items() if name not in ("epoch", "stage", *MEASURES, *MEASURES.values())}


def history_series(history: Iterable[Any]) -> dict[str, list[tuple[float, float]]]:
    """Return each part of the training cost by epoch, from epochs as training tells them or from mappings.

    The held-out AUC, where one is told, stands under `AREA`. Trainings that follow each other stand one behind the
    other.
    """
    series: dict[str, list[tuple[float, float]]] = {}
    epochs = _Epochs()
    for number, epoch in enumerate(history, 1):
        row = _row(epoch)
        values = {**row.get("parts", {}), "held-out responses": row.get("held_out")} if "parts" in row else dict(row)
        values[AREA] = values.pop("auc", row.get("auc"))
        at = epochs.at(float(row.get("epoch", number)))
        for name, value in values.items():
            if name != "epoch" and isinstance(value, int | float) and value == value:
                series.setdefault(str(name), []).append((at, float(value)))
    return series
