"""Aggregations and their ways back in plain Python, one bag at a time, by enumerating every assignment of labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

LOWEST = {  # the smooth minimum of each form; its maximum is 1 − that of 1 − the scores
    "min": lambda s, o: min(s),
    "product": lambda s, o: math.prod(s),
    "geometric_mean": lambda s, o: math.prod(s) ** (1 / len(s)),
    "power_mean": lambda s, o: (sum(x ** o["exponent"] for x in s) / len(s)) ** (1 / o["exponent"]),
    "logsumexp": lambda s, o: -math.log(sum(math.exp(-o["sharpness"] * x) for x in s) / len(s)) / o["sharpness"],
    "softmin": lambda s, o: (
        sum(x * math.exp(-x / o["temperature"]) for x in s) / sum(math.exp(-x / o["temperature"]) for x in s)
    ),
    "first_error": lambda s, o: 1 - math.fsum(lasting_errors(s, o["recovery"])),
    "prefix_value": lambda s, o: values(s)[-1],
}
FORM = {"max": "min", "noisy_or": "product", "softmax_pool": "softmin"}


def aggregate(name: str, direction: str, options: dict[str, float], scores: Sequence[float]) -> float:
    if direction == "mean":
        return sum(scores) / len(scores)
    lowest = LOWEST[FORM.get(name, name)]
    if direction == "min":
        return lowest(scores, options)
    return 1 - lowest([1 - s for s in scores], options)


def lasting_errors(scores: Sequence[float], recovery: float) -> list[float]:
    """P(the run ends wrong, since step t): every pattern of right and wrong steps, and of steps that would mend."""
    chances = [0.0] * len(scores)
    for right in itertools.product((True, False), repeat=len(scores)):
        for mends in itertools.product((True, False), repeat=len(scores)):
            chance = math.prod(s if good else 1 - s for s, good in zip(scores, right, strict=True))
            chance *= math.prod(recovery if one else 1 - recovery for one in mends)
            broken: int | None = None
            for place, (good, mend) in enumerate(zip(right, mends, strict=True)):
                if not good:
                    broken = place if broken is None else broken
                elif mend:
                    broken = None
            if broken is not None:
                chances[broken] += chance
    return chances


def values(scores: Sequence[float]) -> list[float]:
    """The value after each step, whose odds are the product of the odds of the steps so far."""
    odds = itertools.accumulate((s / (1 - s) for s in scores), lambda a, b: a * b)
    return [one / (1 + one) for one in odds]


def count(labels: float, size: int) -> int:
    return math.floor(labels * size + 0.5)


def agreeing(direction: str, label: float, size: int, levels: int = 2) -> Iterator[tuple[int, ...]]:
    """Every assignment of levels that aggregates to the label."""
    for labels in itertools.product(range(levels), repeat=size):
        if direction == "mean":
            agrees = sum(labels) == count(label, size)
        else:
            agrees = (min if direction == "min" else max)(labels) == math.floor(label * (levels - 1) + 0.5)
        if agrees:
            yield labels


def chance(distributions: Sequence[Sequence[float]], labels: Sequence[int]) -> float:
    return math.prod(p[label] for p, label in zip(distributions, labels, strict=True))


def likelihood(direction: str, distributions: Sequence[Sequence[float]], label: float) -> float:
    levels = len(distributions[0])
    return math.fsum(chance(distributions, a) for a in agreeing(direction, label, len(distributions), levels))


def best_chance(direction: str, distributions: Sequence[Sequence[float]], label: float) -> float:
    levels = len(distributions[0])
    return max(chance(distributions, a) for a in agreeing(direction, label, len(distributions), levels))


def marginals(direction: str, distributions: Sequence[Sequence[float]], label: float) -> list[list[float]]:
    """P(sentence has level k | label) for every sentence and level."""
    levels = len(distributions[0])
    sums = [[0.0] * levels for _ in distributions]
    for labels in agreeing(direction, label, len(distributions), levels):
        for place, level in enumerate(labels):
            sums[place][level] += chance(distributions, labels)
    total = math.fsum(sums[0])
    return [[value / total for value in row] for row in sums]


def binary(scores: Sequence[float]) -> list[list[float]]:
    return [[1 - s, s] for s in scores]


def level_distribution(direction: str, numbers: Sequence[float]) -> list[float]:
    """Level probabilities of a sentence from the head's K − 1 conditional log-odds, step by step."""
    sigmoid = [1 / (1 + math.exp(-z)) for z in numbers]
    levels = len(numbers) + 1
    p = [0.0] * levels
    rest = 1.0
    if direction == "max":  # from the top: does it have level c, given at most c?
        for c in range(levels - 1, 0, -1):
            p[c] = rest * sigmoid[c - 1]
            rest -= p[c]
        p[0] = rest
    else:  # from the bottom: does it reach level c, given at least c − 1?
        for c in range(1, levels):
            p[c - 1] = rest * (1 - sigmoid[c - 1])
            rest -= p[c - 1]
        p[levels - 1] = rest
    return p


def preferred(better: Sequence[float], worse: Sequence[float]) -> float:
    """The likelihood of the likeliest labels of two responses of which the first has the larger share of good ones."""
    return max(
        chance(binary(better), first) * chance(binary(worse), second)
        for first in itertools.product((0, 1), repeat=len(better))
        for second in itertools.product((0, 1), repeat=len(worse))
        if sum(first) * len(worse) > sum(second) * len(better)
    )


def known_agreeing(
    direction: str, label: float, known: Sequence[int | None], levels: int = 2
) -> Iterator[tuple[int, ...]]:
    """Every assignment of levels that aggregates to the label and keeps what is known of single sentences."""
    for labels in agreeing(direction, label, len(known), levels):
        if all(level in (None, given) for level, given in zip(known, labels, strict=True)):
            yield labels
