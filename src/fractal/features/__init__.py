"""Features: how each sentence stands to its context, its query and its neighbours, computed once before training."""

from fractal.features import (  # noqa: F401  (registered so)
    arithmetic,
    lexical,
    neighbours,
    passed_runs,
    similarity,
    so_far,
    steps,
    structure,
    vectors,
)
from fractal.features.base import FEATURES, Columns, Feature, FittedFeature
from fractal.features.projection import SAMPLE, Projection
from fractal.features.similarity import prior_similarity
from fractal.features.table import (
    RECIPE_SUMMARIES,
    RECIPES,
    FeatureTable,
    SharedColumns,
    Standardiser,
    compute,
    compute_tables,
    feature_specs,
    reads_vectors,
)

__all__ = [
    "FEATURES",
    "RECIPES",
    "RECIPE_SUMMARIES",
    "SAMPLE",
    "Columns",
    "Feature",
    "FeatureTable",
    "FittedFeature",
    "Projection",
    "SharedColumns",
    "Standardiser",
    "compute",
    "compute_tables",
    "feature_specs",
    "prior_similarity",
    "reads_vectors",
]
