"""With few ratings similarity counts beside the experts and weights are trusted less; with enough, nothing changes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from fractal.datasets.synthetic import make_preferences, make_responses
from fractal.ensemble import few_ratings
from fractal.ensemble.few_ratings import (
    RIDGE,
    SIMILARITY,
    SLOPE,
    SPREAD,
    fitted_lines,
    shrinkage_of,
    target_weights,
)
from fractal.ensemble.specs import RESPONSE_EXPERTS
from fractal.ensemble.weighting import SHRINKAGE, ensemble_weights
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.bags import Bags
from fractal.mil.training.plan import TrainingPlan
from fractal.scorers.sentence import SentenceScorer
from support.saved_scorers import scores_alike_when_read_again

PLAN = TrainingPlan(epochs=3, members=2, folds=2, hidden=(8,))
OPTIONS = {"encoder": "hashing(dim=32)", "cache": False}


def world(count: int, slope: float, seed: int = 0) -> tuple[torch.Tensor, Bags]:
    """Standardised similarities, and bags that are good if every sentence is, each by the chance σ(slope · z + 1)."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, count)
    values = rng.normal(size=sizes.sum())
    good = rng.random(len(values)) < 1 / (1 + np.exp(-slope * values - 1))
    offsets = np.concatenate([[0], sizes.cumsum()])
    labels = torch.from_numpy(np.minimum.reduceat(good, offsets[:-1]).astype(np.float32))
    weights = torch.ones(count, 2)
    weights[::3, 1] = 0
    bags = Bags.make(torch.zeros(len(values), 1), torch.from_numpy(offsets), labels, weights=weights)
    return torch.from_numpy(values).float(), bags


@settings(max_examples=20)
@given(ratings=st.integers(0, 2000), similar=st.booleans())
def test_expected_weights_add_to_one_and_similarity_counts_as_so_many_ratings(ratings, similar):
    experts = (*RESPONSE_EXPERTS, SIMILARITY) if similar else RESPONSE_EXPERTS
    weights = target_weights(experts, ratings)
    assert math.fsum(weights) == pytest.approx(1)
    assert len(set(weights[:4])) == 1
    if similar:
        assert weights[-1] / sum(weights[:-1]) == pytest.approx(few_ratings.WORTH / ratings if ratings else math.inf)


def test_weights_are_drawn_more_to_what_is_expected_the_fewer_ratings_there_are() -> None:
    assert shrinkage_of(few_ratings.ENOUGH) == shrinkage_of(10**6) == SHRINKAGE
    assert shrinkage_of(50) == pytest.approx(SHRINKAGE * few_ratings.ENOUGH / 50)
    truth = (torch.rand(60, 1, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    parts = [4 * truth - 2, 2 - 4 * truth]

    def cost(logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)

    far = [
        abs(ensemble_weights(parts, cost, (0.3, 0.7), shrinkage)[0][0] - 0.3) for shrinkage in (0.0001, 0.02, 1, 100)
    ]
    assert far == sorted(far, reverse=True)
    assert far[-1] < 0.01


@pytest.mark.parametrize("form", ["product", "noisy_or", "mean"])
def test_the_line_is_the_likeliest_by_another_solver_on_what_each_member_sees(form: str) -> None:
    values, bags = world(60, 1.0)
    slopes, heights = fitted_lines(values, bags, AGGREGATIONS.build(form))
    cut = bags.offsets.tolist()
    for member in range(2):
        seen = [b for b in range(len(bags)) if bags.weights[b, member] > 0]

        def cost(line: np.ndarray, seen: list[int] = seen) -> float:
            total = 0.0
            for b in seen:
                scores = 1 / (1 + np.exp(-(values[cut[b] : cut[b + 1]].numpy().astype(float) * line[0] + line[1])))
                chance = {"product": scores.prod(), "noisy_or": 1 - (1 - scores).prod(), "mean": scores.mean()}[form]
                total -= math.log(chance if bags.labels[b] == 1 else 1 - chance)
            return total / len(seen) + (line[0] - SLOPE) ** 2 / (2 * SPREAD**2 * len(seen)) + RIDGE * line[1] ** 2

        best = minimize(cost, np.array([SLOPE, 0.0]), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10}).x
        assert slopes[member].item() == pytest.approx(max(best[0], 0), abs=2e-2)
        assert heights[member].item() == pytest.approx(best[1], abs=2e-2)


def test_belief_stands_with_few_ratings_and_many_overrule_it() -> None:
    form = AGGREGATIONS.build("product")
    values, none = world(4, 0.0)
    none = replace(none, labels=torch.full_like(none.labels, torch.nan))
    assert fitted_lines(values, none, form)[0].tolist() == pytest.approx([SLOPE, SLOPE], abs=1e-3)
    few, many = (fitted_lines(*world(count, -2.0, seed=3), form)[0] for count in (1, 400))
    assert float(few.min()) > SLOPE / 2
    assert many.tolist() == [0, 0], "labels that say the opposite leave it no slope"


def test_few_ratings_have_the_expert_which_is_saved_and_read_without_torch(tmp_path: Path) -> None:
    rated = make_responses(60, "summaries", seed=2)
    scorer = SentenceScorer("product", plan=PLAN, **OPTIONS).fit(rated)
    assert len(scorer.ensemble_.experts) == 5
    assert "cosine feature" in next(c.taken for c in scorer.choices_ if c.about == "ensemble weights")
    scores_alike_when_read_again(scorer, rated, tmp_path / "scorer")


def test_enough_ratings_give_the_bits_of_a_fit_without_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    rated = make_responses(60, "summaries", seed=2)
    without = SentenceScorer("product", plan=replace(PLAN, few_ratings=False), **OPTIONS).fit(rated)
    monkeypatch.setattr(few_ratings, "ENOUGH", 40)
    enough = SentenceScorer("product", plan=PLAN, **OPTIONS).fit(rated)
    assert len(enough.ensemble_.experts) == 4
    for one, other in zip(enough.score_responses(rated), without.score_responses(rated), strict=True):
        assert one.sentence_scores == other.sentence_scores


@pytest.mark.parametrize("what", ["nothing to compare with", "preferences", "supervised", "one recipe"])
def test_no_expert_where_similarity_says_nothing_or_nobody_weighs(what: str) -> None:
    rated = make_preferences(30, seed=1) if what == "preferences" else make_responses(40, "summaries", seed=1)
    if what == "nothing to compare with":
        rated = [replace(response, query="", context=()) for response in rated]
    options = {"learn_from": "sentences" if what == "supervised" else "responses", **OPTIONS}
    options |= {"recipe": "own"} if what == "one recipe" else {}
    form = "mean" if what == "preferences" else "product"
    scorer = SentenceScorer(form, plan=replace(PLAN, epochs=1), **options).fit(rated)
    assert not any(expert.initial.scale for expert in scorer.ensemble_.experts)
