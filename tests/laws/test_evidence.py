"""The laws of known sentence labels: each way back and likelihood against an enumeration of all assignments."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import support.slow_twins_aggregations as slow
from fractal.mil.aggregations import AGGREGATIONS, Levels
from fractal.mil.objectives.base import CERTAIN, Scores

EVERY = ("product", "noisy_or", "min", "max", "mean", "count", "max_levels(levels=3)", "min_levels(levels=3)")
LIKELIHOODS = ("product", "noisy_or", "count", "max_levels(levels=3)", "min_levels(levels=3)")


def draw(spec, sizes, seed):
    """Random logits, response labels that sentences can make, and labels of some sentences, wrong ones too."""
    made, generator = AGGREGATIONS.build(spec), torch.Generator().manual_seed(seed)
    shape = (sum(sizes), 2) if made.thresholds == 1 else (sum(sizes), made.thresholds, 2)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * 2
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    steps = [size if made.direction == "mean" else made.thresholds for size in sizes]
    labels = [int(torch.randint(0, step + 1, (), generator=generator)) / step for step in steps]
    truths = torch.randint(0, made.thresholds + 1, (sum(sizes),), generator=generator).double() / made.thresholds
    unknown = torch.rand(sum(sizes), generator=generator) < 0.5
    return made, logits, offsets, torch.tensor(labels, dtype=torch.float64), truths.masked_fill(unknown, torch.nan)


def bodies(made, logits):
    if made.thresholds == 1:
        return slow.binary(logits.sigmoid().tolist())
    return [slow.level_distribution(made.direction, row) for row in logits.tolist()]


def levels_of(made, truths):
    return [None if math.isnan(truth) else round(truth * made.thresholds) for truth in truths.tolist()]


def each_bag(offsets):
    return enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))


@pytest.mark.parametrize("spec", EVERY)
@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3), seed=st.integers(0, 10**6))
def test_both_ways_back_equal_the_enumeration(spec, sizes, seed):
    made, logits, offsets, labels, truths = draw(spec, [min(n, 5) if "levels" in spec else n for n in sizes], seed)
    scores = made.probabilities(logits)
    soft = made.posterior(scores, offsets, labels, truths)
    hard = made.most_likely_labels(scores, offsets, labels, truths)
    contradicted = made.contradicted(offsets, labels, truths)
    for bag, (start, end) in each_bag(offsets):
        fixed = levels_of(made, truths[start:end])
        agreeing = list(slow.known_agreeing(made.direction, labels[bag], fixed, made.thresholds + 1))
        assert bool(contradicted[bag]) == (not agreeing)
        for member in range(2):
            p = bodies(made, logits[start:end, ..., member])
            mine = tuple((hard[start:end, member] * made.thresholds).round().long().tolist())
            if not agreeing:  # the sentence labels stand, the others are as they would be without the response's
                expected = [
                    sum(k * x for k, x in enumerate(row)) / made.thresholds if f is None else f / made.thresholds
                    for row, f in zip(p, fixed, strict=True)
                ]
                assert all(f in (None, m) for f, m in zip(fixed, mine, strict=True))
            else:
                body = [
                    [float(k == f) for k in range(made.thresholds + 1)] if f is not None else row
                    for row, f in zip(p, fixed, strict=True)
                ]
                total = sum(slow.chance(body, a) for a in agreeing)
                expected = [
                    sum(a[i] * slow.chance(body, a) for a in agreeing) / total / made.thresholds
                    for i in range(end - start)
                ]
                assert mine in agreeing
                best = max(slow.chance(body, a) for a in agreeing)
                assert slow.chance(body, mine) == pytest.approx(best, rel=1e-9)
            assert soft[start:end, member].tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("spec", LIKELIHOODS)
@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3), seed=st.integers(0, 10**6))
def test_the_likelihood_of_a_response_given_its_sentences_equals_the_enumeration(spec, sizes, seed):
    made, logits, offsets, labels, truths = draw(spec, sizes, seed)
    observed = Scores(logits, offsets, made).with_observed(truths)
    log_p = made.log_likelihood(observed.logits, offsets, labels)
    contradicted = made.contradicted(offsets, labels, truths)
    for bag, (start, end) in each_bag(offsets):
        if contradicted[bag]:
            continue
        fixed = levels_of(made, truths[start:end])
        for member in range(2):
            body = [
                [float(k == f) for k in range(made.thresholds + 1)] if f is not None else row
                for row, f in zip(bodies(made, logits[start:end, ..., member]), fixed, strict=True)
            ]
            expected = math.log(slow.likelihood(made.direction, body, labels[bag]))
            # what is known is taken to be wrong once in 1 / CERTAIN
            slack = 40 * CERTAIN * (1 + math.exp(-expected))
            assert float(log_p[bag, member]) == pytest.approx(expected, abs=slack)


def test_a_known_bad_sentence_excuses_the_others():
    product, offsets = AGGREGATIONS.build("product"), torch.tensor([0, 2])
    scores, label, truths = torch.tensor([0.9, 0.8]), torch.zeros(1), torch.tensor([0.0, torch.nan])
    assert product.most_likely_labels(scores, offsets, label, truths).tolist() == [0.0, 1.0]
    assert product.posterior(scores, offsets, label, truths).tolist() == pytest.approx([0.0, 0.8])


def test_a_saturated_score_is_no_known_label():
    """A float32 score of exactly 1 is only likely: where the other sentence is known to be good, it is the bad one."""
    truths, label = torch.tensor([1.0, torch.nan]), torch.zeros(1)
    for spec in ("product", "min"):
        made = AGGREGATIONS.build(spec)
        assert made.posterior(torch.ones(2), torch.tensor([0, 2]), label, truths).tolist() == [1.0, 0.0]
        assert made.most_likely_labels(torch.ones(2), torch.tensor([0, 2]), label, truths).tolist() == [1.0, 0.0]
    counted = AGGREGATIONS.build("count").posterior(torch.ones(2), torch.tensor([0, 2]), label + 0.5, truths)
    assert counted.tolist() == pytest.approx([1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("spec", EVERY)
def test_a_graded_sentence_label_takes_the_place_of_the_score(spec):
    made, offsets = AGGREGATIONS.build(spec), torch.tensor([0, 3])
    scores = torch.tensor([0.9, 0.7, 0.2]) if not isinstance(made, Levels) else torch.tensor([[0.9, 0.5]] * 3)
    truths = torch.tensor([0.3, torch.nan, torch.nan])
    belief = scores.clone()
    belief[0] = 0.3 if made.thresholds == 1 else torch.tensor([0.6, 0.0])
    unknown = torch.full((1,), torch.nan)
    for label in (torch.zeros(1), torch.ones(1), unknown):
        mine, alone = made.posterior(scores, offsets, label, truths), made.posterior(belief, offsets, label)
        torch.testing.assert_close(mine, alone)
