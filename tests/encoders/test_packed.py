"""Packed passes: what a BERT gives without padding, and kernels that are tried before they are trusted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fractal.encoders.minilm import MiniLM
from fractal.encoders.packed import PackedBert, _add_and_norm, _masked_attention, how_unlike_the_library

TEXTS = ["", "Oslo", "The museum opened in 1898 and has two floors.", "It rained. " * 40, "No."]


@pytest.mark.parametrize("budget", [16, 100, 100_000])
def test_packed_passes_give_the_vectors_of_padded_ones_in_their_order(budget: int) -> None:
    encoder = MiniLM(dtype="float32", device="cpu")
    packed = PackedBert(encoder._loaded[1])
    vectors = packed.pooled(encoder._tokenised(TEXTS), budget)
    np.testing.assert_allclose(vectors, encoder.encode(TEXTS), atol=2e-6)


def spoilt(function: Callable[..., Any], by: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *arguments: by(function(*arguments))


def test_kernels_that_give_something_else_are_not_trusted() -> None:
    assert how_unlike_the_library(_add_and_norm, _masked_attention, "cpu") == ""
    for by in (lambda out: out * 0.8, lambda out: out * float("nan"), lambda out: out.flip(0)):
        assert "attention" in how_unlike_the_library(_add_and_norm, spoilt(_masked_attention, by), "cpu")
        assert "sum" in how_unlike_the_library(spoilt(_add_and_norm, by), _masked_attention, "cpu")
