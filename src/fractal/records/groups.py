"""Which responses must stay together when data are split: those of one query or of one context."""

from __future__ import annotations

import hashlib
import zlib
from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fractal.records import Response

__all__ = ["Grouping", "group_responses", "near_identical", "text_key", "tied_together"]

SHINGLE = 3  # words in a row
ROWS, BANDS = 4, 16  # of the min-hashes of a context: alike in all rows of one band, two contexts are compared
ALIKE = 0.75  # share of equal min-hashes from which two contexts count as one
GROUPS_A_FOLD = 2  # below, a fold is one group, and what it holds out is one question's luck
AT_ONCE = 4_096  # shingles whose hashes are in memory
LARGEST = 0.5  # share of the responses that one group may hold

_DRAWN = np.random.default_rng(20240229)
_FACTORS = _DRAWN.integers(1, 2**63, ROWS * BANDS, dtype=np.uint64) * 2 + 1
_SHIFTS = _DRAWN.integers(0, 2**63, ROWS * BANDS, dtype=np.uint64)
_STEPS = _DRAWN.integers(1, 2**63, SHINGLE, dtype=np.uint64) * 2 + 1


@dataclass(frozen=True, eq=False)
class Grouping:
    """The group of every response, by what they were grouped, and what is to be said of that."""

    groups: tuple[str, ...]  # (response,)
    by: str  # "query and context", …
    note: str = ""  # why another grouping than the usual one was taken; empty where it was the usual one

    @property
    def count(self) -> int:
        """How many groups there are."""
        return len(set(self.groups))


def group_responses(responses: Sequence[Response], pairs: NDArray[np.int64] | None = None, folds: int = 5) -> Grouping:
    """Group responses that share a query or a context, so that held-out labels are of other questions and passages.

    A response's own `group` stands for both. Where that leaves fewer than twice as many groups as folds, or one group
    with more than half of the responses (one instruction in every row), what tells less is left out, and said.
    A preference always ties its two responses.
    """
    keys = _Keys(responses)

    def grouped(*parts: Sequence[Hashable]) -> NDArray[np.int64]:
        return tied_together(len(responses), parts, pairs)

    if keys.named:
        named = grouped(keys.group, keys.unnamed(keys.query), keys.unnamed(keys.context))
        if named.min() < named.max():
            return Grouping(_words(named), "group" if all(keys.group) else "group, query and context")
    levels = (
        {"query and context": grouped(keys.query, keys.context)} if keys.has["query"] and keys.has["context"] else {}
    )
    levels |= {name: grouped(getattr(keys, name)) for name in ("context", "query") if keys.has[name]}
    alone = grouped(keys.text)
    usual = next(iter(levels.items()), ("response", alone))
    for needed in (GROUPS_A_FOLD * folds, folds):
        for by, groups in levels.items():
            if _serves(groups, needed):
                return Grouping(_words(groups), by, _why(usual, by, folds))
    return Grouping(_words(alone), "response", _why(usual, "response", folds))


def _serves(groups: NDArray[np.int64], needed: int) -> bool:
    sizes = np.bincount(groups)
    return int((sizes > 0).sum()) >= needed and int(sizes.max()) <= LARGEST * len(groups)


