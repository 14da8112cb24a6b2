"""Heads and aggregations in numpy beside those of torch: the same scores to 1e-5."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.errors import BadSpec
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.bags import Bags, Shared
from fractal.mil.head import Head, HeadShape
from fractal.mil.inference.head import NumpyHead, gelu
from fractal.mil.inference.responses import RESPONSE_LOG_ODDS, hard_rule, response_scores, sentence_scores
from fractal.mil.outputs import by_member
from fractal.mil.training.validation import predict_logits

OPTIONS = ("geometric_mean(direction='max')", "power_mean(exponent=0.5)", "power_mean(exponent=-8.0, direction='max')")
MORE = ("logsumexp(sharpness=3.0)", "softmin(temperature=0.5)", "max_levels(levels=3)", "min_levels(levels=6)")


@pytest.mark.parametrize("spec", [*AGGREGATIONS, "power_mean(direction='max')", "logsumexp(direction='max')"])
def test_the_hard_rule_is_that_of_torch(spec: str) -> None:
    assert hard_rule(spec) == AGGREGATIONS.build(spec).direction


def test_every_aggregation_is_here():
    assert set(RESPONSE_LOG_ODDS) == set(AGGREGATIONS.names())


@pytest.mark.parametrize("spec", [*AGGREGATIONS.names(), *OPTIONS, *MORE])
@given(seed=st.integers(0, 10_000), spread=st.sampled_from([0.1, 2.0, 30.0, 200.0]))
@settings(deadline=None, max_examples=25)
def test_scores_are_those_of_torch(spec, seed, spread):
    draw = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(draw.integers(1, 9, size=6))])
    form = AGGREGATIONS.build(spec)
    levels = (form.thresholds,) if form.thresholds > 1 else ()
    logits = (spread * draw.standard_normal((int(offsets[-1]), *levels, 3))).astype(np.float32)
    expected = by_member(form.from_logits(torch.from_numpy(logits), torch.from_numpy(offsets)).sigmoid())
    assert np.allclose(response_scores(spec, logits, offsets), expected.numpy(), atol=1e-5)
    expected = form.sentence_scores(torch.from_numpy(logits))
    assert np.allclose(sentence_scores(spec, logits), expected.numpy(), atol=1e-6)


def test_an_aggregation_of_somebody_else_needs_torch():
    with pytest.raises(BadSpec, match="torch alone"):
        response_scores("their_own", np.zeros((1, 1)), np.array([0, 1]))


def test_gelu_is_exact():
    values = np.concatenate([np.linspace(-12, 12, 4001), [-100, 100, 0]]).astype(np.float32)
    exact = np.array([x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in values.astype(float)])
    assert np.abs(gelu(values) - exact).max() < 2e-6


@pytest.mark.parametrize("hidden", [(), (8,), (16, 5)])
@pytest.mark.parametrize("thresholds", [1, 3])
@pytest.mark.parametrize("members", [1, 5, 24])
@pytest.mark.parametrize("shared", [(), (4, 7)])
@pytest.mark.parametrize("from_initial", [True, False])
def test_a_head_says_the_same(hidden, thresholds, members, shared, from_initial):
    draw = np.random.default_rng(0)
    shape = HeadShape(6, shared, members, hidden, thresholds, 0.1, from_initial)
    head = Head(shape, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.from_numpy(draw.standard_normal(parameter.shape)).float())
    count = 601  # more than are scored at once
    offsets = np.array([0, 1, 300, count])
    rows = [draw.standard_normal((3, dim)).astype(np.float32) for dim in shared]
    index = np.repeat(np.arange(3), np.diff(offsets))
    features = draw.standard_normal((count, 6)).astype(np.float32)
    initial = draw.standard_normal(count).astype(np.float32)
    bags = Bags.make(
        torch.from_numpy(features),
        torch.from_numpy(offsets),
        shared=tuple(Shared(torch.from_numpy(r), torch.arange(4), torch.from_numpy(index)) for r in rows),
        initial_logits=torch.from_numpy(initial),
    )
    expected = predict_logits(head, bags).numpy()
    arrays = {name: value.numpy() for name, value in head.state_dict().items()}
    twin = NumpyHead.restored(shape.__dict__, arrays)
    logits = twin(features, [(r, index) for r in rows], initial)
    assert logits.shape == expected.shape
    assert np.allclose(logits, expected, atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("hidden", [(), (8, 5)])
@pytest.mark.parametrize("thresholds", [1, 3])
@pytest.mark.parametrize("place", [0, 1])
def test_the_largest_over_chunks_is_the_same(hidden, thresholds, place):
    draw = np.random.default_rng(0)
    head = Head(HeadShape(6, (4, 7), 3, hidden, thresholds, 0.1, from_initial=False), torch.Generator().manual_seed(1))
    offsets, row_offsets = np.array([0, 1, 300, 601]), np.array([0, 2, 3, 9])
    bag = np.repeat(np.arange(3), np.diff(offsets))
    counts = [row_offsets if place == number else np.arange(4) for number in range(2)]
    rows = [draw.standard_normal((c[-1], dim)).astype(np.float32) for c, dim in zip(counts, (4, 7), strict=True)]
    index = [c[:-1][bag] for c in counts]
    features = draw.standard_normal((601, 6)).astype(np.float32)
    blocks = zip(rows, counts, index, range(2), strict=True)
    shared = [Shared(*map(torch.from_numpy, part), every=n == place) for *part, n in blocks]
    bags = Bags.make(torch.from_numpy(features), torch.from_numpy(offsets), shared=tuple(shared))
    twin = NumpyHead.restored(head.shape.__dict__, {n: value.numpy() for n, value in head.state_dict().items()})
    logits = twin(features, list(zip(rows, index, strict=True)), None, (place, row_offsets, bag))
    assert np.allclose(logits, predict_logits(head, bags).numpy(), atol=2e-4, rtol=1e-5)
