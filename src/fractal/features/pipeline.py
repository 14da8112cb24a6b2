"""The columns of a recipe, fitted on training responses and made again on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fractal.encoders.block import EncodedBlock
from fractal.features import SAMPLE, FeatureTable, Projection, Standardiser, compute

__all__ = ["FeaturePipeline"]

BAGS_AT_ONCE = 2_048  # whose raw vectors are held at once


@dataclass(frozen=True)
class FeaturePipeline:
    """How the columns of a recipe are made again as they were in training: projected, then brought to one scale."""

    recipe: tuple[str, ...]
    standardiser: Standardiser
    projection: Projection | None = None

    @classmethod
    def fit(
        cls, block: EncodedBlock, recipe: tuple[str, ...], directions: int, seed: int = 0
    ) -> tuple[FeaturePipeline, FeatureTable]:
        """Learn directions and scales from a block, and return its table too."""
        projection = None
        if directions:
            bags = np.random.default_rng(seed).permutation(len(block))
            enough = int(np.searchsorted(np.cumsum(np.diff(block.offsets)[bags]), SAMPLE)) + 1
            projection = Projection.fit(compute(block.take(np.sort(bags[:enough])), recipe), directions)
        table = _projected(block, recipe, projection)
        standardiser = Standardiser.fit(table)
        return cls(recipe, standardiser, projection), standardiser(table, in_place=True)

    def __call__(self, block: EncodedBlock) -> FeatureTable:
        """Return the columns of other responses."""
        return self.standardiser(_projected(block, self.recipe, self.projection), in_place=True)


def _projected(block: EncodedBlock, recipe: Sequence[str], projection: Projection | None) -> FeatureTable:
    """Compute in tiles, so that the vectors of all sentences never stand side by side."""
    if projection is None or not projection.blocks:
        return compute(block, recipe)
    bounds = range(0, max(len(block), 1), BAGS_AT_ONCE)
    tiles = [projection(compute(block.run(i, min(i + BAGS_AT_ONCE, len(block))), recipe)) for i in bounds]
    return replace(tiles[0], dense=np.concatenate([tile.dense for tile in tiles]), offsets=block.offsets)
