"""What a feature is: something that turns encoded responses into columns."""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fractal.encoders.block import EncodedBlock
from fractal.registry import Registry

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, eq=False)
class Columns:
    """What a feature says: one row a sentence, or rows that several sentences share with the row of each sentence."""

    values: NDArray[Any]  # (row, column)
    names: tuple[str, ...]
    index: Indices | None = None  # (sentence,) which row; None: one row a sentence
    row_offsets: Indices | None = None  # (bag + 1,) which rows belong to which bag, where there is an index
    scalar: bool = True  # each column means something by itself and wants its own scale; components of vectors do not
    every: bool = False  # heads set each sentence beside every row of its bag, and the largest log-odds count


Feature = Callable[[EncodedBlock], Columns]


class FittedFeature(ABC):
    """A feature that has learned from training responses: what `fit(block)` of a registered one returns."""

    @abstractmethod
    def __call__(self, block: EncodedBlock) -> Columns:
        """Return the columns of any responses."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is to be saved; `restored(arrays)` of the registered one takes it back."""


FEATURES: Registry[Feature] = Registry("feature")


def scalars(feature: str, columns: dict[str, ArrayLike]) -> Columns:
    """Stack named columns, one value a sentence."""
    arrays = [np.asarray(column) for column in columns.values()]
    values = np.empty((len(arrays[0]), len(arrays)), np.float32)
    for place, column in enumerate(arrays):
        values[:, place] = column
    return Columns(values, tuple(f"{feature}.{name}" for name in columns))


def per_block(analysis: Callable[[EncodedBlock], Result]) -> Callable[[EncodedBlock], Result]:
    """Run an analysis that several features read once a block."""
    memory: WeakKeyDictionary[EncodedBlock, Result] = WeakKeyDictionary()

    @functools.wraps(analysis)
    def remembered(block: EncodedBlock) -> Result:
        if block not in memory:
            memory[block] = analysis(block)
        return memory[block]

    return remembered


def bag_mean(values: NDArray[Any], offsets: Indices) -> NDArray[Any]:
    """Return the mean of each bag; no bag is empty."""
    counts = np.diff(offsets).reshape(-1, *([1] * (values.ndim - 1)))
    total: NDArray[Any] = np.add.reduceat(values, offsets[:-1], axis=0)
    mean: NDArray[Any] = (total / counts).astype(values.dtype)
    return mean


def bag_rank(values: NDArray[Any], offsets: Indices) -> Floats:
    """Return the share of the other sentences of its bag that each value exceeds, ties counting half; alone: half."""
    counts = np.diff(offsets)
    bag = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((values, bag))
    changes = (np.diff(values[order]) != 0) | (np.diff(bag[order]) != 0)
    run = np.concatenate([[0], np.cumsum(changes)])[: len(values)]
    places = np.arange(len(values)) - np.repeat(offsets[:-1], counts)
    tied = np.bincount(run, places) / np.maximum(np.bincount(run), 1) if len(values) else places
    ranks = np.empty(len(values), np.float32)
    ranks[order] = tied[run] if len(values) else tied
    others = np.repeat(counts - 1, counts)
    return np.where(others > 0, ranks / np.maximum(others, 1), 0.5).astype(np.float32)