def _words(groups: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(map(str, groups.tolist()))


class _Keys:
    """What responses may have in common: their own group, query, context and text; None where they have none."""

    def __init__(self, responses: Sequence[Response]) -> None:
        self.group: list[Hashable] = []
        self.query: list[Hashable] = []
        self.text: list[Hashable] = []
        contexts = near_identical("\n".join(response.context) for response in self._looked_at(responses))
        self.context: list[Hashable] = [number if number >= 0 else None for number in contexts]
        self.named = any(self.group)
        half = len(responses) / 2  # what fewer than half of the responses have groups none of the others
        self.has = {name: sum(k is not None for k in getattr(self, name)) >= half for name in ("query", "context")}

    def _looked_at(self, responses: Iterable[Response]) -> Iterator[Response]:
        """Enter the other keys of every response as it passes, so that all are read once."""
        for response in responses:
            self.group.append(response.group or None)
            self.query.append(text_key(response.query) or None)
            self.text.append(text_key(response.text))
            yield response

    def unnamed(self, keys: Sequence[Hashable]) -> list[Hashable]:
        """Return the keys of the responses that name no group."""
        return [None if group else key for group, key in zip(self.group, keys, strict=True)]


def _why(usual: tuple[str, NDArray[np.int64]], by: str, folds: int) -> str:
    """Say why a grouping that tells less was taken; nothing where the usual one was."""
    names, groups = usual
    if by == names:
        return ""
    sizes = np.bincount(groups)
    count, largest = int((sizes > 0).sum()), sizes.max() / len(groups)
    few = "1 group" if count == 1 else f"{count} groups"
    if count > 1 and largest > LARGEST:
        few += f", one of them with {largest:.0%} of the responses"
    shared = " and ".join(name for name in names.split(" and ") if name != by)
    return (
        f"By {names} there would be {few}, too little to hold out in {folds} folds: grouped by {by} instead. "
        f"The {shared} of held-out responses may so have been seen in training; "
        "give a column of groups (--column group=NAME) if you know what must not be torn apart."
    )


def tied_together(
    count: int, parts: Sequence[Sequence[Hashable]], pairs: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Return the group of each response (response,): equal keys of any part tie responses together, so do pairs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    codes: dict[tuple[int, Hashable], int] = {}
    ends: list[tuple[int, int]] = []
    for number, keys in enumerate(parts):
        for response, key in enumerate(keys):
            if key is not None:
                ends.append((response, count + codes.setdefault((number, key), len(codes))))
    if pairs is not None:
        ends += [(better, worse) for better, worse, *_ in pairs.tolist()]
    size = count + len(codes)
    edges = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    joined = connected_components(
        coo_array((np.ones(edges.shape[1]), tuple(edges)), shape=(size, size)), directed=False
    )
    return np.asarray(joined[1][:count], dtype=np.int64)


def text_key(text: str) -> bytes:
    """Return what tells a text from others, empty of one without words; case and blanks make no other text.

    It is a hash: many texts are compared without being held in memory.
    """
    return _key(_plain(text))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _key(plain: str) -> bytes:
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest() if plain else b""


def near_identical(texts: Iterable[str]) -> list[int]:
    """Number texts so that near-identical ones share a number; empty ones are -1.

    Texts are compared by the min-hashes of their runs of three words: two with about 0.75 in common are one.
    """
    places: dict[bytes, int] = {}
    codes: dict[str, int] = {}
    hashes = array("Q")
    numbers: list[int] = []
    for text in map(_plain, texts):
        number = places.setdefault(_key(text), len(places)) if text else -1
        if number * ROWS * BANDS == len(hashes):  # a new one
            hashes.frombytes(_signature(text, codes).tobytes())
        numbers.append(number)
    if len(places) < 2:
        return numbers
    signatures = np.frombuffer(hashes, np.uint64).reshape(-1, ROWS * BANDS)  # (text, hash)
    joined = tied_together(len(places), [], np.array(_alike(signatures), dtype=np.int64).reshape(-1, 2))
    return [int(joined[number]) if number >= 0 else -1 for number in numbers]


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _signature(text: str, codes: dict[str, int]) -> NDArray[np.uint64]:
    """Return the min-hashes of a text's shingles: (hash,). `codes` remembers the hashes of words."""
    for word in (words := text.split()):
        if word not in codes:
            codes[word] = _hash(word)
    if len(words) < SHINGLE:  # too short to be nearly another: it is itself
        return np.full(ROWS * BANDS, _hash(text), dtype=np.uint64) * _FACTORS + _SHIFTS
    numbers = np.array([codes[word] for word in words], dtype=np.uint64)
    last = len(numbers) - SHINGLE + 1
    shingles = np.zeros(last, dtype=np.uint64)
    for step in range(SHINGLE):
        shingles += (numbers[step : step + last] + np.uint64(1)) * _STEPS[step : step + 1]
    shingles ^= shingles >> np.uint64(29)
    lowest = [
        (shingles[start : start + AT_ONCE, None] * _FACTORS + _SHIFTS).min(0) for start in range(0, last, AT_ONCE)
    ]
    return np.asarray(np.min(lowest, 0), dtype=np.uint64)


def _alike(signatures: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Return pairs of texts that share most of their min-hashes; only those alike in a whole band are compared."""
    pairs: list[tuple[int, int]] = []
    for band in range(BANDS):
        pairs += _compared(signatures, _buckets(signatures[:, band * ROWS : (band + 1) * ROWS]))
    return pairs


def _buckets(rows: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Return the numbers of rows that are equal, rising, where there are several."""
    order = np.lexsort(rows.T)
    ends = np.flatnonzero((rows[order[1:]] != rows[order[:-1]]).any(1)) + 1
    for first, last in zip([0, *ends], [*ends, len(order)], strict=True):
        if last - first > 1:
            yield order[first:last]


def _compared(signatures: NDArray[np.uint64], buckets: Iterable[NDArray[np.int64]]) -> list[tuple[int, int]]:
    """Compare the texts of each bucket with its first, then those that are unlike it with the first of these."""
    pairs: list[tuple[int, int]] = []
    for rest in buckets:
        while len(rest) > 1:
            alike = (signatures[rest[1:]] == signatures[rest[0]]).mean(1) >= ALIKE
            pairs += [(int(rest[0]), int(other)) for other in rest[1:][alike]]
            rest = rest[1:][~alike]
    return pairs
