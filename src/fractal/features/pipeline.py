"""The columns of a recipe, fitted on training responses and made again on others."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

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
from fractal.features.laying import lay_tables
from fractal.features.so_far import with_means_so_far
from fractal.features.table import built_features, columns_of
from fractal.prefixes import under

__all__ = ["FeaturePipeline"]


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
        (fitted,) = cls.fit_several(block, [(recipe, directions)], seed)
        return fitted

    @classmethod
    def fit_several(
        cls, block: EncodedBlock, recipes: Sequence[tuple[tuple[str, ...], int]], seed: int = 0
    ) -> list[tuple[FeaturePipeline, FeatureTable]]:
        """Do the same for several recipes, each with the number of directions that it keeps, in one way through.

        Tables in files are laid once a block: fits that are compared read the same.
        """
        laid = _LAID.setdefault(block, {}) if block.space.in_files else {}
        missing = [key for key in ((*chosen, seed) for chosen in recipes) if key not in laid]
        makers = [_Columns.fit(block, *key) for key in missing]
        for key, columns, table in zip(missing, makers, lay_tables(block, makers), strict=True):
            standardiser = Standardiser.fit(table)
            pipeline = cls(columns.recipe, standardiser, columns.projection, columns.fitted)
            laid[key] = pipeline, standardiser(table, in_place=True)
        return [laid[recipe, directions, seed] for recipe, directions in recipes]

    def __call__(self, block: EncodedBlock) -> FeatureTable:
        """Return the columns of other responses."""
        (table,) = lay_tables(block, [self._columns])
        return self.standardiser(table, in_place=True)

    @functools.cached_property
    def _columns(self) -> _Columns:
        """The same ones for every response that is scored: their features are built once."""
        return _Columns(self.recipe, self.projection, self.fitted)

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


_Key = tuple[tuple[str, ...], int, int]  # recipe, directions, seed
_LAID: WeakKeyDictionary[EncodedBlock, dict[_Key, tuple[FeaturePipeline, FeatureTable]]] = WeakKeyDictionary()


def _fitted(block: EncodedBlock, recipe: Sequence[str]) -> tuple[tuple[str, FittedFeature], ...]:
    """Let the features that learn do so."""
    features = ((spec, FEATURES.build(spec)) for spec in recipe)
    return tuple((spec, feature.fit(block)) for spec, feature in features if hasattr(feature, "fit"))


@dataclass(frozen=True)
class _Columns:
    """How the columns of a few responses are made, before they are brought to one scale."""

    recipe: tuple[str, ...]
    projection: Projection | None
    fitted: tuple[tuple[str, FittedFeature], ...]

    @classmethod
    def fit(cls, block: EncodedBlock, recipe: tuple[str, ...], directions: int, seed: int) -> _Columns:
        """Learn the directions from some sentences of a block, and what single features learn from all of them."""
        fitted = _fitted(block, recipe)
        if not directions:
            return cls(recipe, None, fitted)
        bags = np.random.default_rng(seed).permutation(len(block))
        enough = int(np.searchsorted(np.cumsum(np.diff(block.offsets)[bags]), SAMPLE)) + 1
        sample = compute(block.take(np.sort(bags[:enough])), recipe, fitted=dict(fitted))
        return cls(recipe, Projection.fit(sample, directions), fitted)

    @functools.cached_property
    def _features(self) -> tuple[Feature, ...]:
        return built_features(self.recipe, dict(self.fitted))

    def __getstate__(self) -> dict[str, Any]:
        """Travel with features built: another process may not know by name what a script registers."""
        return {**self.__dict__, "_features": self._features}

    def __call__(self, tile: EncodedBlock) -> FeatureTable:
        table = columns_of(tile, self._features)
        table = self.projection(table) if self.projection is not None and self.projection.blocks else table
        return with_means_so_far(table) if "so_far" in self.recipe else table
