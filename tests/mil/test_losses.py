"""Losses equal their twins in plain Python, and pull where they should."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import support.slow_twins_terms as slow
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.bags import Bags
from fractal.mil.objectives.base import Scores
from fractal.mil.objectives.losses import PreferenceLoss, ResponseLoss, SentenceLoss
from support.slow_twins_terms import random_bags, random_logits

sizes = st.lists(st.integers(1, 5), min_size=2, max_size=6)
seeds = st.integers(0, 10**6)


def close(found, twins):
    torch.testing.assert_close(found, torch.tensor(twins, dtype=found.dtype), rtol=1e-5, atol=1e-6)


def scores(bags, logits, form="mean"):
    return Scores(logits, bags.offsets, AGGREGATIONS.build(form))


@pytest.mark.parametrize("kind", ["likelihood", "bce", "mae", "mse"])
@pytest.mark.parametrize("form", ["min", "max", "mean", "product"])
@settings(max_examples=15)
@given(sizes=sizes, seed=seeds)
def test_response_loss_is_its_twin(kind, form, sizes, seed):
    bags = random_bags(sizes, seed)
    logits = random_logits(bags, seed)
    given_lists = bags.offsets.tolist(), bags.labels.tolist()
    close(
        ResponseLoss(kind=kind)(scores(bags, logits, form), bags),
        [slow.response(kind, form, logits[:, m].tolist(), *given_lists, bags.weights[:, m].tolist()) for m in range(2)],
    )


@pytest.mark.parametrize("kind", ["bce", "mae", "mse"])
@pytest.mark.parametrize("target", ["gold", "teacher"])
@settings(max_examples=15)
@given(sizes=sizes, seed=seeds)
def test_sentence_loss_is_its_twin(kind, target, sizes, seed):
    bags = random_bags(sizes, seed)
    logits = random_logits(bags, seed)
    goal = bags.targets[target].tolist()
    close(
        SentenceLoss(target=target, kind=kind)(scores(bags, logits), bags),
        [
            slow.sentence(kind, logits[:, m].tolist(), bags.offsets.tolist(), goal, bags.weights[:, m].tolist())
            for m in range(2)
        ],
    )


@pytest.mark.parametrize("kind", ["ratio", "logit"])
@pytest.mark.parametrize("form", ["min", "mean"])
@settings(max_examples=15)
@given(sizes=sizes, seed=seeds)
def test_preference_loss_is_its_twin(kind, form, sizes, seed):
    bags = random_bags(sizes, seed)
    logits = random_logits(bags, seed)
    lists = bags.offsets.tolist(), bags.pairs.tolist()
    close(
        PreferenceLoss(kind=kind)(scores(bags, logits, form), bags),
        [slow.preference(kind, form, logits[:, m].tolist(), *lists, bags.weights[:, m].tolist()) for m in range(2)],
    )


def two_bags(tie=0, pairs=True):
    offsets = torch.tensor([0, 2, 5])
    return Bags.make(torch.zeros(5, 1), offsets, pairs=torch.tensor([[1, 0, tie]]) if pairs else None)


@pytest.mark.parametrize("kind", ["ratio", "logit"])
def test_preference_raises_the_better_and_lowers_the_worse(kind):
    bags = two_bags()
    logits = torch.randn(5, 1, generator=torch.Generator().manual_seed(0)).requires_grad_()
    PreferenceLoss(kind=kind)(scores(bags, logits), bags).sum().backward()
    assert bool((logits.grad[2:] < 0).all())
    assert bool((logits.grad[:2] > 0).all())


@pytest.mark.parametrize("kind", ["ratio", "logit"])
def test_a_preference_that_length_explains_teaches_less(kind):
    def taught(by_length):
        bags = dataclasses.replace(two_bags(), preference_offset=torch.tensor([[0.0], [by_length]]))
        logits = torch.zeros(5, 1, requires_grad=True)
        cost = PreferenceLoss(kind=kind)(scores(bags, logits), bags)
        cost.sum().backward()
        return cost.item(), logits.grad.abs().sum().item()

    cost, pull = taught(0.0)
    cost_of_longer, pull_of_longer = taught(2.0)
    assert cost_of_longer == pytest.approx(math.log1p(math.exp(-2.0)), abs=1e-5)
    assert cost_of_longer < cost
    assert pull_of_longer == pytest.approx(pull * 2 / (1 + math.exp(2.0)), rel=1e-4)


@pytest.mark.parametrize("kind", ["ratio", "logit"])
def test_a_tie_pulls_strengths_together_and_costs_log_two_when_they_are_equal(kind):
    bags = two_bags(tie=1)
    level = torch.zeros(5, 1, requires_grad=True)
    cost = PreferenceLoss(kind=kind)(scores(bags, level), bags)
    cost.sum().backward()
    close(cost.detach(), [0.6931472])
    assert not level.grad.any()
    ahead = torch.cat([torch.zeros(2, 1), torch.ones(3, 1)]).requires_grad_()
    PreferenceLoss(kind=kind)(scores(bags, ahead), bags).sum().backward()
    assert bool((ahead.grad[2:] > 0).all())


@pytest.mark.parametrize("bags", [two_bags(pairs=False), two_bags().take(torch.tensor([0]))])
def test_without_pairs_there_is_no_preference_to_learn(bags):
    logits = torch.ones(len(bags.features), 3, requires_grad=True)
    cost = PreferenceLoss()(scores(bags, logits), bags)
    cost.sum().backward()
    assert torch.equal(cost, torch.zeros(3))
    assert not logits.grad.any()


def test_a_missing_target_column_costs_nothing():
    bags = two_bags()
    assert torch.equal(SentenceLoss(target="pseudo")(scores(bags, torch.ones(5, 2)), bags), torch.zeros(2))


@pytest.mark.parametrize(("form", "rule"), [("product", min), ("noisy_or", max)])
@given(known=st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=6), label=st.sampled_from([0.0, 1.0]))
def test_a_response_label_tells_of_the_sentences_without_a_label(form, rule, known, label):
    """Against every way to label the other sentences, weighed by its chance."""
    generator = torch.Generator().manual_seed(len(known))
    logits = torch.randn(len(known), 1, generator=generator, dtype=torch.float64)
    gold = torch.tensor([math.nan if value is None else value for value in known], dtype=torch.float64)
    bags = Bags.make(torch.zeros(len(known), 1), torch.tensor([0, len(known)]), torch.tensor([label]))
    bags = bags.with_targets(gold=gold)
    chance = 0.0
    for guess in itertools.product((0.0, 1.0), repeat=len(known)):
        if all(value is None or value == own for value, own in zip(known, guess, strict=True)) and rule(guess) == label:
            open_ones = [
                torch.sigmoid(logit if own else -logit).item()
                for value, own, logit in zip(known, guess, logits[:, 0], strict=True)
                if value is None
            ]
            chance += math.prod(open_ones)
    cost = ResponseLoss(observed="gold")(Scores(logits, bags.offsets, AGGREGATIONS.build(form)), bags)
    # a label that contradicts what is known says nothing
    assert math.exp(-float(cost)) == pytest.approx(chance or 1.0, abs=2e-3)


@pytest.mark.parametrize("term", [ResponseLoss(observed="gold"), PreferenceLoss(kind="logit", observed="gold")])
@pytest.mark.parametrize("form", ["product", "noisy_or", "mean", "max_levels(levels=3)"])
def test_what_is_known_of_a_sentence_is_not_taught_again(term, form):
    aggregation = AGGREGATIONS.build(form)
    plain = Bags.make(torch.zeros(5, 1), torch.tensor([0, 2, 5]), torch.tensor([0.0, 1.0]), pairs=two_bags().pairs)
    bags = plain.with_targets(gold=torch.tensor([0.0, math.nan, math.nan, math.nan, 1.0]))
    logits = torch.zeros((5, *(aggregation.thresholds,) * (aggregation.thresholds > 1), 1), requires_grad=True)
    said = Scores(logits, bags.offsets, aggregation)
    term(said, bags).sum().backward()
    moved = logits.grad.flatten(1).abs().sum(1) > 0
    assert moved.tolist() == [False, True, True, True, False]
    unknown = plain.with_targets(gold=torch.full((5,), math.nan))
    torch.testing.assert_close(term(said, unknown), dataclasses.replace(term, observed="")(said, plain))
