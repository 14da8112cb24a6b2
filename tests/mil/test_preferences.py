"""Labels and posteriors of compared responses against an enumeration of every labelling of all their sentences."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import support.slow_twins_aggregations as slow
from fractal.mil.aggregations import AGGREGATIONS, labels_given, preferences

MEAN = AGGREGATIONS.build("mean")


def draw(sizes, seed, *, rated=False, known=False):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(sum(sizes), 1, generator=generator, dtype=torch.float64).clamp(0.02, 0.98)
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    pairs = [
        (i, j, int(torch.rand((), generator=generator) < 0.15))
        for i, j in itertools.permutations(range(len(sizes)), 2)
        if torch.rand((), generator=generator) < 0.35
    ]
    labels, truths = torch.full((len(sizes),), torch.nan), torch.full((sum(sizes),), torch.nan)
    if rated:
        labels = torch.where(torch.rand(len(sizes), generator=generator) < 0.3, 1.0, labels)
    if known:
        chosen = torch.rand(sum(sizes), generator=generator)
        truths = torch.where(chosen < 0.15, 1.0, torch.where(chosen > 0.85, 0.0, truths))
    return scores, offsets, labels, torch.tensor(pairs, dtype=torch.long).reshape(-1, 3), truths


def enumerated(scores, offsets, labels, pairs, truths, bags, rule):
    """Every labelling of these bags that satisfies all that is known, with its chance."""
    rows = [row for bag in bags for row in range(int(offsets[bag]), int(offsets[bag + 1]))]
    place = {row: i for i, row in enumerate(rows)}
    p = [float(scores[row]) if truths[row].isnan() else float(truths[row]) for row in rows]
    for values in itertools.product((0, 1), repeat=len(rows)):
        parts = {b: [values[place[r]] for r in range(int(offsets[b]), int(offsets[b + 1]))] for b in bags}
        known = all(truths[row].isnan() or int(truths[row]) == v for row, v in zip(rows, values, strict=True))
        rated = all(labels[b].isnan() or slow_label(rule, parts[b]) == float(labels[b]) for b in bags)
        strict = [(b, w) for b, w, tie in pairs.tolist() if not tie and b in bags]
        if known and rated and all(mean(parts[b]) > mean(parts[w]) for b, w in strict):
            yield rows, values, slow.chance(slow.binary(p), values)


def mean(values):
    return sum(values) / len(values)


def slow_label(rule, values):
    return float({"min": min, "max": max, "mean": mean}[rule](values))


def components(count, pairs):
    groups = [{bag} for bag in range(count)]
    for better, worse, tie in pairs.tolist():
        if not tie:
            one, two = (next(g for g in groups if bag in g) for bag in (better, worse))
            if one is not two:
                groups.remove(two)
                one |= two
    return [sorted(group) for group in groups]


@pytest.mark.parametrize("rule", ["mean", "min", "max"])
@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3), min_size=2, max_size=4),
    seed=st.integers(0, 10**6),
    rated=st.booleans(),
    known=st.booleans(),
)
def test_labels_and_posteriors_equal_the_enumeration(rule, sizes, seed, rated, known):
    made = AGGREGATIONS.build(rule)
    scores, offsets, labels, pairs, truths = data = draw(sizes, seed, rated=rated, known=known)
    if rated and bool(made.contradicted(offsets, labels, truths).any()):
        labels = torch.full_like(labels, torch.nan)
        data = (scores, offsets, labels, pairs, truths)
    hard, impossible = labels_given(made, *data, soft=False)
    soft, _ = labels_given(made, *data, soft=True)
    for bags in components(len(sizes), pairs):
        if len(bags) == 1:
            continue
        options = list(enumerated(*data, bags, rule))
        assert bool(impossible[bags[0]]) == (not options)
        if not options:  # what the comparisons say cannot be: each response has its own label alone
            rows = [row for bag in bags for row in range(int(offsets[bag]), int(offsets[bag + 1]))]
            alone = made.posterior(scores, offsets, labels, truths)
            torch.testing.assert_close(soft[rows], alone.squeeze(-1)[rows])
            continue
        rows = options[0][0]
        chances = {values: chance for _, values, chance in options}
        assert chances[tuple(hard[rows].long().tolist())] == pytest.approx(max(chances.values()), rel=1e-6)
        total = sum(chances.values())
        for i, row in enumerate(rows):
            expected = sum(chance for values, chance in chances.items() if values[i]) / total
            assert float(soft[row]) == pytest.approx(expected, abs=1e-6)


def test_drawn_counts_come_near_the_exact_posterior(monkeypatch):
    data = draw([4, 5, 3, 4, 6], 5)
    exact, impossible = labels_given(MEAN, *data, soft=True)
    assert not impossible.all()
    monkeypatch.setattr(preferences, "MOST_COMBINATIONS", 1)
    drawn, _ = labels_given(MEAN, *data, soft=True)
    assert not torch.equal(drawn, exact)
    torch.testing.assert_close(drawn, exact, atol=0.03, rtol=0)


def test_labels_of_a_response_in_several_pairs_are_labels_and_respect_all_of_them():
    for seed in range(40):
        sizes = [5, 7, 4, 6, 5, 3]
        scores, offsets, labels, _, truths = draw(sizes, seed)
        order = torch.randperm(6, generator=torch.Generator().manual_seed(seed)).tolist()
        pairs = torch.tensor([(order[i], order[j], 0) for i, j in itertools.combinations(range(6), 2)])
        hard, impossible = labels_given(MEAN, scores, offsets, labels, pairs, truths, soft=False)
        assert set(hard.tolist()) <= {0.0, 1.0}
        means = MEAN(hard.unsqueeze(-1), offsets).squeeze(-1)
        if not impossible.any():
            assert all(means[better] > means[worse] for better, worse, _ in pairs.tolist())


def test_comparisons_in_a_circle_say_nothing_and_are_pointed_out():
    scores, offsets, labels, _, truths = draw([2, 2, 2, 2], 0)
    circle = torch.tensor([[0, 1, 0], [1, 2, 0], [2, 0, 0]])
    hard, impossible = labels_given(MEAN, scores, offsets, labels, circle, truths, soft=False)
    assert impossible.tolist() == [True, True, True, False]
    assert torch.equal(hard, (scores.squeeze(-1) > 0.5).double())
    ties, impossible = labels_given(
        MEAN, scores, offsets, labels, circle * 0 + torch.tensor([0, 1, 1]), truths, soft=True
    )
    assert not impossible.any()
    torch.testing.assert_close(ties, scores.squeeze(-1))
