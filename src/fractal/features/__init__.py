"""Features: how each sentence stands to its context, its query and its neighbours, computed once before training."""

from fractal.features import arithmetic, lexical, neighbours, similarity, structure, vectors  # noqa: F401  (registered so)
from fractal.features.base import FEATURES, Columns, Feature
from fractal.features.projection import SAMPLE, Projection
from fractal.features.similarity import prior_similarity
from fractal.features.table import (
    RECIPE_SUMMARIES,
    RECIPES,
    FeatureTable,
    SharedColumns,
    Standardiser,
    compute,
    feature_specs,
)

__all__ = [
    "FEATURES",
    "RECIPES",
    "RECIPE_SUMMARIES",
    "SAMPLE",
    "Columns",
    "Feature",
    "FeatureTable",
    "Projection",
    "SharedColumns",
    "Standardiser",
    "compute",
    "feature_specs",
    "prior_similarity",
]
