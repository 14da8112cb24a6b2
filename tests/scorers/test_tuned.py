"""A scorer with a tuned encoder: its share, its guard, its folder."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fractal import AspectScorer, SentenceScorer, load_scorer
from fractal.errors import BadFolder, BadSpec
from fractal.finetuning.plan import TuningPlan
from fractal.mil.training.plan import TrainingPlan
from fractal.scorers import tuned as tuned_module
from fractal.scorers.runtime import NeedsTorch, load_runtime
from fractal.scorers.tuned import harmless_share, joined_by, most_share, tuning_plan, within_correlation
from support.tuning_models import reviews, tiny_model

PLAN = TrainingPlan(epochs=8, members=3, folds=3)


@pytest.fixture(scope="module")
def tuning(tmp_path_factory):
    folder = tiny_model(tmp_path_factory.mktemp("bert"))
    return TuningPlan(
        str(folder), epochs=6, min_steps=4, batch_size=8, encoder_rate=1e-3, device="cpu", precision="fp32"
    )


def rated(count, seed=0):
    return [dataclasses.replace(r.without_labels(), label=r.label) for r in reviews(count, seed)]


def scorer_of(tune, **options):
    return SentenceScorer("product", "sentence", "hashing", plan=PLAN, tune=tune, cache=False, **options)


@pytest.fixture(scope="module")
def fitted(tuning):
    return scorer_of(tuning).fit(rated(90))


@pytest.fixture
def folder(fitted, tmp_path):
    return fitted.save_pretrained(tmp_path / "scorer")


def test_a_fit_says_how_the_encoder_read_and_what_share_it_has(fitted):
    choices = {choice.about.split()[0]: choice for choice in fitted.choices_}
    assert choices["tuned"].taken == "with"
    assert set(choices["tuned"].costs) == {"with", "without", "alone"}
    assert "share" in choices["tuned"].why
    assert choices["reading"].taken == "both"
    assert any(np.isnan(epoch.held_out) for epoch in fitted.history_)  # fixed epochs: nothing stops a tuning early


def test_a_saved_scorer_gives_the_same_scores_and_labels(fitted, folder):
    new = [r.without_labels() for r in reviews(12, seed=3)]
    again = load_scorer(folder, cache=False)
    for one, other in zip(fitted.score_responses(new), again.score_responses(new), strict=True):
        assert np.allclose(one.sentence_scores, other.sentence_scores, atol=1e-5)
    for one, other in zip(fitted.disaggregate(rated(12)), again.disaggregate(rated(12)), strict=True):
        assert one.sentence_labels == other.sentence_labels


def test_numpy_alone_does_not_score_it(folder):
    with pytest.raises(NeedsTorch, match="tuned encoder"):
        load_runtime(folder)


def test_other_ways_of_scoring_take_torch_for_it(folder):
    pytest.importorskip("pyarrow")
    from fractal.engine.ray import _Batches

    assert _Batches(str(folder)).scorer.splitter == "sentences"


def test_a_scorer_of_aspects_says_that_it_tunes_no_encoder(tuning):
    rows = [dataclasses.replace(r, label=None, aspects={"good": r.label}) for r in rated(6)]
    with pytest.raises(BadSpec, match="tunes no encoder"):
        AspectScorer({"good": "product"}, scorer_of(tuning)).fit(rows)


def test_the_encoder_is_a_plain_model_of_transformers(folder):
    from transformers import AutoModel, AutoTokenizer

    assert AutoModel.from_pretrained(folder / "tuned" / "0").config.model_type == "bert"
    assert AutoTokenizer.from_pretrained(folder / "tuned" / "0")("the soup")["input_ids"]


@pytest.mark.parametrize("name", ["tuned/0/model.safetensors", "tuned/0/heads.safetensors", "tuned/tuned.json"])
def test_an_altered_file_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(BadFolder, match="altered"):
        load_scorer(folder)


def test_a_missing_file_and_a_strange_one_are_refused(folder):
    (folder / "tuned" / "0" / "added_tokens.json").write_text("{}")
    with pytest.raises(BadFolder, match="was not written with"):
        load_scorer(folder)
    (folder / "tuned" / "0" / "added_tokens.json").unlink()
    (folder / "tuned" / "0" / "config.json").unlink()
    with pytest.raises(BadFolder, match="cannot be read"):
        load_scorer(folder)


def test_a_training_response_is_labelled_without_the_encoder_that_learned_from_it(fitted):
    from fractal.ensemble.experts import Ensemble, Predictor

    block = fitted.embed(rated(20))
    known = fitted.held_out_index_.knows(block.responses)
    assert known.all()
    logits = fitted.ensemble_.labelling_logits(Predictor(block), known)
    frozen = Ensemble.logits(fitted.ensemble_, Predictor(block))
    assert torch.equal(logits[:, 1:], frozen[:, 1:])  # one encoder was tuned: member 0's
    assert not torch.allclose(logits[:, :1], frozen[:, :1])


def test_an_encoder_whose_order_inside_responses_is_unlike_is_left_out_and_said_so(tuning, monkeypatch):
    true_tune = tuned_module.tune

    def shortcut(responses, *args, **kwargs):
        """Knows every response's label, and nothing of its sentences."""
        result = true_tune(responses, *args, **kwargs)
        noise = torch.Generator().manual_seed(0)
        known = torch.tensor([4.0 * r.label - 2.0 for r in responses for _ in r.sentences])
        logits = (known + torch.randn(len(known), generator=noise)).unsqueeze(-1)
        return dataclasses.replace(result, held_out=torch.where(result.held_out.isnan(), torch.nan, logits))

    monkeypatch.setattr(tuned_module, "tune", shortcut)
    scorer = scorer_of(dataclasses.replace(tuning, epochs=1)).fit(rated(60))
    choice = next(choice for choice in scorer.choices_ if choice.about.startswith("tuned"))
    assert choice.taken == "without"
    assert "left out" in choice.why
    assert choice.costs["alone"] < choice.costs["without"]  # by response labels it is the better one
    assert not scorer.ensemble_.files()


