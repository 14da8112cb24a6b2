"""Aggregations: known numbers, hard cases, and the mistakes of the released code that must not come back."""

from __future__ import annotations

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.errors import BadData, BadSpec
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.aggregations.poisson_binomial import count_log_likelihood, poisson_binomial

IRRELEVANT = [-12.0, -12.0, -12.0]  # surely level 0, for the numbers of max_levels
PERFECT = [0.0, 0.0, math.log(0.97 / 0.03)]  # level 3 with 0.97


def one_bag(rows):
    return torch.tensor(rows).unsqueeze(-1), torch.tensor([0, len(rows)])


def test_mistake_3_the_highest_of_seven_irrelevant_and_one_perfect_sentence_is_perfect():
    made = AGGREGATIONS.build("max_levels")
    logits, offsets = one_bag([IRRELEVANT] * 7 + [PERFECT])
    p = made.response_distribution(logits, offsets)[0, :, 0].exp()
    assert float(p[3]) == pytest.approx(0.97, abs=1e-3)
    assert float(p[0]) < 0.01
    assert float(p.sum()) == pytest.approx(1)


@pytest.mark.parametrize("spec", ["min", "product", "softmin", "geometric_mean", "power_mean", "logsumexp"])
def test_mistake_5_a_small_bad_response_still_teaches(spec):
    """Bags below ten sentences got their scores multiplied by 100, and a bad one then no gradient."""
    made = AGGREGATIONS.build(spec)
    logits = torch.tensor([2.0, 3.0, 4.0], requires_grad=True)
    made.log_likelihood(logits, torch.tensor([0, 3]), torch.tensor([0.0])).sum().backward()
    assert logits.grad[0] < -0.01
    assert made(logits.sigmoid(), torch.tensor([0, 3])) <= 1


@pytest.mark.parametrize("spec", [*AGGREGATIONS])
def test_mistake_6_long_neighbours_are_no_padding(spec):
    """A bag scores the same beside a bag of one and beside a bag of fifty."""
    made = AGGREGATIONS.build(spec)
    generator = torch.Generator().manual_seed(0)
    shape = (53, 2) if made.thresholds == 1 else (53, made.thresholds, 2)
    logits = torch.randn(shape, generator=generator)
    label = torch.tensor([1.0, 1.0])
    beside_long = made.log_likelihood(logits, torch.tensor([0, 3, 53]), label)[0]
    beside_short = made.log_likelihood(logits[:4], torch.tensor([0, 3, 4]), label)[0]
    torch.testing.assert_close(beside_long, beside_short)


@pytest.mark.parametrize("spec", ["max_levels", "min_levels"])
def test_mistake_10_level_guesses_keep_their_constraint(spec):
    made = AGGREGATIONS.build(spec)
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(400, 3, 2, generator=generator) * 5
    offsets = torch.arange(0, 401, 4)
    labels = torch.randint(4, (100,), generator=generator) / 3
    guesses = made.most_likely_labels(made.probabilities(logits), offsets, labels)
    torch.testing.assert_close(made(guesses, offsets), labels.unsqueeze(1).expand(-1, 2))


def test_mistake_4_every_sentence_learns_from_a_level():
    made = AGGREGATIONS.build("max_levels")
    logits, offsets = one_bag([[0.1, -0.2, 0.3], [0.4, 0.0, -0.5]])
    logits.requires_grad_()
    made.log_likelihood(logits, offsets, torch.tensor([2 / 3])).sum().backward()
    assert (logits.grad[:, 1:] != 0).all()


def test_product_does_not_underflow_in_a_long_response():
    offsets = torch.tensor([0, 5000])
    logits = torch.full((5000, 1), -1.0, requires_grad=True)
    found = AGGREGATIONS.build("product").log_likelihood(logits, offsets, torch.tensor([1.0]))
    assert found.item() == pytest.approx(-5000 * math.log1p(math.e), rel=1e-4)
    found.backward()
    torch.testing.assert_close(logits.grad, torch.full_like(logits, 0.7311), atol=1e-3, rtol=0)


def test_a_sure_response_that_is_bad_blames_all_alike():
    made = AGGREGATIONS.build("min")
    scores = torch.ones(4)
    assert made.posterior(scores, torch.tensor([0, 4]), torch.tensor([0.0])).tolist() == pytest.approx([0.75] * 4)
    assert made.posterior(scores, torch.tensor([0, 4]), torch.tensor([0.5])).tolist() == pytest.approx([0.875] * 4)


