"""Means so far: as a plain loop has them, blind to what follows, on the scale of their columns, the same again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.encoders.embedding import embed
from fractal.features import RECIPES
from fractal.features.pipeline import FeaturePipeline
from fractal.features.so_far import running_mean
from fractal.records import Response
from support.slow_twins_features import WordEncoder

RESPONSES = [
    Response.from_sentences("a", ["One is 1.", "2 + 2 = 4.", "So it is 5."], query="How many?"),
    Response.from_sentences("b", ["Two."]),
    Response.from_sentences("c", ["Why?", "It is 7."], context=("It is 7, or 8.",)),
]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 100))
def test_it_is_the_mean_of_the_rows_so_far_to_the_same_bits_in_any_company(sizes, seed):
    offsets = np.array([0, *np.cumsum(sizes)])
    values = np.random.default_rng(seed).normal(size=(offsets[-1], 3)).astype(np.float32)
    means = running_mean(values, offsets)
    for first, last in pairwise(offsets.tolist()):
        for place in range(first, last):
            assert means[place] == pytest.approx(values[first : place + 1].astype(np.float64).mean(0), abs=1e-6)
        alone = running_mean(values[first:last], np.array([0, last - first]))
        np.testing.assert_array_equal(alone, means[first:last])


@pytest.mark.parametrize("directions", [0, 3])
def test_each_column_has_its_mean_so_far_on_the_same_scale(directions):
    block = embed(RESPONSES, WordEncoder())
    pipeline, table = FeaturePipeline.fit(block, RECIPES["ordered"], directions)
    count = len(table.names) // 2
    assert [f"so_far.{name}" for name in table.names[:count]] == list(table.names[count:])
    assert table.scalars[:count].tolist() == table.scalars[count:].tolist()
    plain = FeaturePipeline.fit(block, RECIPES["default"], directions)[1]
    np.testing.assert_array_equal(table.dense[:, :count], plain.dense)
    expected = running_mean(table.dense[:, :count], table.offsets)
    np.testing.assert_allclose(table.dense[:, count:], expected, atol=1e-4)
    restored = FeaturePipeline.restored(pipeline.recipe, pipeline.standardiser, pipeline.arrays())
    alone = [restored(embed([response], WordEncoder())).dense for response in RESPONSES]
    np.testing.assert_allclose(np.concatenate(alone), table.dense, atol=1e-5)
