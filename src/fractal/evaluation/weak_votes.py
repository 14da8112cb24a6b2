"""Votes of weak judges in the forms that they come in: scores, levels, comparisons; of each response one label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadData
from fractal.evaluation.label_model import Combined, combine

__all__ = ["WeakLabels", "label_levels", "label_pairs", "label_scores", "vote_table"]

Floats = NDArray[np.float64]
Vote = float | str | None
FIRST, SECOND, TIE = "a", "b", "tie"
MOST_LEVELS = 100


@dataclass(frozen=True)
class WeakLabels:
    """One label a row, None where no judge that counts has voted, and the judges behind them."""

    labels: tuple[Vote, ...]
    models: tuple[Combined, ...]  # one, of levels one a threshold
    report: tuple[str, ...]


def vote_table(rows: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> tuple[list[list[Any]], tuple[str, ...]]:
    """Return the votes of each row and the judges' names: a field a judge, or one that holds a list or a mapping."""
    if len(fields) == 1 and any(isinstance(row.get(fields[0]), list | dict) for row in rows):
        return _nested(rows, fields[0])
    for field in fields:
        if not any(field in row for row in rows):
            raise BadData(f"no row has the column {field!r}: name columns that hold a judge's votes", field=field)
    return [[row.get(field) for field in fields] for row in rows], tuple(fields)


def _nested(rows: Sequence[Mapping[str, Any]], field: str) -> tuple[list[list[Any]], tuple[str, ...]]:
    by_judge = []
    for row in rows:
        votes = row.get(field) or {}
        if not isinstance(votes, list | dict):
            raise BadData(f"found {votes!r}: give a list of votes, or votes by judge", field=field)
        listed = isinstance(votes, list)
        by_judge.append({f"judge {place}": vote for place, vote in enumerate(votes, 1)} if listed else dict(votes))
    names = tuple(dict.fromkeys(name for votes in by_judge for name in votes))
    return [[votes.get(name) for name in names] for votes in by_judge], names


def label_scores(votes: Sequence[Sequence[Any]], names: Sequence[str], seed: int = 0) -> WeakLabels:
    """Return P(good) of each row, from votes of 0 and 1 or scores on each judge's own scale, higher is better."""
    combined = combine(_numbers(votes), names, seed=seed)
    labels = tuple(None if math.isnan(label) else float(label) for label in combined.labels)
    return WeakLabels(labels, (combined,), combined.report)


def label_levels(votes: Sequence[Sequence[Any]], names: Sequence[str], levels: int, seed: int = 0) -> WeakLabels:
    """Return the likeliest level of each row, 0 … levels − 1, from judges who each give a level.

    Each threshold is a question of its own, "at least k?", that every judge has answered; judges may be good at one
    and bad at another. P(level ≥ k) is kept from rising with k.
    """
    if not 2 <= levels <= MOST_LEVELS:
        raise BadData(f"levels={levels}: give 2 to {MOST_LEVELS}")
    table = _numbers(votes)
    seen = ~np.isnan(table)
    cast_votes = table[seen]
    if ((cast_votes != np.round(cast_votes)) | (cast_votes < 0) | (cast_votes >= levels)).any():
        odd = next(value for value in cast_votes if value != round(value) or not 0 <= value < levels)
        raise BadData(f"a vote is {odd:g}: with {levels} levels give whole numbers from 0 to {levels - 1}")
    models = tuple(combine(np.where(seen, table >= k, np.nan), names, seed=seed) for k in range(1, levels))
    reached = np.minimum.accumulate(np.array([model.labels for model in models]), axis=0)  # (level − 1, row)
    edges = np.concatenate([np.ones((1, len(table))), reached, np.zeros((1, len(table)))])
    likeliest = np.argmax(-np.diff(edges, axis=0), axis=0)
    voted: list[bool] = np.isfinite(reached.sum(axis=0)).tolist()
    labels = tuple(float(level) if some else None for level, some in zip(likeliest, voted, strict=True))
    report = tuple(f"level {k} and above: {line}" for k, model in enumerate(models, 1) for line in model.report)
    return WeakLabels(labels, models, report)


def label_pairs(votes: Sequence[Sequence[Any]], names: Sequence[str], seed: int = 0) -> WeakLabels:
    """Return which response of each pair is better: "a", "b", or "tie".

    A vote is "a" or 1, "b" or 0, or "tie" or ½; a tie does not say which is better, so it counts for no side. A pair on
    which nobody takes sides, and one that is even, is a tie.
    """
    table = np.array([[_side(vote) for vote in row] for row in votes], dtype=np.float64).reshape(len(votes), -1)
    combined = combine(np.where(table == 0.5, np.nan, table), names, seed=seed)
    voted: list[bool] = (np.isfinite(table).sum(axis=1) > 0).tolist()
    labels = tuple(_better(chance) if some else None for chance, some in zip(combined.labels, voted, strict=True))
    return WeakLabels(labels, (combined,), combined.report)


def _better(chance: float) -> str:
    if math.isnan(chance) or chance == 0.5:
        return TIE
    return FIRST if chance > 0.5 else SECOND


def _side(vote: Any) -> float:
    words = {FIRST: 1.0, SECOND: 0.0, TIE: 0.5, "": math.nan}
    try:
        number = words.get(vote.strip().casefold(), vote) if isinstance(vote, str) else vote
        number = math.nan if number is None else float(number)
    except (TypeError, ValueError):
        number = math.inf
    if number in (0.0, 0.5, 1.0) or math.isnan(number):
        return float(number)
    raise BadData(f'a vote is {vote!r}: of pairs give "a", "b" or "tie", or 1, 0 or 0.5')


def _numbers(votes: Sequence[Sequence[Any]]) -> Floats:
    return np.array([[_number(vote) for vote in row] for row in votes], dtype=np.float64).reshape(len(votes), -1)


def _number(vote: Any) -> float:
    """Return a vote as a number; nan where there is none."""
    if vote is None or (isinstance(vote, str) and not vote.strip()):
        return math.nan
    try:
        return float(vote)
    except (TypeError, ValueError) as error:
        raise BadData(
            f"a vote is {vote!r}, no number: give 0, 1 or a score, and nothing where there is none"
        ) from error
