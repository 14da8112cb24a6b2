"""Which sentences of a response are good, and the label that the response gets from them: one rule an aggregation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from random import Random

from fractal.errors import BadData, UnknownName

AGGREGATION_NAMES = ("count", "max", "max_levels", "mean", "min", "min_levels")
BINARY_ONLY = {"min": "min_levels", "max": "max_levels", "count": "mean"}


@dataclasses.dataclass(frozen=True)
class LabelRule:
    """How sentence labels are drawn, and how they make the response's label."""

    direction: str  # min, max or mean
    levels: int = 2

    def draw(self, rng: Random, count: int, in_runs: bool = False) -> tuple[float, ...]:
        """Draw the labels of so many sentences; half of the responses are good where labels are binary."""
        grades = self._mean_grades(rng, count) if self.direction == "mean" else self._extreme_grades(rng, count)
        if in_runs:
            # a turned sorted list keeps the faults together and gives no position an advantage
            grades, turn = sorted(grades), rng.randrange(count)
            grades = grades[turn:] + grades[:turn]
        return tuple(grade / (self.levels - 1) for grade in grades)

    def _mean_grades(self, rng: Random, count: int) -> list[int]:
        share = 0.3 + 0.7 * rng.random()
        best = self.levels - 1
        return [best if rng.random() < share else rng.randrange(best) for _ in range(count)]

    def _extreme_grades(self, rng: Random, count: int) -> list[int]:
        best, extreme = self.levels - 1, rng.randrange(self.levels)
        if self.direction == "min":
            others, share = range(extreme + 1, best + 1), 0.3
        else:
            others, share = range(extreme), 0.15
        grades = [extreme if not others or rng.random() < share else rng.choice(others) for _ in range(count)]
        if extreme not in grades:
            grades[rng.randrange(count)] = extreme
        return grades

    def aggregate(self, labels: Sequence[float]) -> float:
        """Return the label of a response whose sentences have these labels."""
        if self.direction == "mean":
            return math.fsum(labels) / len(labels)
        return min(labels) if self.direction == "min" else max(labels)

    def spoil(self, label: float, count: int, rng: Random) -> float:
        """Return another label that a careless rater might have given to a response of so many sentences."""
        steps = count * (self.levels - 1) if self.direction == "mean" else self.levels - 1
        return rng.choice([other / steps for other in range(steps + 1) if abs(other / steps - label) > 1e-9])


def label_rule(aggregation: str, levels: int | None = None) -> LabelRule:
    """Return the rule of an aggregation; the level forms have four levels and all others two unless told."""
    if aggregation not in AGGREGATION_NAMES:
        raise UnknownName("aggregation of made responses", aggregation, AGGREGATION_NAMES)
    if levels is None:
        levels = 4 if aggregation.endswith("_levels") else 2
    if levels < 2:
        raise BadData(f"found {levels}: a label has at least two levels", field="levels")
    if aggregation in BINARY_ONLY and levels != 2:
        other = BINARY_ONLY[aggregation]
        raise BadData(
            f"found {levels}, but {aggregation!r} knows good and bad only: use aggregation={other!r}", field="levels"
        )
    direction = "mean" if aggregation == "count" else aggregation.removesuffix("_levels")
    return LabelRule(direction, levels)
