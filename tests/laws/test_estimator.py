"""What scikit-learn, and anyone who saves a scorer, may rely on."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score  # noqa: E402

from fractal.datasets.synthetic import make_responses  # noqa: E402
from fractal.ensemble.experts import Predictor  # noqa: E402
from fractal.errors import BadData, BadFolder, NotFitted  # noqa: E402
from fractal.mil.training.plan import TrainingPlan  # noqa: E402
from fractal.records import Response  # noqa: E402
from fractal.scorers.sentence import SentenceScorer  # noqa: E402

PLAN = TrainingPlan(epochs=3, members=3, folds=3, hidden=(8,))


def bare(responses: list[Response]) -> list[Response]:
    return [replace(r.without_labels(), label=r.label) for r in responses]


def small(**options: object) -> SentenceScorer:
    return SentenceScorer(
        **{"aggregation": "product", "encoder": "hashing(dim=32)", "cache": False, "plan": PLAN, **options}
    )


@pytest.fixture(scope="module")
def responses() -> list[Response]:
    return bare(make_responses(80, task="summaries", seed=1))


@pytest.fixture(scope="module")
def fitted(responses: list[Response]) -> SentenceScorer:
    return small().fit(responses)


def flat(scorer: SentenceScorer, responses: list[Response]) -> np.ndarray:
    return np.array([score for one in scorer.score_responses(responses) for score in one.sentence_scores])


def test_a_clone_is_unfitted_and_has_the_same_options(fitted: SentenceScorer) -> None:
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFitted, match="call fit"):
        copy.score_responses([])


def test_fitting_twice_is_fitting_once(fitted: SentenceScorer, responses: list[Response]) -> None:
    again = small()
    again.fit(responses[:60])
    again.fit(responses)
    assert np.array_equal(flat(again, responses), flat(fitted, responses))


def test_a_response_score_is_the_mean_of_what_members_say_calibrated(
    fitted: SentenceScorer, responses: list[Response]
) -> None:
    """The curve was learned from single members; the mean of their log-odds is surer or less sure than any of them."""
    block = fitted.embed(responses)
    logits = fitted.ensemble_.logits(Predictor(block))
    offsets = torch.from_numpy(block.offsets)
    members = [fitted.ensemble_.aggregation.from_logits(logits[:, [m]], offsets)[:, 0] for m in range(PLAN.members)]
    assert fitted.calibrator_ is not None
    expected = np.mean([fitted.calibrator_(member.sigmoid().double().numpy()) for member in members], axis=0)
    assert fitted.predict(responses) == pytest.approx(expected, abs=1e-6)
    unlabelled = [response.without_labels() for response in make_responses(20, task="summaries", seed=9)]
    both = fitted.disaggregate(unlabelled), fitted.score_responses(unlabelled)
    assert [one.response_score for one in both[0]] == pytest.approx([one.response_score for one in both[1]], abs=1e-6)


def test_another_seed_is_another_scorer(fitted: SentenceScorer, responses: list[Response]) -> None:
    other = small(plan=replace(PLAN, seed=1)).fit(responses)
    assert not np.array_equal(flat(other, responses), flat(fitted, responses))


def test_saved_and_pickled_scorers_give_the_same_scores(
    fitted: SentenceScorer, responses: list[Response], tmp_path: Path
) -> None:
    expected = flat(fitted, responses)
    fitted.save_pretrained(tmp_path / "scorer")
    loaded = SentenceScorer.from_pretrained(tmp_path / "scorer")
    loaded.cache = False
    assert np.array_equal(flat(loaded, responses), expected)
    assert loaded.choices_ == fitted.choices_
    assert np.array_equal(flat(pickle.loads(pickle.dumps(fitted)), responses), expected)
    card = (tmp_path / "scorer" / "README.md").read_text()
    assert "80" in card
    assert "hashing(dim=32)" in card


def test_a_loaded_scorer_labels_as_the_fitted_one(
    fitted: SentenceScorer, responses: list[Response], tmp_path: Path
) -> None:
    fitted.save_pretrained(tmp_path / "scorer")
    loaded = SentenceScorer.from_pretrained(tmp_path / "scorer")
    loaded.cache = False
    assert loaded.disaggregate(responses) == fitted.disaggregate(responses)


@pytest.mark.parametrize("name", ["config.json", "head.safetensors"])
@pytest.mark.parametrize("harm", ["missing", "cut", "altered"])
def test_a_harmed_folder_says_what_is_wrong(fitted: SentenceScorer, tmp_path: Path, name: str, harm: str) -> None:
    folder = fitted.save_pretrained(tmp_path / "scorer")
    path = folder / name
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if harm == "cut" else content.replace(b"a", b"b", 40))
    with pytest.raises(BadFolder, match=name.partition(".")[0]):
        SentenceScorer.from_pretrained(folder)


def test_a_folder_that_is_nowhere_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadFolder, match="no folder"):
        SentenceScorer.from_pretrained(tmp_path / "nothing")


def test_saving_spares_a_folder_of_other_files(fitted: SentenceScorer, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BadFolder, match="holds other files"):
        fitted.save_pretrained(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_batch_mates_do_not_matter(fitted: SentenceScorer, responses: list[Response]) -> None:
    together = fitted.score_responses(responses[:9])
    for response, scored in zip(responses[:9], together, strict=True):
        alone = fitted.score_responses([response])[0]
        assert alone.sentence_scores == pytest.approx(scored.sentence_scores, abs=1e-5)
        assert alone.response_score == pytest.approx(scored.response_score, abs=1e-5)


def test_scores_do_not_read_labels(fitted: SentenceScorer, responses: list[Response]) -> None:
    hidden = [response.without_labels() for response in responses]
    assert np.array_equal(flat(fitted, hidden), flat(fitted, responses))


def test_it_searches_grids_and_cross_validates(responses: list[Response]) -> None:
    groups = [response.split_group for response in responses]
    plan = replace(PLAN, epochs=1)
    grid = {"plan__learning_rate": [1e-3, 1e-2]}
    search = GridSearchCV(small(plan=plan, recipe="own"), grid, cv=GroupKFold(2)).fit(responses, groups=groups)
    assert search.best_params_["plan__learning_rate"] in (1e-3, 1e-2)
    found = cross_val_score(small(plan=plan, recipe="own"), responses, groups=groups, cv=GroupKFold(2))
    assert ((found >= 0) & (found <= 1)).all()


def test_hard_labels_agree_with_every_response_label(fitted: SentenceScorer, responses: list[Response]) -> None:
    for response, scored in zip(responses, fitted.disaggregate(responses), strict=True):
        assert min(scored.sentence_labels) == response.label
        assert scored.response_score == response.label


def test_sentences_of_a_good_response_are_good(fitted: SentenceScorer, responses: list[Response]) -> None:
    good = [response for response in responses if response.label == 1]
    assert all(score == 1.0 for scored in fitted.disaggregate(good) for score in scored.sentence_scores)


def test_no_response_is_labelled_by_a_head_that_learned_from_it(
    fitted: SentenceScorer, responses: list[Response]
) -> None:
    shares = fitted.held_out_index_.shares(responses, 3)
    assert np.allclose(shares.sum(1), 1)
    assert ((shares > 0).sum(1) == 1).all()  # three members, three folds: one member has not seen each response
    strangers = bare(make_responses(5, task="summaries", seed=99))
    assert np.allclose(fitted.held_out_index_.shares(strangers, 3), 1 / 3)


def test_new_raw_text_is_scored(fitted: SentenceScorer) -> None:
    scored = fitted.score_text("The mill opened in 1901. It has nine floors.", context=["The mill opened in 1901."])
    assert len(scored.sentence_scores) == 2
    assert len(scored.sentence_spread) == 2
    with pytest.raises(BadData, match="empty"):
        fitted.score_text("   ")


def test_another_encoder_is_told_of(fitted: SentenceScorer, responses: list[Response]) -> None:
    other = pickle.loads(pickle.dumps(fitted))
    other.encoder_fingerprint_ = "hashing-of-old"
    with pytest.warns(UserWarning, match="hashing-of-old"):
        other.score_responses(responses[:1])


def test_a_notebook_shows_scorers_and_scores(fitted: SentenceScorer, responses: list[Response]) -> None:
    assert "product" in fitted._repr_html_()
    assert "not fitted" in small()._repr_html_()
    scored = fitted.score_responses(responses[:1])[0]
    assert responses[0].sentences[0].text.split()[0] in scored._repr_html_()


@pytest.mark.parametrize("label", [0.0, 1.0, None])
def test_labels_that_teach_nothing_are_refused(responses: list[Response], label: float | None) -> None:
    with pytest.raises(BadData, match=r"labels are|nothing can be learned"):
        small().fit([replace(response, label=label) for response in responses])