@pytest.mark.parametrize("spec", ["min", "max", "product", "softmax_pool"])
def test_a_graded_label_mixes_the_posteriors_of_good_and_bad(spec):
    made = AGGREGATIONS.build(spec)
    scores, offsets = torch.tensor([0.2, 0.9, 0.6]), torch.tensor([0, 3])
    bad, good, graded = (made.posterior(scores, offsets, torch.tensor([y])) for y in (0.0, 1.0, 0.3))
    torch.testing.assert_close(graded, 0.3 * good + 0.7 * bad)


def test_posteriors_of_a_graded_mean_average_to_the_label():
    scores, offsets = torch.tensor([0.2, 0.9, 0.6, 0.6]), torch.tensor([0, 4])
    found = AGGREGATIONS.build("mean").posterior(scores, offsets, torch.tensor([0.3]))
    assert float(found.mean()) == pytest.approx(0.3, abs=1e-5)


def test_a_level_label_between_two_levels_mixes_both():
    made = AGGREGATIONS.build("max_levels")
    logits, offsets = one_bag([[0.1, -0.2, 0.3], [0.4, 0.0, -0.5]])
    low, high, between = (made.log_likelihood(logits, offsets, torch.tensor([y / 3])) for y in (1.0, 2.0, 1.25))
    torch.testing.assert_close(between, 0.75 * low + 0.25 * high)


def test_count_is_exact_in_a_long_saturated_response():
    """The dynamic programme neither underflows nor loses its gradient: 300 sentences, all against the label."""
    offsets = torch.tensor([0, 300])
    logits = torch.full((300, 1), -20.0, dtype=torch.float64, requires_grad=True)
    found = count_log_likelihood(logits, offsets, torch.tensor([[150.0]]))
    ways = math.lgamma(301) - 2 * math.lgamma(151)
    assert found.item() == pytest.approx(ways - 150 * 20 - 300 * math.log1p(math.exp(-20)), rel=1e-9)
    found.backward()
    assert logits.grad.flatten().tolist() == pytest.approx([0.5] * 300, abs=1e-6)


@settings(max_examples=15)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8), seed=st.integers(0, 10**6))
def test_count_equals_a_plain_dynamic_programme(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    logits = torch.randn(sum(sizes), 1, generator=generator) * 4
    counts = (torch.rand(len(sizes), 1, generator=generator) * (torch.tensor(sizes).unsqueeze(1) + 1)).floor()
    found, after = poisson_binomial(logits, offsets, counts)
    torch.testing.assert_close(poisson_binomial(logits, offsets, counts, posterior=False)[0], found)
    for bag, scores in enumerate(logits[:, 0].double().sigmoid().split(sizes)):
        so_far = [1.0]
        for s in scores.tolist():
            so_far = [a * (1 - s) + b * s for a, b in zip([*so_far, 0.0], [0.0, *so_far], strict=True)]
        assert float(found[bag]) == pytest.approx(math.log(so_far[int(counts[bag])]), rel=1e-4, abs=1e-4)
        assert float(after[offsets[bag] : offsets[bag + 1]].sum()) == pytest.approx(float(counts[bag]), abs=1e-3)


@pytest.mark.parametrize(
    "spec",
    [
        "power_mean(exponent=0)",
        "power_mean(exponent=3)",
        "softmin(temperature=0)",
        "logsumexp(sharpness=-1)",
        "max_levels(levels=2)",
        "geometric_mean(direction='mean')",
    ],
)
def test_options_that_cannot_be_are_refused(spec):
    with pytest.raises(BadSpec, match="give"):
        AGGREGATIONS.build(spec)


def test_levels_say_what_scores_they_need():
    with pytest.raises(BadData, match="probabilities"):
        AGGREGATIONS.build("max_levels").posterior(torch.rand(5, 2), torch.tensor([0, 5]), torch.tensor([1.0]))


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["min", "count", "max_levels"])
def test_guesses_for_a_million_sentences_grow_linearly(spec):
    made, spent = AGGREGATIONS.build(spec), []
    for bags in (25_000, 100_000):
        generator = torch.Generator().manual_seed(0)
        offsets = torch.arange(0, bags * 10 + 1, 10)
        shape = (bags * 10, 1) if made.thresholds == 1 else (bags * 10, 3, 1)
        scores = made.probabilities(torch.randn(shape, generator=generator))
        labels = torch.randint(2, (bags,), generator=generator).float()
        spent.append(
            min(
                _seconds(lambda made=made, s=scores, o=offsets, y=labels: made.most_likely_labels(s, o, y))
                for _ in range(3)
            )
        )
    assert spent[1] < 12 * spent[0]  # four times the sentences; work that grows with their square takes 16 times


def _seconds(work):
    started = time.process_time()
    work()
    return time.process_time() - started
