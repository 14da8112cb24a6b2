"""Priors equal their twins in plain Python; pairs of sentences are compared once and never across bags."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import support.slow_twins_terms as slow
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.bags import Bags
from fractal.mil.objectives.base import Scores
from fractal.mil.objectives.priors import ColumnPrior, CorrelationPrior, CosinePrior, HybridPrior, pairwise_similarity
from support.slow_twins_terms import random_bags, random_logits

sizes = st.lists(st.integers(1, 6), min_size=1, max_size=5)
seeds = st.integers(0, 10**6)


def cost(term, bags, logits):
    return term(Scores(logits, bags.offsets, AGGREGATIONS.build("mean")), bags)


def close(found, twins):
    torch.testing.assert_close(found, torch.tensor(twins, dtype=found.dtype), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("prior", "target"),
    [(CosinePrior, "cosine"), (HybridPrior, "teacher"), (lambda kind: ColumnPrior("mine", kind=kind), "mine")],
)
@pytest.mark.parametrize("kind", ["bce", "mae", "mse"])
@settings(max_examples=10)
@given(sizes=sizes, seed=seeds)
def test_priors_that_pull_single_sentences_are_their_twins(prior, target, kind, sizes, seed):
    bags = random_bags(sizes, seed)
    logits = random_logits(bags, seed)
    goal = bags.targets[target].tolist()
    close(
        cost(prior(kind=kind), bags, logits),
        [
            slow.sentence(kind, logits[:, m].tolist(), bags.offsets.tolist(), goal, bags.weights[:, m].tolist())
            for m in range(2)
        ],
    )


@pytest.mark.parametrize("related", [True, False])
@settings(max_examples=30)
@given(sizes=sizes, seed=seeds)
def test_correlation_prior_is_its_twin(related, sizes, seed):
    bags = random_bags(sizes, seed, related=related)
    logits = random_logits(bags, seed)
    lists = bags.offsets.tolist(), bags.vectors.tolist()
    close(
        cost(CorrelationPrior(), bags, logits),
        [slow.correlation(logits[:, m].tolist(), *lists, bags.weights[:, m].tolist()) for m in range(2)],
    )


@settings(max_examples=20)
@given(sizes=sizes, seed=seeds)
def test_correlation_slopes_are_those_of_automatic_differentiation(sizes, seed):
    bags = random_bags(sizes, seed)
    s = torch.rand(sum(sizes), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    logits = torch.logit(s).requires_grad_()
    cost(CorrelationPrior(), bags, logits).sum().backward()
    plain = torch.logit(s).requires_grad_()
    total = torch.zeros(2, dtype=torch.float64)
    centred = torch.nn.functional.normalize(bags.vectors - bags.vectors.mean(1, keepdim=True), dim=1)
    for bag, (start, end) in enumerate(zip(bags.offsets[:-1].tolist(), bags.offsets[1:].tolist(), strict=True)):
        own = plain[start:end].sigmoid()
        alike = ((1 + (centred[start:end] @ centred[start:end].T).float()) / 2).double().unsqueeze(-1)
        alike = torch.where(torch.eye(end - start, dtype=torch.bool).unsqueeze(-1), 1.0, alike)
        one, two = own.unsqueeze(1), own.unsqueeze(0)
        each = ((1 - one) * (1 - two) - alike).abs() * (one * two - alike).abs()
        total = total + each.mean((0, 1)) * bags.weights[bag]
    by = bags.weights.sum(0)
    (total / torch.where(by > 0, by, 1.0)).sum().backward()
    torch.testing.assert_close(logits.grad, plain.grad, rtol=1e-4, atol=1e-6)


@settings(max_examples=20)
@given(sizes=sizes, seed=seeds)
def test_every_pair_of_sentences_of_a_bag_is_compared_once(sizes, seed):
    bags = random_bags(sizes, seed)
    found = pairwise_similarity(bags)
    bag = bags.sentence_bag.tolist()
    expected = [(i, j) for i in range(len(bag)) for j in range(i + 1, len(bag)) if bag[i] == bag[j]]
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
    rows = bags.vectors.tolist()
    close(found.similarity, [(1 + slow.pearson(rows[i], rows[j])) / 2 for i, j in expected])
    assert found.offsets.diff().tolist() == [size * (size - 1) // 2 for size in sizes]


def test_comparing_in_parts_changes_nothing(monkeypatch):
    bags = random_bags([6, 1, 5, 4])
    whole = pairwise_similarity(bags).similarity
    monkeypatch.setattr("fractal.mil.objectives.priors.PAIRS_AT_ONCE", 7)
    torch.testing.assert_close(pairwise_similarity(bags).similarity, whole)


def test_sentences_that_are_alike_are_pushed_to_agree():
    same = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0]])
    bags = Bags.make(torch.zeros(2, 1), torch.tensor([0, 2]), vectors=same)
    agree, differ = torch.tensor([[4.0], [4.0]]), torch.tensor([[4.0], [-4.0]])
    assert float(cost(CorrelationPrior(), bags, agree)) < float(cost(CorrelationPrior(), bags, differ))
    unlike = dataclasses.replace(bags, vectors=torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]))
    gap = float(cost(CorrelationPrior(), unlike, differ) - cost(CorrelationPrior(), unlike, agree))
    assert gap < float(cost(CorrelationPrior(), bags, differ) - cost(CorrelationPrior(), bags, agree))
