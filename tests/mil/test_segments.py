"""Segments: reductions over ragged bags equal a loop over the bags, values and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.mil import segments

LOOP = {
    "segment_sum": lambda bag: bag.sum(0),
    "segment_mean": lambda bag: bag.mean(0),
    "segment_min": lambda bag: bag.amin(0),
    "segment_max": lambda bag: bag.amax(0),
    "segment_prod": lambda bag: bag.prod(0),
}
SCHEMAS = [(), (2,), (3, 2)]
sizes = st.lists(st.integers(1, 7), min_size=1, max_size=5)


def draw(sizes, shape, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(sum(sizes), *shape, generator=generator, dtype=torch.float64).to(dtype)
    return values, torch.tensor([0, *sizes]).cumsum(0)


@pytest.mark.parametrize("name", LOOP)
@pytest.mark.parametrize("shape", SCHEMAS)
@settings(max_examples=20)
@given(sizes=sizes, seed=st.integers(0, 10**6))
def test_reduction_and_its_gradient_equal_a_loop(name, shape, sizes, seed):
    values, offsets = draw(sizes, shape, seed)
    values.requires_grad_()
    found = getattr(segments, name)(values, offsets)
    expected = torch.stack([LOOP[name](bag) for bag in values.split(sizes)])
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(seed))
    mine, theirs = (torch.autograd.grad((weights * part).sum(), values)[0] for part in (found, expected))
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("shape", SCHEMAS)
@settings(max_examples=20)
@given(sizes=sizes, seed=st.integers(0, 10**6))
def test_softmax_equals_a_loop(shape, sizes, seed):
    values, offsets = draw(sizes, shape, seed)
    found = segments.segment_softmax(30 * values, offsets)
    torch.testing.assert_close(found, torch.cat([(30 * bag).softmax(0) for bag in values.split(sizes)]))


@pytest.mark.parametrize("slope", [1.0, -1.0])
@pytest.mark.parametrize("name", ["segment_min", "segment_max"])
def test_ties_share_the_gradient(name, slope):
    values = torch.tensor([2.0, 1.0, 1.0, 2.0, 5.0], requires_grad=True)
    (slope * getattr(segments, name)(values, torch.tensor([0, 4, 5]))).sum().backward()
    expected = [0, 0.5, 0.5, 0, 1] if name == "segment_min" else [0.5, 0, 0, 0.5, 1]
    assert (slope * values.grad).tolist() == expected


@pytest.mark.parametrize("name", [*LOOP, "segment_softmax"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_type_is_kept(name, dtype):
    values, offsets = draw([3, 1], (2,), 0, dtype)
    assert getattr(segments, name)(values, offsets).dtype == dtype


@settings(max_examples=30)
@given(sizes=sizes, seed=st.integers(0, 10**6), shape=st.sampled_from(SCHEMAS))
def test_rank_and_first_equal_a_loop(sizes, seed, shape):
    values, offsets = draw(sizes, shape, seed)
    values = (2 * values).round()  # with ties
    flat = values.reshape(len(values), -1)
    rank = segments.segment_rank(values, offsets).reshape(flat.shape)
    first = segments.segment_first(values > 0, offsets).reshape(flat.shape)
    for column in range(flat.shape[1]):
        start = 0
        for bag in flat[:, column].split(sizes):
            order = sorted(range(len(bag)), key=lambda i: (-float(bag[i]), i))
            assert [order.index(i) for i in range(len(bag))] == rank[start : start + len(bag), column].tolist()
            positive = [i for i in range(len(bag)) if bag[i] > 0]
            expected = [i in positive[:1] for i in range(len(bag))]
            assert first[start : start + len(bag), column].tolist() == expected
            start += len(bag)


@given(sizes=sizes, seed=st.integers(0, 10**6))
def test_ragged_rows_gather_whole_bags(sizes, seed):
    values, offsets = draw(sizes, (), seed)
    chosen = torch.randint(len(sizes), (4,), generator=torch.Generator().manual_seed(seed))
    rows, cut = segments.ragged_rows(offsets, chosen)
    bags = values.split(sizes)
    assert torch.equal(values[rows], torch.cat([bags[i] for i in chosen]))
    assert cut.diff().tolist() == [sizes[i] for i in chosen]
    assert torch.equal(segments.lift(torch.arange(len(sizes)), offsets, len(values)), segments.bag_index(offsets))
