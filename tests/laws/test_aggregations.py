"""The laws of every registered aggregation, each bag held against an enumeration of all assignments of labels."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import support.slow_twins_aggregations as slow
from fractal.mil.aggregations import AGGREGATIONS, Levels

VARIANTS = (
    "geometric_mean(direction='max')",
    "power_mean(exponent=-1, direction='max')",
    "power_mean(exponent=0.5)",
    "logsumexp(sharpness=2.0, direction='max')",
    "max_levels(levels=3)",
    "min_levels(levels=3)",
)
ORDERED = ("first_error", "prefix_value")  # where the order of sentences counts: tests/mil/test_ordered_forms.py
IN_ORDER = (*ORDERED, "first_error(recovery=0.3)", "prefix_value(share=1.0)")
EVERY = (*(name for name in AGGREGATIONS if name not in ORDERED), *VARIANTS)
LEVELS = tuple(spec for spec in EVERY if isinstance(AGGREGATIONS.build(spec), Levels))
BINARY = tuple(spec for spec in EVERY if spec not in LEVELS)
BOUNDED = tuple(spec for spec in EVERY if AGGREGATIONS.build(spec).bounded)
MIRRORS = (
    ("min", "max"),
    ("product", "noisy_or"),
    ("softmin", "softmax_pool"),
    ("mean", "mean"),
    *(
        (f"{name}(direction='min')", f"{name}(direction='max')")
        for name in ("geometric_mean", "power_mean", "logsumexp")
    ),
)
HARD = (
    ("softmin(temperature=1e-5)", "min"),
    ("softmax_pool(temperature=1e-5)", "max"),
    ("logsumexp(sharpness=1e5)", "min"),
    ("power_mean(exponent=-1e5)", "min"),
    ("logsumexp(sharpness=1e5, direction='max')", "max"),
    ("power_mean(exponent=-1e5, direction='max')", "max"),
)

sizes = st.lists(st.integers(1, 6), min_size=1, max_size=4)
seeds = st.integers(0, 10**6)
spreads = st.sampled_from((0.3, 2.0, 8.0))


def block(aggregation, sizes, seed, spread, dtype=torch.float64, members=2):
    """Random logits of bags of these sizes, and their offsets."""
    generator = torch.Generator().manual_seed(seed)
    shape = (sum(sizes), members) if aggregation.thresholds == 1 else (sum(sizes), aggregation.thresholds, members)
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64).mul(spread).to(dtype), offsets


def each_bag(offsets):
    return list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))


def distributions(aggregation, logits):
    """The distribution of every sentence of one bag and one member over its levels, in plain Python."""
    if aggregation.thresholds == 1:
        return slow.binary(logits.sigmoid().tolist())
    return [slow.level_distribution(aggregation.direction, row) for row in logits.tolist()]


def label_grid(aggregation, size):
    """Labels that the sentences can make exactly."""
    steps = size if aggregation.direction == "mean" else aggregation.thresholds
    return [step / steps for step in range(steps + 1)]


def label_each(aggregation, offsets, seed):
    grids = [label_grid(aggregation, end - start) for start, end in each_bag(offsets)]
    return torch.tensor([grid[(seed + i) % len(grid)] for i, grid in enumerate(grids)], dtype=torch.float64)


@pytest.mark.parametrize("spec", [*EVERY, *IN_ORDER])
def test_text_builds_the_same_component(spec):
    made = AGGREGATIONS.build(spec)
    assert AGGREGATIONS.build(AGGREGATIONS.spec(made)) == made == pickle.loads(pickle.dumps(made))
    assert hash(made) == hash(AGGREGATIONS.build(spec))
    assert AGGREGATIONS.summary(made.name).endswith(".")


@pytest.mark.parametrize("spec", EVERY)
@settings(max_examples=20)
@given(sizes=sizes, seed=seeds, spread=spreads)
def test_order_in_a_bag_and_other_bags_are_irrelevant(spec, sizes, seed, spread):
    made = AGGREGATIONS.build(spec)
    logits, offsets = block(made, sizes, seed, spread)
    labels = label_each(made, offsets, seed)
    scores = made.probabilities(logits)
    whole = (
        made(scores, offsets),
        made.from_logits(logits, offsets),
        made.log_likelihood(logits, offsets, labels),
        made.response_scores(logits, offsets),
    )
    back = made.posterior(scores, offsets, labels)
    hard = made.most_likely_labels(scores, offsets, labels)
    for bag, (start, end) in enumerate(each_bag(offsets)):
        alone, cut, label = logits[start:end].flip(0), torch.tensor([0, end - start]), labels[bag : bag + 1]
        share = made.probabilities(alone)
        parts = (
            made(share, cut),
            made.from_logits(alone, cut),
            made.log_likelihood(alone, cut, label),
            made.response_scores(alone, cut),
        )
        for found, expected in zip(parts, whole, strict=True):
            torch.testing.assert_close(found[0], expected[bag])
        torch.testing.assert_close(made.posterior(share, cut, label).flip(0), back[start:end])
        assert torch.equal(made.most_likely_labels(share, cut, label).flip(0), hard[start:end])


@pytest.mark.parametrize("spec", IN_ORDER)
@settings(max_examples=20)
@given(sizes=sizes, seed=seeds, spread=spreads)
def test_where_order_counts_other_bags_are_irrelevant_still(spec, sizes, seed, spread):
    made = AGGREGATIONS.build(spec)
    logits, offsets = block(made, sizes, seed, spread)
    labels, scores = label_each(made, offsets, seed), logits.sigmoid()
    back, hard = made.posterior(scores, offsets, labels), made.most_likely_labels(scores, offsets, labels)
    for bag, (start, end) in enumerate(each_bag(offsets)):
        alone, cut, label = slice(start, end), torch.tensor([0, end - start]), labels[bag : bag + 1]
        for whole, part in (
            (made(scores, offsets), made(scores[alone], cut)),
            (made.from_logits(logits, offsets), made.from_logits(logits[alone], cut)),
            (made.log_likelihood(logits, offsets, labels), made.log_likelihood(logits[alone], cut, label)),
        ):
            torch.testing.assert_close(part[0], whole[bag])
        torch.testing.assert_close(made.posterior(scores[alone], cut, label), back[alone], atol=1e-7, rtol=1e-6)
        assert torch.equal(made.most_likely_labels(scores[alone], cut, label), hard[alone])


@pytest.mark.parametrize("spec", [*BINARY, *IN_ORDER])
@settings(max_examples=20)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=seeds, spread=spreads)
def test_equals_its_slow_twin(spec, sizes, seed, spread):
    made = AGGREGATIONS.build(spec)
    logits, offsets = block(made, sizes, seed, spread)
    found, odds = made(logits.sigmoid(), offsets), made.from_logits(logits, offsets)
    for bag, (start, end) in enumerate(each_bag(offsets)):
        scores = logits[start:end, 0].sigmoid().tolist()
        expected = slow.aggregate(made.name, made.direction, vars(made), scores)
        assert float(found[bag, 0]) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert float(odds[bag, 0].sigmoid()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("spec", BOUNDED)
@settings(max_examples=20)
@given(sizes=sizes, seed=seeds, spread=spreads)
def test_lies_between_the_smallest_and_the_largest_score(spec, sizes, seed, spread):
    made = AGGREGATIONS.build(spec)
    logits, offsets = block(made, sizes, seed, spread, torch.float32)
    low, high = (AGGREGATIONS.build(name) for name in ("min", "max"))
    scores = logits.sigmoid()
    assert (made(scores, offsets) >= low(scores, offsets) - 1e-6).all()
    assert (made(scores, offsets) <= high(scores, offsets) + 1e-6).all()
    assert (made.from_logits(logits, offsets) >= low.from_logits(logits, offsets) - 1e-4).all()
    assert (made.from_logits(logits, offsets) <= high.from_logits(logits, offsets) + 1e-4).all()


@pytest.mark.parametrize("spec", [*EVERY, *IN_ORDER])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_finite_at_0_and_1_and_lead_out_of_there(spec, dtype):
    made = AGGREGATIONS.build(spec)
    ends = torch.tensor([1e4, 1e4, -1e4, -1e4, 1e4, 0.0, 90.0, -90.0, 1e4, -1e4], dtype=dtype)
    offsets = torch.tensor([0, 2, 4, 6, 8, 9, 10])
    shape = (10, 1) if made.thresholds == 1 else (10, made.thresholds, 1)
    logits = ends.reshape(-1, *(1,) * (len(shape) - 1)).expand(shape).clone().requires_grad_()
    for value in (0.0, 1.0):
        found = made.log_likelihood(logits, offsets, torch.full((6,), value, dtype=dtype))
        (gradient,) = torch.autograd.grad(found.sum(), logits)
        assert found.isfinite().all()
        assert gradient.isfinite().all()
        wrong = slice(0, 2) if value == 0 else slice(2, 4)  # surely good in a bad response, and the other way round
        assert (gradient[wrong].float().sum() < 0) if value == 0 else (gradient[wrong].float().sum() > 0)
    scores = (logits.detach() > 0).float().requires_grad_()
    (gradient,) = torch.autograd.grad(made(scores, offsets).sum(), scores)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("spec", [*EVERY, *IN_ORDER])
@pytest.mark.parametrize("value", [-1e4, -60.0, -20.0, -3.0, 0.0, 3.0, 20.0, 60.0, 1e4])
def test_a_bag_of_one_is_itself(spec, value):
    made = AGGREGATIONS.build(spec)
    offsets = torch.arange(3)
    shape = (2, 1) if made.thresholds == 1 else (2, made.thresholds, 1)
    logits = torch.full(shape, value)
    if made.thresholds == 1:
        torch.testing.assert_close(made(logits.sigmoid(), offsets), logits.sigmoid())
        within = value if abs(value) < 70 else math.copysign(70, value)
        assert float(made.from_logits(logits, offsets).clamp(-70, 70)[0]) == pytest.approx(within, rel=1e-5, abs=1e-6)
    else:
        at_least = torch.cat([torch.ones(2, 1, 1), made.probabilities(logits), torch.zeros(2, 1, 1)], dim=1)
        torch.testing.assert_close(made.response_distribution(logits, offsets).exp(), -at_least.diff(dim=1))
        torch.testing.assert_close(made(made.probabilities(logits), offsets), made.sentence_scores(logits))
        torch.testing.assert_close(made.response_scores(logits, offsets), made.sentence_scores(logits))


@pytest.mark.parametrize(("smooth", "hard"), HARD)
@settings(max_examples=20)
@given(sizes=sizes, seed=seeds, spread=spreads)
def test_smooth_forms_tend_to_their_hard_form(smooth, hard, sizes, seed, spread):
    made, limit = AGGREGATIONS.build(smooth), AGGREGATIONS.build(hard)
    logits, offsets = block(made, sizes, seed, spread)
    torch.testing.assert_close(made(logits.sigmoid(), offsets), limit(logits.sigmoid(), offsets), atol=3e-5, rtol=0)


@pytest.mark.parametrize(("low", "high"), MIRRORS)
@settings(max_examples=20)
@given(sizes=sizes, seed=seeds, spread=spreads)
def test_the_maximum_is_the_mirror_of_the_minimum(low, high, sizes, seed, spread):
    first, second = AGGREGATIONS.build(low), AGGREGATIONS.build(high)
    logits, offsets = block(first, sizes, seed, spread)
    torch.testing.assert_close(second(logits.sigmoid(), offsets), 1 - first(1 - logits.sigmoid(), offsets))
    torch.testing.assert_close(second.from_logits(logits, offsets), -first.from_logits(-logits, offsets))


@pytest.mark.parametrize("spec", [*EVERY, *IN_ORDER])
@settings(max_examples=20)
@given(sizes=sizes, seed=seeds, spread=st.sampled_from((0.3, 2.0)))
def test_likelihood_gradient_equals_finite_differences(spec, sizes, seed, spread):
    made = AGGREGATIONS.build(spec)
    logits, offsets = block(made, sizes[:2], seed, spread, members=1)
    labels = label_each(made, offsets, seed)
    assert torch.autograd.gradcheck(
        lambda z: made.log_likelihood(z, offsets, labels), logits.requires_grad_(), atol=1e-6
    )


@pytest.mark.parametrize("spec", ["product", "noisy_or", "count", *LEVELS])
@settings(max_examples=20)
@given(sizes=sizes, seed=seeds, spread=spreads)
def test_exact_likelihood_equals_the_sum_over_assignments(spec, sizes, seed, spread):
    made = AGGREGATIONS.build(spec)
    logits, offsets = block(made, [min(size, 5) for size in sizes], seed, spread)
    labels = label_each(made, offsets, seed)
    found = made.log_likelihood(logits, offsets, labels)
    for bag, (start, end) in enumerate(each_bag(offsets)):
        for member in range(2):
            expected = slow.likelihood(made.direction, distributions(made, logits[start:end, ..., member]), labels[bag])
            assert float(found[bag, member]) == pytest.approx(math.log(expected), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("spec", EVERY)
@settings(max_examples=20)
@given(sizes=sizes, seed=seeds, spread=spreads, tied=st.booleans())
def test_most_likely_labels_agree_with_the_response_and_are_the_best_of_all(spec, sizes, seed, spread, tied):
    made = AGGREGATIONS.build(spec)
    logits, offsets = block(made, sizes if made.thresholds < 3 else [min(size, 4) for size in sizes], seed, spread)
    logits = logits.round() if tied else logits
    labels = label_each(made, offsets, seed)
    found = made.most_likely_labels(made.probabilities(logits), offsets, labels) * made.thresholds
    assert torch.equal(found, found.round())
    for bag, (start, end) in enumerate(each_bag(offsets)):
        for member in range(2):
            bodies = distributions(made, logits[start:end, ..., member])
            chosen = tuple(found[start:end, member].long().tolist())
            assert chosen in set(slow.agreeing(made.direction, labels[bag], end - start, made.thresholds + 1))
            best = slow.best_chance(made.direction, bodies, labels[bag])
            assert slow.chance(bodies, chosen) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("spec", EVERY)
@settings(max_examples=20)
@given(sizes=sizes, seed=seeds, spread=spreads)
def test_posterior_equals_the_sum_over_assignments(spec, sizes, seed, spread):
    made = AGGREGATIONS.build(spec)
    logits, offsets = block(made, [min(size, 5) for size in sizes], seed, spread)
    labels = label_each(made, offsets, seed)
    found = made.posterior(made.probabilities(logits), offsets, labels)
    for bag, (start, end) in enumerate(each_bag(offsets)):
        for member in range(2):
            table = slow.marginals(made.direction, distributions(made, logits[start:end, ..., member]), labels[bag])
            expected = [sum(level * p for level, p in enumerate(row)) / made.thresholds for row in table]
            assert found[start:end, member].tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("spec", LEVELS)
@settings(max_examples=20)
@given(sizes=sizes, seed=seeds, spread=spreads)
def test_level_posterior_equals_the_sum_over_assignments(spec, sizes, seed, spread):
    made = AGGREGATIONS.build(spec)
    logits, offsets = block(made, [min(size, 4) for size in sizes], seed, spread, members=1)
    labels = label_each(made, offsets, seed)
    found = made.level_posterior(made.probabilities(logits), offsets, labels)
    for bag, (start, end) in enumerate(each_bag(offsets)):
        table = slow.marginals(made.direction, distributions(made, logits[start:end, :, 0]), labels[bag])
        torch.testing.assert_close(found[start:end, :, 0], torch.tensor(table, dtype=torch.float64), atol=1e-7, rtol=0)


@pytest.mark.parametrize("spec", [*EVERY, *IN_ORDER])
@settings(max_examples=20)
@given(sizes=sizes, seed=seeds)
def test_an_unknown_label_says_nothing(spec, sizes, seed):
    made = AGGREGATIONS.build(spec)
    logits, offsets = block(made, sizes, seed, 2.0)
    labels = torch.full((len(sizes),), torch.nan)
    found = made.log_likelihood(logits.requires_grad_(), offsets, labels)
    assert (found == 0).all()
    assert (torch.autograd.grad(found.sum(), logits)[0] == 0).all()
    scores = made.probabilities(logits.detach())
    torch.testing.assert_close(made.posterior(scores, offsets, labels), made.sentence_scores(logits.detach()))
    if made.thresholds == 1:
        assert torch.equal(made.most_likely_labels(scores, offsets, labels), (scores > 0.5).double())


@pytest.mark.parametrize("spec", [*EVERY, *IN_ORDER])
@settings(max_examples=20)
@given(sizes=sizes, seed=seeds, label=st.floats(0, 1))
def test_every_label_has_a_way_back(spec, sizes, seed, label):
    """Graded labels too, saturated scores too: finite, inside [0, 1]."""
    made = AGGREGATIONS.build(spec)
    logits, offsets = block(made, sizes, seed, 100.0, torch.float32)
    labels = torch.full((len(sizes),), label)
    for found in (
        made.posterior(made.probabilities(logits), offsets, labels),
        made.most_likely_labels(made.probabilities(logits), offsets, labels),
    ):
        assert ((found >= 0) & (found <= 1)).all()
    assert made.log_likelihood(logits, offsets, labels).isfinite().all()
