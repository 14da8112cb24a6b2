"""Forms that know the order of steps: which step is to blame, held against an enumeration of all that may happen."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import support.slow_twins_aggregations as slow
from fractal.mil.aggregations import AGGREGATIONS

RULE = AGGREGATIONS.build("first_error")
bags = st.lists(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5), min_size=1, max_size=3)


def laid(bags):
    offsets = torch.tensor([0, *itertools.accumulate(map(len, bags))])
    return torch.tensor([score for bag in bags for score in bag], dtype=torch.float64).unsqueeze(1), offsets


def first_errors(scores):
    """Return P(the first wrong step is t | some step is wrong), by going through every pattern of right and wrong."""
    chances = [0.0] * len(scores)
    for right in itertools.product((True, False), repeat=len(scores)):
        if not all(right):
            chance = math.prod(s if good else 1 - s for s, good in zip(scores, right, strict=True))
            chances[right.index(False)] += chance
    return [chance / sum(chances) for chance in chances]


@given(bags=bags)
def test_blame_is_that_of_the_first_wrong_step(bags):
    scores, offsets = laid(bags)
    bad = RULE.posterior(scores, offsets, torch.zeros(len(bags)))
    expected = [1 - chance for bag in bags for chance in first_errors(bag)]
    torch.testing.assert_close(bad.squeeze(1), torch.tensor(expected, dtype=torch.float64))
    assert (RULE.posterior(scores, offsets, torch.ones(len(bags))) == 1).all()
    torch.testing.assert_close(RULE.posterior(scores, offsets, torch.full((len(bags),), torch.nan)), scores)


@given(bags=bags)
def test_one_step_of_a_bad_run_is_marked_and_none_of_a_good_one(bags):
    scores, offsets = laid(bags)
    hard = RULE.most_likely_labels(scores, offsets, torch.zeros(len(bags))).squeeze(1)
    for bag, start, end in zip(bags, offsets[:-1], offsets[1:], strict=True):
        marked = hard[start:end].tolist().index(0.0)
        chances = first_errors(bag)
        assert hard[start:end].sum() == len(bag) - 1
        assert chances[marked] == pytest.approx(max(chances))
    assert (RULE.most_likely_labels(scores, offsets, torch.ones(len(bags))) == 1).all()


@given(bags=bags)
def test_a_response_is_as_likely_good_as_under_the_product(bags):
    scores, offsets = laid(bags)
    torch.testing.assert_close(RULE(scores, offsets), AGGREGATIONS.build("product")(scores, offsets))


def test_sure_scores_leave_the_blame_finite():
    scores = torch.tensor([[1.0], [1.0], [0.0], [0.0], [1.0]])
    blame = 1 - RULE.posterior(scores, torch.tensor([0, 2, 5]), torch.zeros(2)).squeeze(1)
    torch.testing.assert_close(blame, torch.tensor([0.5, 0.5, 1.0, 0.0, 0.0]))


def test_a_step_that_is_known_wrong_leaves_the_others_as_they_score():
    scores, offsets = laid([[0.7, 0.6, 0.8]])
    known = torch.tensor([torch.nan, 0.0, torch.nan])
    posterior = RULE.posterior(scores, offsets, torch.zeros(1), known).squeeze(1)
    torch.testing.assert_close(posterior, torch.tensor([0.7, 0.0, 0.8], dtype=torch.float64))


@given(bags=bags, recovery=st.sampled_from((0.05, 0.5, 0.99)))
def test_with_a_recovery_blame_is_that_of_the_error_that_lasts(bags, recovery):
    rule = AGGREGATIONS.build(f"first_error(recovery={recovery})")
    scores, offsets = laid(bags)
    blame = 1 - rule.posterior(scores, offsets, torch.zeros(len(bags))).squeeze(1)
    chances = [slow.lasting_errors(bag, recovery) for bag in bags]
    expected = [chance / sum(of_bag) for of_bag in chances for chance in of_bag]
    torch.testing.assert_close(blame, torch.tensor(expected, dtype=torch.float64))
    assert (rule.posterior(scores, offsets, torch.ones(len(bags))) == 1).all()


@given(bags=bags)
def test_without_a_recovery_it_is_the_first_error(bags):
    scores, offsets = laid(bags)
    nearly = AGGREGATIONS.build("first_error(recovery=1e-12)")
    bad = torch.zeros(len(bags))
    torch.testing.assert_close(nearly.posterior(scores, offsets, bad), RULE.posterior(scores, offsets, bad))
    torch.testing.assert_close(nearly(scores, offsets), RULE(scores, offsets))


@given(bags=bags)
def test_an_error_that_is_mended_later_takes_less_of_the_blame(bags):
    """A right step added at the end moves no blame to itself, and makes the run likelier to pass."""
    rule = AGGREGATIONS.build("first_error(recovery=0.5)")
    scores, offsets = laid(bags)
    longer, ends = laid([[*bag, 1.0] for bag in bags])
    assert (rule(longer, ends) > rule(scores, offsets)).all()
    assert (rule.posterior(longer, ends, torch.zeros(len(bags)))[ends[1:] - 1] == 1).all()


@given(bags=bags)
def test_the_value_lost_is_shared_among_the_steps_that_lost_it(bags):
    rule = AGGREGATIONS.build("prefix_value")
    scores, offsets = laid(bags)
    blame = 1 - rule.posterior(scores, offsets, torch.zeros(len(bags))).squeeze(1)
    expected = []
    for bag in bags:
        before = [0.5, *slow.values(bag)]
        lost = [max(a - b, 0.0) for a, b in itertools.pairwise(before)]
        expected += [one / sum(lost) if sum(lost) else 1 / len(bag) for one in lost]
    torch.testing.assert_close(blame, torch.tensor(expected, dtype=torch.float64), atol=1e-7, rtol=1e-5)


@given(bags=bags, share=st.sampled_from((0.0, 0.3, 1.0)), label=st.sampled_from((0.0, 0.25, 1.0)))
def test_every_prefix_is_to_foretell_the_outcome(bags, share, label):
    rule = AGGREGATIONS.build(f"prefix_value(share={share})")
    scores, offsets = laid(bags)
    found = rule.log_likelihood(torch.logit(scores), offsets, torch.full((len(bags),), label)).squeeze(1)
    for bag, value in zip(bags, found.tolist(), strict=True):
        each = [label * math.log(v) + (1 - label) * math.log(1 - v) for v in slow.values(bag)]
        assert value == pytest.approx((1 - share) * each[-1] + share * sum(each) / len(each), rel=1e-6)


@pytest.mark.parametrize("spec", ["first_error(recovery=1.0)", "first_error(recovery=-0.1)", "prefix_value(share=2)"])
def test_options_out_of_range_are_refused(spec):
    with pytest.raises(ValueError, match="give a"):
        AGGREGATIONS.build(spec)
