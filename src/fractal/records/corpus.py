"""Responses and preferences as one corpus: labels, groups and pairs as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fractal.errors import BadData
from fractal.records import Preference, Response

__all__ = ["DIRECTIONS", "Corpus", "all_or_nothing", "gather"]

DIRECTIONS = ("min", "max", "mean")  # a response is as good as its worst sentence, its best, or all of them


@dataclass(frozen=True, eq=False)
class Corpus:
    """Every response once, and which of them are preferred over which."""

    responses: tuple[Response, ...]
    pairs: NDArray[np.int64]  # (pair, 3): better, worse, tie

    @property
    def labels(self) -> NDArray[np.float64]:
        """The label of each response, nan where it is unknown."""
        return np.array([np.nan if r.label is None else r.label for r in self.responses], dtype=np.float64)

    @property
    def directions(self) -> tuple[str, ...]:
        """Which sentences a response's label may be about: the worst, the best, all; what the data state, or allow."""
        if len(self.pairs):
            return ("mean",)
        said = {str(response.extra.get("aggregation", "")) for response in self.responses}
        if len(said) == 1 and (word := said.pop().replace("avg", "mean")) in DIRECTIONS:
            return (word,)
        return DIRECTIONS if all_or_nothing(self.labels) else ("mean",)

    @property
    def groups(self) -> tuple[str, ...]:
        """What must not be torn apart when data are split; a preference ties the groups of its two responses."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        count = len(self.responses)
        number: dict[str, int] = {}
        own = [count + number.setdefault(response.split_group, len(number)) for response in self.responses]
        ends = (np.append(np.arange(count), self.pairs[:, 0]), np.append(own, self.pairs[:, 1]))
        size = count + len(number)
        joined = connected_components(coo_array((np.ones(len(ends[0])), ends), shape=(size, size)), directed=False)[1]
        return tuple(map(str, joined[:count].tolist()))


def all_or_nothing(labels: NDArray[np.float64]) -> bool:
    """Whether some labels are known, and all that are known are 0 or 1."""
    known = labels[~np.isnan(labels)]
    return bool(len(known) and np.isin(known, (0.0, 1.0)).all())


def gather(X: Sequence[Response | Preference], y: Sequence[float | None] | None = None) -> Corpus:
    """Collect responses and preferences; `y`, where given, replaces the labels of responses."""
    found: dict[tuple[str, str, str], int] = {}
    responses: list[Response] = []
    pairs: list[tuple[int, int, int]] = []

    def place(response: Response) -> int:
        number = found.setdefault((response.id, response.query, response.text), len(responses))
        if number == len(responses):
            responses.append(response)
        return number

    if y is not None and len(y) != len(X):
        raise BadData(f"{len(y)} labels for {len(X)} responses: give one a response", field="y")
    for number, record in enumerate(X):
        if isinstance(record, Preference):
            pairs.append((place(record.better), place(record.worse), int(record.tie)))
        else:
            label = record.label if y is None or y[number] is None else float(y[number])  # type: ignore[arg-type]
            responses.append(replace(record, label=label) if label != record.label else record)
    if not responses:
        raise BadData("there is nothing to learn from: give at least one response or preference")
    return Corpus(tuple(responses), np.array(pairs, dtype=np.int64).reshape(-1, 3))
