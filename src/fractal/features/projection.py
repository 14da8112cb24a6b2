"""Blocks of vector columns brought to their principal directions: fewer columns, which a small head can learn from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fractal.features.base import Floats
from fractal.features.table import FeatureTable
from fractal.mil.inference.products import tiled_product

__all__ = ["SAMPLE", "Projection"]

SAMPLE = 8_192  # sentences from which the directions are learned; more change them little
SCALE = 0.5  # of each column of a block before projection; scalar columns have scale 1 and stand for more
LEAST = 1e-9  # variance below which a direction says nothing


@dataclasses.dataclass(frozen=True, eq=False)
class Projection:
    """The principal directions of each block of vector columns, learned from training sentences."""

    blocks: Mapping[str, tuple[Floats, Floats]]  # name → mean (dim,), directions (dim, direction)

    @classmethod
    def fit(cls, table: FeatureTable, directions: int) -> Self:
        """Keep so many directions of the first block of vectors, half as many of the further ones."""
        blocks: dict[str, tuple[Floats, Floats]] = {}
        for name, columns in _blocks(table).items():
            values = table.dense[:, columns].astype(np.float64)
            mean = values.mean(axis=0)
            variance, basis = np.linalg.eigh(np.cov(values - mean, rowvar=False, bias=True).reshape(len(mean), -1))
            count = min(directions if not blocks else directions // 2, int((variance > LEAST).sum()))
            basis = basis[:, ::-1][:, :count] * (SCALE * np.sqrt(len(mean) / max(variance.sum(), LEAST)))
            basis = basis * np.where(basis.sum(axis=0) < 0, -1.0, 1.0)  # of either sign the one that always comes out
            blocks[name] = (mean.astype(np.float32), basis.astype(np.float32))
        return cls(blocks)

    def __call__(self, table: FeatureTable) -> FeatureTable:
        """Return the table with each block of vectors replaced by its directions, after the scalar columns."""
        parts: list[NDArray[Any]] = [table.dense[:, table.scalars]]
        names = [name for name, scalar in zip(table.names, table.scalars, strict=True) if scalar]
        count = len(names)
        for name, columns in _blocks(table).items():
            mean, basis = self.blocks[name]
            parts.append(tiled_product(table.dense[:, columns] - mean, basis))
            names += [f"{name}.direction_{number}" for number in range(basis.shape[1])]
        scalars = np.arange(len(names)) < count
        return dataclasses.replace(
            table, dense=np.concatenate(parts, axis=1, dtype=np.float32), names=tuple(names), scalars=scalars
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what must be saved."""
        return {
            f"{name}.{part}": array
            for name, pair in self.blocks.items()
            for part, array in zip(("mean", "basis"), pair, strict=True)
        }

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return what `arrays` saved."""
        names = dict.fromkeys(name.rpartition(".")[0] for name in arrays)
        return cls({name: (arrays[f"{name}.mean"], arrays[f"{name}.basis"]) for name in names})


def _blocks(table: FeatureTable) -> dict[str, slice | NDArray[np.intp]]:
    """Columns of each block of vectors, by the name of its feature; of those side by side no copy is made."""
    return _places(table.names, table.scalars.tobytes())


@functools.lru_cache(maxsize=64)
def _places(names: tuple[str, ...], scalars: bytes) -> dict[str, slice | NDArray[np.intp]]:
    """Do the same for names and what each is, a byte each; the same for every response that a scorer reads."""
    blocks: dict[str, list[int]] = {}
    for number, (name, scalar) in enumerate(zip(names, scalars, strict=True)):
        if not scalar:
            blocks.setdefault(name.partition("[")[0], []).append(number)
    return {name: _side_by_side(columns) for name, columns in blocks.items()}


def _side_by_side(columns: list[int]) -> slice | NDArray[np.intp]:
    whole = slice(columns[0], columns[-1] + 1)
    return whole if len(columns) == whole.stop - whole.start else np.array(columns)
