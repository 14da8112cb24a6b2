"""The columns of a recipe, fitted on training responses and made again on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.features import (
    FEATURES,
    SAMPLE,
    Feature,
    FeatureTable,
    FittedFeature,
    Projection,
    Standardiser,
    compute,
)
from fractal.prefixes import under

__all__ = ["FeaturePipeline"]

BAGS_AT_ONCE = 2_048  # whose raw vectors are held at once


@dataclass(frozen=True)
class FeaturePipeline:
    """How the columns of a recipe are made again as they were in training: projected, then brought to one scale."""

    recipe: tuple[str, ...]
    standardiser: Standardiser
    projection: Projection | None = None
    fitted: tuple[tuple[str, FittedFeature], ...] = ()  # features that have learned, by their text form

    @classmethod
    def fit(
        cls, block: EncodedBlock, recipe: tuple[str, ...], directions: int, seed: int = 0
    ) -> tuple[FeaturePipeline, FeatureTable]:
        """Learn directions and scales from a block, and return its table too."""
        fitted = _fitted(block, recipe)
        projection = None
        if directions:
            bags = np.random.default_rng(seed).permutation(len(block))
            enough = int(np.searchsorted(np.cumsum(np.diff(block.offsets)[bags]), SAMPLE)) + 1
            projection = Projection.fit(
                compute(block.take(np.sort(bags[:enough])), recipe, fitted=dict(fitted)), directions
            )
        table = _projected(block, recipe, projection, dict(fitted))
        standardiser = Standardiser.fit(table)
        return cls(recipe, standardiser, projection, fitted), standardiser(table, in_place=True)

    def __call__(self, block: EncodedBlock) -> FeatureTable:
        """Return the columns of other responses."""
        table = _projected(block, self.recipe, self.projection, dict(self.fitted))
        return self.standardiser(table, in_place=True)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of everything that was learned but the scales."""
        projection = self.projection.arrays() if self.projection else {}
        saved = {f"projection.{name}": value for name, value in projection.items()}
        for spec, feature in self.fitted:
            saved |= {f"feature.{spec}.{name}": value for name, value in feature.arrays().items()}
        return saved

    @classmethod
    def restored(
        cls, recipe: Sequence[str], standardiser: Standardiser, arrays: Mapping[str, NDArray[Any]]
    ) -> FeaturePipeline:
        """Return the pipeline that `arrays` were saved of."""
        projection = under("projection.", arrays)
        fitted = []
        for spec in recipe:
            if saved := under(f"feature.{spec}.", arrays):
                feature: Any = FEATURES.build(spec)
                fitted.append((spec, feature.restored(saved)))
        return cls(tuple(recipe), standardiser, Projection.restored(projection) if projection else None, tuple(fitted))


def _fitted(block: EncodedBlock, recipe: Sequence[str]) -> tuple[tuple[str, FittedFeature], ...]:
    """Let the features that learn do so."""
    features = ((spec, FEATURES.build(spec)) for spec in recipe)
    return tuple((spec, feature.fit(block)) for spec, feature in features if hasattr(feature, "fit"))


def _projected(
    block: EncodedBlock, recipe: Sequence[str], projection: Projection | None, fitted: Mapping[str, Feature]
) -> FeatureTable:
    """Compute in tiles, so that the vectors of all sentences never stand side by side."""
    if projection is None or not projection.blocks:
        return compute(block, recipe, fitted=fitted)
    bounds = range(0, max(len(block), 1), BAGS_AT_ONCE)
    tiles = [
        projection(compute(block.run(i, min(i + BAGS_AT_ONCE, len(block))), recipe, fitted=fitted)) for i in bounds
    ]
    return replace(tiles[0], dense=np.concatenate([tile.dense for tile in tiles]), offsets=block.offsets)