def test_the_share_grows_with_the_correlation():
    assert [most_share(1.0, x) for x in (-1.0, 0.5, 0.625, 0.75, 1.0)] == [0.0, 0.0, 0.25, 0.5, 0.5]
    assert [most_share(scale, 1.0) for scale in (-1.0, 0.0)] == [0.0, 0.0]


@given(st.floats(-2, 2), st.floats(-2, 2), st.sampled_from([0.0, 0.2, 0.5]))
def test_a_share_is_the_largest_at_which_held_out_labels_cost_no_more(slope: float, bend: float, most: float) -> None:
    def cost_at(share: float) -> float:
        return slope * share + bend * share**2

    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    share = harmless_share(zero, one, lambda joined: cost_at(float(joined)), most)
    assert cost_at(share) <= cost_at(0.0)
    larger = [most * tenths / 10 for tenths in range(11) if most * tenths / 10 > share]
    assert all(cost_at(other) > cost_at(0.0) for other in larger)


def test_what_an_encoder_did_not_hold_out_is_left_to_the_others():
    own = torch.tensor([4.0, torch.nan])
    assert joined_by(0.25, torch.tensor([0.0, 2.0]), own).tolist() == [1.0, 2.0]


def test_within_correlation_is_that_of_values_less_their_response_mean():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 9))
    second[4] = np.nan
    offsets = [0, 3, 5, 9]
    parts = []
    for a, b in itertools.pairwise(offsets):
        if not np.isnan(second[a:b]).any():
            parts.append(np.stack([first[a:b] - first[a:b].mean(), second[a:b] - second[a:b].mean()]))
    x, y = np.concatenate(parts, axis=1)
    expected = (x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())
    found = within_correlation(torch.tensor(first)[:, None], torch.tensor(second)[:, None], torch.tensor(offsets))
    assert found == pytest.approx(expected)


def test_tune_is_read_from_a_name_with_options():
    assert tuning_plan("minilm(members=5, reading='own')", 3) == TuningPlan("minilm", reading="own", members=5, seed=3)
    assert tuning_plan("team/model", 0).encoder == "team/model"
    with pytest.raises(BadSpec, match="Known: encoder"):
        tuning_plan("minilm(colour=1)", 0)
    with pytest.raises(BadSpec, match="reading"):
        SentenceScorer(tune="minilm(reading='sideways')").fit(rated(4))


def test_a_model_that_is_not_there_is_said(tuning):
    with pytest.raises(BadSpec, match="cannot be loaded"):
        scorer_of(dataclasses.replace(tuning, encoder="/nowhere")).fit(rated(12))
