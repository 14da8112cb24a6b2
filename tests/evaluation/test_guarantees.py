"""Promises of flags: by brute force, over many draws, mirrored, and refused where nothing can be promised."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.errors import BadData, BadSpec
from fractal.evaluation.calibration.guarantees import Guarantee, fewest_groups, guarantee
from fractal.records import Response, ScoredResponse


def scored(number, scores, label, group, rule="min"):
    sentences = [f"s{place}" for place in range(len(scores))]
    response = Response.from_sentences(f"r{number}", sentences, query=f"q{group}", label=label)
    return ScoredResponse(response, tuple(map(float, scores)), 0.5, aggregation=rule)


def drawn(rng, groups, rule="min", shift=0.0):
    """Responses of a group share their difficulty: they are no independent draws."""
    items = []
    for group in range(groups):
        ease = 0.8 * rng.standard_normal() + shift
        for _ in range(rng.integers(1, 4)):
            flawed = rng.random() < 0.5
            scores = 1 / (1 + np.exp(-(ease + rng.normal(1.5, 1.2, rng.integers(1, 6)))))
            if flawed:
                scores[rng.integers(len(scores))] *= rng.random()
            label = float(flawed) if rule == "max" else float(not flawed)
            items.append(scored(len(items), 1 - scores if rule == "max" else scores, label, group, rule))
    return items


def rate(promise, items, kind):
    """The slow twin: the rate as the docstring of Guarantee says it, group by group, response by response."""
    clean = 1.0 if promise.direction == "min" else 0.0
    groups = {}
    for item in items:
        flags = [
            s < promise.threshold if promise.direction == "min" else s >= promise.threshold
            for s in item.sentence_scores
        ]
        if kind == "false_alarms" and item.response.label == clean:
            groups.setdefault(item.response.query, []).append(sum(flags) / len(flags))
        if kind == "misses" and item.response.label == 1 - clean:
            groups.setdefault(item.response.query, []).append(float(not any(flags)))
    return sum(sum(g) / len(g) for g in groups.values()) / len(groups)


@pytest.mark.parametrize("rule", ["min", "max"])
@pytest.mark.parametrize(("kind", "level"), [("false_alarms", 0.1), ("misses", 0.3)])
def test_over_many_draws_the_promise_holds(rule, kind, level):
    rng = np.random.default_rng(1)
    truth = drawn(rng, 3000, rule)
    draws = [drawn(rng, 80, rule) for _ in range(60)]
    sure = [rate(guarantee(items, **{kind: level}, confidence=0.9), truth, kind) for items in draws]
    # at most a tenth of the draws may break it: 13 of 60 and more are seen once in 300 times where that is so
    assert sum(one > level for one in sure) < 13
    average = [rate(guarantee(items, **{kind: level}, confidence=None), truth, kind) for items in draws]
    assert np.mean(average) <= level + 3 * np.std(average) / math.sqrt(len(average))
    assert np.mean(average) > 0.6 * level, "it gives away what it may use"
    assert np.mean(sure) < np.mean(average)


@pytest.mark.parametrize("rule", ["min", "max"])
@pytest.mark.parametrize("kind", ["false_alarms", "misses"])
def test_without_a_confidence_it_is_the_furthest_threshold_that_brute_force_finds(rule, kind):
    rng = np.random.default_rng(2)
    for _ in range(4):
        items = drawn(rng, 40, rule)
        promise = guarantee(items, **{kind: 0.2}, confidence=None)
        seen = promise.seen_false_alarms if kind == "false_alarms" else promise.seen_misses
        assert seen == pytest.approx(rate(promise, items, kind))
        count = promise.clean_groups if kind == "false_alarms" else promise.flawed_groups
        values = sorted({s for item in items for s in item.sentence_scores} | {0.0, 1.0})
        cuts = [cut for value in values for cut in (value, np.nextafter(value, 2))]
        holding = []
        for cut in cuts:
            other = Guarantee(**{**promise.to_dict(), "threshold": cut})
            if (rate(other, items, kind) * count + 1) / (count + 1) <= 0.2 + 1e-12:
                holding.append(cut)
        flags_most = (rule == "min") == (kind == "false_alarms")
        best = max(holding) if flags_most else min(holding)
        same = Guarantee(**{**promise.to_dict(), "threshold": best})
        assert rate(same, items, kind) == pytest.approx(seen)


@given(st.integers(0, 10_000), st.sampled_from(["false_alarms", "misses"]), st.sampled_from([None, 0.9]))
def test_a_maximum_is_the_mirror_of_a_minimum(seed, kind, confidence):
    low, high = drawn(np.random.default_rng(seed), 40), drawn(np.random.default_rng(seed), 40, "max")
    one, other = (guarantee(items, **{kind: 0.3}, confidence=confidence) for items in (low, high))
    assert one.threshold == pytest.approx(1 - other.threshold)
    assert [one.flags(item) for item in low] == [other.flags(item) for item in high]


@given(st.integers(0, 10_000), st.sampled_from([None, 0.8, 0.95]))
def test_promising_less_never_flags_less(seed, confidence):
    items = drawn(np.random.default_rng(seed), 60)
    cuts = [guarantee(items, false_alarms=level, confidence=confidence).threshold for level in (0.1, 0.2, 0.4)]
    assert cuts == sorted(cuts)
    cuts = [guarantee(items, misses=level, confidence=confidence).threshold for level in (0.1, 0.2, 0.4)]
    assert cuts == sorted(cuts, reverse=True)


def test_both_promises_hold_or_are_refused_together():
    rng = np.random.default_rng(3)
    items = drawn(rng, 300)
    both = guarantee(items, false_alarms=0.3, misses=0.6)
    assert both.seen_false_alarms <= 0.3
    assert both.seen_misses <= 0.6
    with pytest.raises(BadData, match="no threshold holds both"):
        guarantee(items, false_alarms=0.05, misses=0.05)


def test_what_cannot_be_promised_is_refused():
    items = drawn(np.random.default_rng(4), 40)
    with pytest.raises(BadSpec, match="only under a minimum or a maximum"):
        guarantee([scored(1, [0.5], 1.0, 1, rule="mean")], false_alarms=0.1)
    with pytest.raises(BadSpec, match="that they do not name"):
        guarantee([scored(1, [0.5], 1.0, 1, rule="")], false_alarms=0.1)
    with pytest.raises(BadData, match="several rules"):
        guarantee([*items, scored(1, [0.5], 1.0, 1, rule="max")], false_alarms=0.1)
    with pytest.raises(BadSpec, match="say what is to be promised"):
        guarantee(items)
    for odd in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(BadSpec, match="between 0 and 1"):
            guarantee(items, false_alarms=odd)
        with pytest.raises(BadSpec, match="between 0 and 1"):
            guarantee(items, false_alarms=0.5, confidence=odd)


@pytest.mark.parametrize("confidence", [None, 0.8, 0.95])
@pytest.mark.parametrize("level", [0.05, 0.1, 0.3])
def test_the_fewest_groups_are_exactly_those_with_which_a_perfect_record_is_enough(confidence, level):
    needed = fewest_groups(level, confidence)
    perfect = [scored(number, [0.9], 1.0, number) for number in range(needed)]
    assert guarantee(perfect, false_alarms=level, confidence=confidence).seen_false_alarms == 0
    with pytest.raises(BadData, match=f"takes at least {needed:,}"):
        guarantee(perfect[:-1], false_alarms=level, confidence=confidence)


def test_many_responses_of_one_group_are_one_group():
    items = [scored(number, [0.9], 1.0, number % 3) for number in range(300)]
    with pytest.raises(BadData, match="3 groups"):
        guarantee(items, false_alarms=0.1)


def test_other_data_are_refused_and_other_shares_of_bad_responses_are_not():
    rng = np.random.default_rng(5)
    promise = guarantee(drawn(rng, 300), false_alarms=0.1)
    assert Guarantee.from_dict(promise.to_dict()) == promise
    for _ in range(20):
        promise.refuse_shifted(drawn(rng, 200))
    new = drawn(rng, 600)
    promise.refuse_shifted([item for item in new if item.response.label == 1.0])
    promise.refuse_shifted([item for item in new if item.response.label == 0.0])
    promise.refuse_shifted([])
    with pytest.raises(BadData, match="of another kind"):
        promise.refuse_shifted(drawn(rng, 200, shift=3.0))


def test_a_damaged_promise_is_refused():
    promise = guarantee(drawn(np.random.default_rng(6), 100), false_alarms=0.2).to_dict()
    for change in (
        {"threshold": math.nan},
        {"direction": "mean"},
        {"clean": None},
        {"more": 1},
        {"clean": (), "flawed": ()},
    ):
        with pytest.raises(BadSpec, match="no promise"):
            Guarantee.from_dict({**promise, **change})
