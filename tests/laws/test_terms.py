"""The laws of every registered loss and prior."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.objectives.base import Scores
from fractal.mil.objectives.losses import LOSSES
from fractal.mil.objectives.priors import PRIORS
from support.slow_twins_terms import random_bags, random_logits, rearranged, repeated

NEEDED = {"column": "column(column='mine')"}  # a name that must be given
VARIANTS = (
    (LOSSES, "response(kind='bce')"),
    (LOSSES, "response(kind='mae')"),
    (LOSSES, "preference(kind='logit')"),
    (LOSSES, "sentence(target='teacher', kind='mse')"),
    (PRIORS, "cosine(kind='mae')"),
)
EVERY = [
    *((registry, NEEDED.get(name, name)) for registry in (LOSSES, PRIORS) for name in registry),
    *VARIANTS,
]
FORMS = ("min", "product", "mean", "max_levels(levels=3)")
sizes = st.lists(st.integers(1, 5), min_size=2, max_size=6)
seeds = st.integers(0, 10**6)
every = pytest.mark.parametrize(("registry", "spec"), EVERY, ids=[spec for _, spec in EVERY])


def cost(term, bags, logits, form="mean"):
    aggregation = AGGREGATIONS.build(form)
    if aggregation.thresholds > 1:
        logits = torch.stack([logits + shift for shift in range(aggregation.thresholds)], 1)
    return term(Scores(logits, bags.offsets, aggregation), bags)


@every
def test_text_builds_the_same_component(registry, spec):
    made = registry.build(spec)
    assert registry.build(registry.spec(made)) == made == pickle.loads(pickle.dumps(made))
    assert hash(made) == hash(registry.build(spec))
    assert registry.summary(made.name).endswith(".")


@every
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15)
@given(sizes=sizes, seed=seeds, spread=st.sampled_from((0.5, 8.0, 200.0)))
def test_a_finite_number_for_each_member_and_finite_gradients(registry, spec, form, sizes, seed, spread):
    bags = random_bags(sizes, seed, members=3)
    logits = random_logits(bags, seed, members=3, spread=spread).float().requires_grad_()
    found = cost(registry.build(spec), bags, logits, form)
    assert found.shape == (3,)
    assert bool(found.isfinite().all())
    found.sum().backward()
    assert bool(logits.grad.isfinite().all())


@every
@settings(max_examples=15)
@given(sizes=sizes, seed=seeds)
def test_members_do_not_see_each_other(registry, spec, sizes, seed):
    term, bags = registry.build(spec), random_bags(sizes, seed)
    logits = random_logits(bags, seed)
    alone = [
        cost(term, dataclasses.replace(bags, weights=bags.weights[:, m : m + 1]), logits[:, m : m + 1])
        for m in range(2)
    ]
    torch.testing.assert_close(cost(term, bags, logits), torch.cat(alone))


@every
@settings(max_examples=15)
@given(sizes=sizes, seed=seeds)
def test_the_unknown_contributes_nothing(registry, spec, sizes, seed):
    bags = random_bags(sizes, seed)
    blank = dataclasses.replace(
        bags,
        labels=torch.full_like(bags.labels, torch.nan),
        targets={name: torch.full_like(values, torch.nan) for name, values in bags.targets.items()},
        pairs=None,
    )
    logits = random_logits(bags, seed).requires_grad_()
    found = cost(registry.build(spec), blank, logits)
    if registry.build(spec).name == "correlation":  # it reads no label at all
        torch.testing.assert_close(found, cost(registry.build(spec), bags, logits))
    else:
        found.sum().backward()
        assert torch.equal(found, torch.zeros(2, dtype=found.dtype))
        assert not logits.grad.any()


@every
@settings(max_examples=15)
@given(sizes=sizes, seed=seeds)
def test_what_is_held_out_contributes_nothing(registry, spec, sizes, seed):
    bags = random_bags(sizes, seed)
    if registry.build(spec).name == "preference":  # the two responses of a pair are held out together
        weights = bags.weights.clone()
        weights[bags.pairs[:, 1]] = weights[bags.pairs[:, 0]]
        bags = dataclasses.replace(bags, weights=weights)
    logits = random_logits(bags, seed).requires_grad_()
    cost(registry.build(spec), bags, logits).sum().backward()
    held_out = (bags.weights == 0)[bags.sentence_bag]  # (sentence, member)
    assert not logits.grad[held_out].any()
    everything = dataclasses.replace(bags, weights=torch.zeros_like(bags.weights))
    assert torch.equal(cost(registry.build(spec), everything, logits), torch.zeros(2, dtype=logits.dtype))


@every
@settings(max_examples=15)
@given(sizes=sizes, seed=seeds, data=st.data())
def test_the_order_of_bags_is_irrelevant(registry, spec, sizes, seed, data):
    term, bags = registry.build(spec), random_bags(sizes, seed)
    logits = random_logits(bags, seed)
    order = data.draw(st.permutations(range(len(sizes))))
    torch.testing.assert_close(cost(term, *rearranged(bags, logits, order)), cost(term, bags, logits))


@every
@pytest.mark.parametrize("form", ["min", "mean"])
@settings(max_examples=10)
@given(sizes=sizes, seed=seeds, times=st.integers(2, 3))
def test_repeating_the_sentences_of_the_bags_changes_nothing(registry, spec, form, sizes, seed, times):
    term, bags = registry.build(spec), random_bags(sizes, seed)
    logits = random_logits(bags, seed)
    torch.testing.assert_close(
        cost(term, *repeated(bags, logits, times), form), cost(term, bags, logits, form), rtol=1e-6, atol=1e-6
    )


@every
@settings(max_examples=10)
@given(sizes=sizes, seed=seeds)
def test_gradients_are_the_finite_differences(registry, spec, sizes, seed):
    term, bags = registry.build(spec), random_bags(sizes, seed, related=True)
    logits = random_logits(bags, seed).requires_grad_()
    cost(term, bags, logits).sum().backward()
    step = 1e-6 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed), dtype=logits.dtype)
    with torch.no_grad():
        risen = (cost(term, bags, logits + step) - cost(term, bags, logits - step)).sum() / 2
    assert float((logits.grad * step).sum()) == pytest.approx(float(risen), rel=2e-3, abs=1e-10)


@every
def test_an_unknown_kind_is_refused_when_the_term_is_made(registry, spec):
    made = registry.build(spec)
    if hasattr(made, "kind"):
        with pytest.raises(ValueError, match="known are"):
            dataclasses.replace(made, kind="guess")
