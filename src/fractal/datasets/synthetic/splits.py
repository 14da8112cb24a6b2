"""Cuts records into parts, for training and testing, so that what belongs together stays together."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from fractal.errors import BadData
from fractal.records import Preference, Response

Record = TypeVar("Record", Response, Preference)


def make_splits(
    records: Sequence[Record], shares: Sequence[float] = (0.7, 0.15, 0.15), seed: int = 0
) -> tuple[list[Record], ...]:
    """Return one list a share, records of one group in the same list, and their order kept.

    Each group goes, in a shuffled order, to the part that still lacks the most: the sizes come near to the shares.
    """
    if not shares or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise BadData(f"found {tuple(shares)}: give shares that are not negative and add up to 1", field="shares")
    groups: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        groups.setdefault(record.split_group, []).append(place)
    names = list(groups)
    Random(seed).shuffle(names)
    lacking = [share * len(records) for share in shares]
    part_of: dict[int, int] = {}
    for name in names:
        part = max(range(len(shares)), key=lambda part: lacking[part])
        lacking[part] -= len(groups[name])
        part_of.update(dict.fromkeys(groups[name], part))
    return tuple(
        [record for place, record in enumerate(records) if part_of[place] == part] for part in range(len(shares))
    )
