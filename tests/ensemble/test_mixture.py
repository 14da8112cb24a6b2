"""Scores while the direction is open: a sum of candidates on one scale, read as a response by the likeliest form."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from fractal.datasets.synthetic import make_responses
from fractal.encoders import ENCODERS
from fractal.encoders.block import EncodedBlock
from fractal.encoders.embedding import embed
from fractal.ensemble import selection
from fractal.ensemble.experts import Predictor
from fractal.ensemble.fit import fit_ensembles
from fractal.ensemble.mixture import learned_shares, mixture
from fractal.ensemble.result import FitResult
from fractal.ensemble.screening import FormComparison
from fractal.ensemble.shrinking import drawn
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Response
from fractal.records.corpus import Corpus
from fractal.scorers.aspects import AspectScorer, load_scorer
from fractal.scorers.sentence import SentenceScorer

PLAN = TrainingPlan(epochs=8, members=2, folds=2, hidden=(8,))
SHARES = {"min": 0.7, "mean": 0.3}


@cache
def fits() -> tuple[Corpus, EncodedBlock, dict[str, FitResult]]:
    """Whole fits of the same responses under a minimum and a mean."""
    scorer = SentenceScorer(encoder="hashing(dim=32)", recipe="own", plan=replace(PLAN, shrink=False), cache=False)
    corpus, config = scorer.prepare(
        [replace(r, extra={}) for r in make_responses(120, "summaries", seed=4, difficulty=0.0)]
    )
    block = embed(corpus.responses, ENCODERS.build("hashing(dim=32)"), None)
    results = {}
    for name, form in {"min": "product", "mean": "mean"}.items():
        results[name] = fit_ensembles(block, corpus, {"": (AGGREGATIONS.build(form),)}, config)[""]
        assert float(results[name].held_out.std()) > 0.01
    return corpus, block, results


def mixed(results: dict[str, FitResult], shares: dict[str, float]) -> FitResult:
    corpus, block, _ = fits()
    return mixture(results, shares, torch.from_numpy(block.offsets), torch.from_numpy(corpus.labels))


def test_scores_are_the_sum_of_all_candidates_each_on_the_scale_of_its_held_out_scores() -> None:
    _, block, results = fits()
    result = mixed(results, SHARES)
    read = Predictor(block)
    by_hand = sum(
        share
        * (results[name].ensemble.logits(read) - results[name].held_out.mean())
        / results[name].held_out.std(correction=0)
        for name, share in SHARES.items()
    )
    logits = result.ensemble.logits(read)
    assert np.corrcoef(logits.flatten(), by_hand.flatten())[0, 1] == pytest.approx(1, abs=1e-5)
    slope = ((logits - logits.mean()) * (by_hand - by_hand.mean())).sum() / (by_hand - by_hand.mean()).square().sum()
    assert float(slope) > 0
    held_out = sum(
        share * (results[name].held_out - results[name].held_out.mean()) / results[name].held_out.std(correction=0)
        for name, share in SHARES.items()
    )
    torch.testing.assert_close(result.held_out, slope * held_out + result.held_out.mean(), atol=1e-3, rtol=1e-3)
    assert str(result.ensemble.aggregation.direction) == "min"
    assert len(result.ensemble.experts) == sum(len(one.ensemble.experts) for one in results.values())


def test_a_candidate_that_learned_nothing_takes_no_part() -> None:
    _, _, results = fits()
    flat = replace(results["mean"], held_out=torch.zeros_like(results["mean"].held_out))
    assert learned_shares(results, SHARES) == pytest.approx(SHARES)
    assert learned_shares({**results, "mean": flat}, SHARES) == {"min": 1.0}
    assert learned_shares({**results, "min": flat}, SHARES) == {"mean": 1.0}
    assert learned_shares({"min": flat, "mean": flat}, SHARES) == {"min": 1.0}


def test_a_mixture_is_drawn_to_the_mean_by_what_each_candidate_asks_for_by_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus, block, results = fits()
    offsets, labels = torch.from_numpy(block.offsets), torch.from_numpy(corpus.labels)
    plain = mixed(results, SHARES)
    asked = {id(results["min"]): 0.5, id(results["mean"]): 0.25}
    monkeypatch.setattr("fractal.ensemble.mixture.asked_share", lambda result, *_: (asked[id(result)], {}))
    result = mixture(results, SHARES, offsets, labels, shrink=True)
    share = 0.7 * 0.5 + 0.3 * 0.25
    assert result.choices[-1].taken == f"{share:.2f}"
    inside = drawn(plain.held_out, offsets, share)
    assert np.corrcoef(result.held_out.flatten(), inside.flatten())[0, 1] == pytest.approx(1, abs=1e-5)
    whole = result.ensemble.logits(Predictor(block)).mean(-1)
    by_hand = drawn(plain.ensemble.logits(Predictor(block)).mean(-1, keepdim=True), offsets, share)
    assert np.corrcoef(whole, by_hand.flatten())[0, 1] == pytest.approx(1, abs=1e-5)


def test_a_candidate_that_is_surer_does_not_count_more() -> None:
    _, _, results = fits()
    louder = replace(results["min"], held_out=results["min"].held_out * 5 + 2)
    one, other = mixed(results, SHARES), mixed({**results, "min": louder}, SHARES)
    torch.testing.assert_close(one.held_out, other.held_out, atol=1e-3, rtol=1e-3)


def test_two_candidates_that_agree_keep_their_order() -> None:
    _, _, results = fits()
    same = {"min": results["mean"], "mean": results["mean"]}
    assert torch.equal(mixed(same, SHARES).held_out.argsort(0), results["mean"].held_out.argsort(0))


def tossed(count: int = 160) -> list[Response]:
    """Responses whose labels tell nothing, so that the direction stays open."""
    rng = np.random.default_rng(3)
    texts = [f"It has {rng.integers(99)} rooms." for _ in range(count)]
    return [
        Response.from_sentences(str(n), [text, "It opened late."], label=float(n % 2)) for n, text in enumerate(texts)
    ]


def test_an_open_scorer_is_saved_and_scores_the_same_again_and_tries_no_prior(tmp_path: Path) -> None:
    options = {"encoder": "hashing(dim=16)", "recipe": "own", "plan": PLAN, "cache": False}
    scorer = SentenceScorer(priors="auto", **options).fit(tossed())
    about = {choice.about: choice for choice in scorer.choices_}
    assert "The direction is open" in about["aggregation"].why
    assert "by its share" in about["share of the response's mean"].why
    priors = [choice for name, choice in about.items() if name.startswith("prior ")]
    assert priors
    assert not any(choice.costs for choice in priors)
    again = SentenceScorer.from_pretrained(scorer.save_pretrained(tmp_path / "scorer"))
    for one, other in zip(scorer.score_responses(tossed()), again.score_responses(tossed()), strict=True):
        assert one.sentence_scores == other.sentence_scores
        assert one.response_score == other.response_score
        assert 0 <= one.response_score <= 1


def test_while_the_direction_is_open_no_form_that_knows_the_order_takes_the_place_of_the_mixture() -> None:
    options = {"encoder": "hashing(dim=16)", "recipe": "own", "plan": PLAN, "cache": False}
    scorer = SentenceScorer(splitter="steps", **options).fit(tossed())
    about = {choice.about: choice for choice in scorer.choices_}
    assert "The direction is open" in about["aggregation"].why
    assert not any(name.startswith("order of steps") for name in about)
    assert about["aggregation"].taken == AGGREGATIONS.spec(scorer.ensemble_.aggregation)


def test_of_several_aspects_an_open_one_takes_the_likeliest_form_and_says_so(tmp_path: Path) -> None:
    plain = SentenceScorer(encoder="hashing(dim=16)", recipe="own", plan=PLAN, cache=False)
    rated = [
        dataclasses.replace(r, label=None, aspects={"odd": r.label or 0.0, "stated": r.label or 0.0}) for r in tossed()
    ]
    scorer = AspectScorer({"odd": "auto", "stated": "product"}, plain).fit(rated)
    choice = next(choice for choice in scorer.scorers_["odd"].choices_ if choice.about == "aggregation")
    assert choice.taken == scorer.scorers_["odd"].aggregation_ != "mean"
    assert f"scored by {scorer.scorers_['odd'].direction_} 100%" in choice.why
    again = load_scorer(scorer.save_pretrained(tmp_path / "scorer"))
    np.testing.assert_array_equal(scorer.predict(rated), again.predict(rated))


@pytest.mark.parametrize(("members", "folds", "judged"), [(1, 3, 1 / 3), (2, 2, 1.0), (2, 1, 1.0)])
def test_fits_are_compared_by_labels_that_some_member_held_out(
    monkeypatch: pytest.MonkeyPatch, members: int, folds: int, judged: float
) -> None:
    compared: list[np.ndarray] = []
    compare = selection.held_out_comparison

    def listening(results: dict[str, FitResult], corpus: Corpus, ratings: np.ndarray, seed: int) -> FormComparison:
        compared.append(ratings)
        return compare(results, corpus, ratings, seed)

    monkeypatch.setattr(selection, "held_out_comparison", listening)
    plan = TrainingPlan(epochs=2, members=members, folds=folds, hidden=(8,))
    rated = [replace(response, extra={}) for response in make_responses(60, "summaries", seed=4)]
    scorer = SentenceScorer(encoder="hashing(dim=32)", recipe="own", plan=plan, cache=False).fit(rated)
    assert (~np.isnan(compared[0])).mean() == pytest.approx(judged, abs=0.1)
    (choice,) = [choice for choice in scorer.choices_ if choice.about == "aggregation"]
    assert ("compared on labels that they learned" in choice.why) == (folds == 1)
