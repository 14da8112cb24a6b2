"""Laws of every feature: finite, deterministic, and blind to the other responses of the batch."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.encoders.block import EncodedBlock
from fractal.encoders.embedding import embed
from fractal.features import FEATURES, RECIPES, compute
from fractal.records import Response
from support.slow_twins_features import WordEncoder

SPECS = [*(f"{name}" for name in FEATURES if name != "precomputed"), "precomputed(column='own')"]
SPECS += ["product(other='query')", "difference(other='context', scale=0.5)"]

texts = st.one_of(
    st.sampled_from(
        ["", "One.", "3 + 4 = 8, so Paris has 12% or 1,000.", "北京的天气很好。", "Is it? Not Rome…", "É 2.5"]
    ),
    st.text(max_size=40),
)


@st.composite
def responses(draw):
    sentences = draw(st.lists(texts, min_size=1, max_size=5))
    own = tuple(draw(st.floats(allow_nan=True, width=16)) for _ in sentences)
    return Response.from_sentences(
        draw(st.uuids()).hex,
        sentences,
        query=draw(st.one_of(st.just(""), texts)),
        context=tuple(draw(st.lists(texts, max_size=3))),
        columns=draw(st.sampled_from([{}, {"own": own}])),
    )


def rows(block: EncodedBlock, spec: str) -> np.ndarray:
    """Return a feature's columns with one row a sentence, whether or not sentences share rows."""
    columns = FEATURES.build(spec)(block)
    assert columns.values.shape[1] == len(columns.names) == len(set(columns.names))
    if columns.index is None:
        assert columns.values.dtype == np.float32
        assert len(columns.values) == len(block.sentences)
        return columns.values
    for bag in range(len(block)):
        of_bag = columns.index[block.offsets[bag] : block.offsets[bag + 1]]
        assert columns.row_offsets[bag] <= of_bag.min() <= of_bag.max() < columns.row_offsets[bag + 1]
    return columns.values[columns.index]


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=25)
@given(batch=st.lists(responses(), min_size=1, max_size=4))
def test_same_with_or_without_other_responses(spec, batch):
    block = embed(batch, WordEncoder())
    together = rows(block, spec)
    assert np.isfinite(together).all()
    np.testing.assert_array_equal(rows(embed(batch, WordEncoder()), spec), together)
    alone = [rows(embed([response], WordEncoder()), spec) for response in batch]
    np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_finite_on_very_long_and_one_word_sentences(spec):
    long = " ".join(f"word{place % 700}" for place in range(5000))
    batch = [
        Response.from_sentences("a", [long, "One", long], query="word3 word4", context=(long, "Other.")),
        Response.from_sentences("b", ["One"], columns={"own": (1.5,)}),
        Response.from_sentences("c", ["word"] * 2500, query="word"),
    ]
    assert np.isfinite(rows(embed(batch, WordEncoder()), spec)).all()


@pytest.mark.parametrize("spec", SPECS)
def test_no_responses_give_no_rows(spec):
    assert len(rows(embed([], WordEncoder()), spec)) == 0


@pytest.mark.parametrize("spec", SPECS)
def test_text_form_pickle_and_help(spec):
    feature = FEATURES.build(spec)
    assert FEATURES.spec(feature) == spec
    assert FEATURES.build(FEATURES.spec(feature)) == feature == pickle.loads(pickle.dumps(feature))
    assert isinstance(hash(feature), int)
    assert 20 < len(FEATURES.summary(spec.partition("(")[0])) <= 120


@pytest.mark.parametrize("recipe", RECIPES)
@settings(max_examples=15)
@given(batch=st.lists(responses(), min_size=1, max_size=4))
def test_recipes_give_finite_tables(recipe, batch):
    table = compute(embed(batch, WordEncoder()), recipe)
    assert table.dense.shape == (table.offsets[-1], len(table.names))
    assert len(table.names) == len(table.scalars) == len(set(table.names))
    assert np.isfinite(table.dense).all()
