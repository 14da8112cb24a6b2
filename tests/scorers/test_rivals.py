"""Rivals as baselines: they find bad sentences, prefixes look back alone, and what each adds adds up."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fractal.datasets.synthetic import make_responses
from fractal.evaluation.metrics import METRICS
from fractal.mil.bags import Bags
from fractal.scorers.baselines import BASELINES
from fractal.scorers.baselines.label_shift import domains_of, factorised, first_shares
from fractal.scorers.baselines.networks import perceptron
from fractal.scorers.baselines.prefix_values import prefix_rows, steps_of

RIVALS = (
    *("prefix_value", "prefix_ranking", "first_error_hazard", "softmax_pooling", "top_k", "buffer_class"),
    *("positive_unlabelled", "label_shift"),
)
OFFSETS = torch.tensor([0, 3, 4, 9])


def roc_auc_of(name: str, task: str, aggregation: str) -> float:
    """Return how well the sentences of new responses are told apart by what is learned from labels of responses."""
    train, test = (make_responses(n, task, seed=s, difficulty=0.0) for n, s in ((200, 1), (80, 2)))
    baseline = BASELINES[name](aggregation=aggregation, encoder="hashing(dim=32)", cache=False).fit(train)
    scored = baseline.score_responses([response.without_labels() for response in test])
    truth = np.array([sentence.label for response in test for sentence in response.sentences], dtype=float)
    scores = np.array([score for item in scored for score in item.sentence_scores])
    return METRICS.build("roc_auc")(truth, scores)


@pytest.mark.parametrize("name", RIVALS)
def test_it_finds_bad_sentences_from_labels_of_responses(name):
    assert roc_auc_of(name, "summaries", "product") > 0.7


@pytest.mark.parametrize("name", [name for name in RIVALS if not name.startswith("prefix")])
def test_under_a_maximum_it_finds_what_is_there(name):
    assert roc_auc_of(name, "retrieval", "noisy_or") > 0.7


def test_a_prefix_is_its_last_sentence_and_the_mean_up_to_it():
    features = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    rows = prefix_rows(Bags.make(features, OFFSETS))
    for first, last in zip(OFFSETS[:-1].tolist(), OFFSETS[1:].tolist(), strict=True):
        for place in range(first, last):
            expected = torch.cat([features[place], features[first : place + 1].mean(0)])
            assert torch.allclose(rows[place], expected, atol=1e-6)


def test_what_sentences_add_adds_up_to_the_value_of_the_whole():
    values = torch.randn(9, generator=torch.Generator().manual_seed(1))
    steps = steps_of(values, OFFSETS, torch.tensor(0.3))
    for first, last in zip(OFFSETS[:-1].tolist(), OFFSETS[1:].tolist(), strict=True):
        assert float(steps[first:last].sum()) == pytest.approx(float(values[last - 1]) - 0.3, abs=1e-6)


def test_later_sentences_do_not_change_the_value_of_earlier_ones():
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(9, 4, generator=generator)
    network = perceptron((8, 16, 1), generator)
    other = features.clone()
    other[2], other[6:] = 5.0, -5.0
    before, after = (network(prefix_rows(Bags.make(rows, OFFSETS))).squeeze(-1) for rows in (features, other))
    assert torch.allclose(before[[0, 1, 3, 4, 5]], after[[0, 1, 3, 4, 5]])
    assert not torch.allclose(before[[2, 6]], after[[2, 6]])


@pytest.mark.parametrize("direction", ["min", "max", "mean"])
def test_latent_classes_that_domains_mix_are_recovered(direction):
    random = np.random.default_rng(0)
    of_class = np.zeros((10, 2))
    of_class[:6, 0], of_class[4:, 1] = random.dirichlet(np.ones(6)), random.dirichlet(np.ones(6))  # each has its own
    bad = {"min": [0.4, 0.2, 0.0, 0.0], "max": [1.0, 1.0, 0.8, 0.6], "mean": [0.9, 0.7, 0.3, 0.2]}[direction]
    planted = np.stack([bad, 1 - np.array(bad)])
    counts = of_class @ planted * np.array([1e5, 2e5, 1e5, 3e5])
    shares = factorised(counts, first_shares(np.array([False, False, True, True]), direction))
    assert np.allclose(shares.sum(0), 1)
    assert shares == pytest.approx(planted, abs=0.03)  # domains of one class and cells of one class pin both
    lasting = first_shares(np.array([False, False, True, True]), direction) == 0
    assert (shares[lasting] == 0).all()


def test_domains_are_good_and_bad_responses_short_and_long_ones():
    labels, sizes = np.array([0.0, 0.0, 1.0, 1.0, np.nan, 0.0]), np.array([2, 9, 2, 9, 5, 3])
    domains, good = domains_of(labels, sizes, 2, "min")
    assert np.isnan(domains[4])
    assert domains[[0, 1, 2, 3, 5]].tolist() == [0, 1, 2, 3, 0]
    assert good.tolist() == [False, False, True, True]
    alike, sides = domains_of(labels, np.full(6, 3), 2, "max")
    assert (sides.tolist(), np.nanmax(alike)) == ([False, True], 1)
