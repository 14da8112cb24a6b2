"""Encoders of the transformers library: prefixes, pooling, limits, the hash of known weights, and packed passes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fractal.encoders import ENCODERS
from fractal.encoders.packed import PackedBert
from fractal.encoders.transformer import MPNet, Transformer
from fractal.errors import BadFolder, BadSpec
from support.tuning_models import tiny_model

TEXTS = ["the soup was cold", "", "fresh food here and kind staff", "the room " * 200]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("bert"))


def encoder_of(folder, **options):
    return Transformer(str(folder), dtype="float32", device="cpu", **options)


def states(folder, text, limit=256):
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", truncation=True, max_length=limit)
    with torch.inference_mode():
        return AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[0].numpy()


def unit(row):
    return row / np.linalg.norm(row)


@pytest.mark.parametrize(("stated", "row"), [("mean_tokens", None), ("cls_token", 0), ("lasttoken", -1)])
def test_texts_are_pooled_as_the_folder_states_and_cut_where_it_states(tmp_path, stated, row):
    place = tiny_model(tmp_path / "model")
    (place / "1_Pooling").mkdir()
    (place / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{stated}": True}))
    (place / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    encoder = encoder_of(place)
    text = "the room was cold and the staff was rude today here and the food was stale"
    all_states = states(place, text, 12)
    expected = unit(all_states.mean(0) if row is None else all_states[row])
    assert np.allclose(encoder.encode([text])[0], expected, atol=1e-5)
    assert encoder.fingerprint != encoder_of(place, longest=8).fingerprint


def test_a_prefix_is_read_but_its_tokens_are_not_compared(folder):
    bare, prefixed = encoder_of(folder), encoder_of(folder, prefix="what is ")
    alike = prefixed.encode_tokens(["the soup"])
    assert alike.offsets.tolist() == [0, 2]
    assert np.allclose(alike.vectors, [unit(row) for row in states(folder, "what is the soup")[2:]], atol=1e-5)
    assert np.allclose(alike.pooled[0], bare.encode(["what is the soup"])[0], atol=1e-5)
    assert bare.fingerprint != prefixed.fingerprint


def test_wrong_options_and_folders_are_said(folder, tmp_path):
    with pytest.raises(BadSpec, match="pooling"):
        encoder_of(folder, pooling="sum")
    with pytest.raises(BadSpec, match="cannot be loaded"):
        encoder_of(tmp_path).encode(["a"])


def test_mpnet_refuses_other_weights(folder):
    with pytest.raises(BadFolder, match="SHA-256"):
        MPNet(model=str(folder)).encode(["a"])
    with pytest.raises(BadFolder, match="lacks"):
        ENCODERS.build("mpnet(model='/nowhere')").encode(["a"])


def test_packed_passes_give_what_the_padded_model_gives(folder):
    from transformers import AutoModel

    network = AutoModel.from_pretrained(folder).eval()
    assert PackedBert.fits(network)
    rng = np.random.default_rng(0)
    ids = [rng.integers(4, 27, size).tolist() for size in (1, 7, 30, 2, 120)]
    packed = PackedBert(network)
    expected = []
    with torch.inference_mode():
        for one in ids:
            expected.append(unit(network(input_ids=torch.tensor([one])).last_hidden_state[0].mean(0).numpy()))
    for budget in (1, 40, 10_000):  # a text longer than the budget is a pass of its own
        assert np.allclose(packed.pooled(ids, budget), expected, atol=1e-5)
    assert packed.pooled([]).shape == (0, 32)
