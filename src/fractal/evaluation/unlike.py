"""How many responses are unlike those that a scorer learned from, and whether that is more than chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

__all__ = ["UnlikeTraining", "unlike_counts", "unlike_summary"]

EXPECTED = 0.05  # share of responses of the same source that may be unlike training by chance
SURE = 0.01  # how likely chance may be where something is said


class UnlikeTraining(UserWarning):
    """Said of responses that are unlike those that a scorer learned from."""


def unlike_counts(reasons: Iterable[tuple[str, ...]]) -> Counter[str]:
    """Count responses by in what they are unlike training, as "language, length"; those like it by the empty text."""
    return Counter(", ".join(reason) for reason in reasons)


def unlike_summary(counts: Mapping[str, int]) -> str:
    """Say how many of so many responses are unlike training, and what to do; nothing where it may be chance."""
    total = sum(counts.values())
    unlike = total - counts.get("", 0)
    if not unlike or _by_chance(unlike, total) > SURE:
        return ""
    by_reason: Counter[str] = Counter()
    for reasons, count in counts.items():
        by_reason.update(dict.fromkeys(filter(None, reasons.split(", ")), count))
    listed = ", ".join(f"{name} {count:,}" for name, count in sorted(by_reason.items()))
    return (
        f"{unlike:,} of {total:,} responses ({unlike / total:.0%}) are unlike those that the scorer learned from "
        f"({listed}): their scores mean less. Rate some of them and train on both"
    )


def _by_chance(unlike: int, total: int) -> float:
    """Return a bound (Chernoff's) on how likely so many or more are, each unlike by chance; of all it is exact."""
    share = unlike / total
    if share <= EXPECTED:
        return 1.0
    rest = (1 - share) * math.log((1 - share) / (1 - EXPECTED)) if share < 1 else 0.0
    return math.exp(-total * (share * math.log(share / EXPECTED) + rest))
