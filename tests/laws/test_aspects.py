"""What anyone may rely on who learns several labels of a response at once."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402
from sklearn.model_selection import cross_val_score  # noqa: E402

from fractal.datasets.synthetic import make_responses  # noqa: E402
from fractal.ensemble import experts  # noqa: E402
from fractal.ensemble.self_training import SelfTraining  # noqa: E402
from fractal.errors import BadData, BadFolder, BadSpec, NotFitted  # noqa: E402
from fractal.evaluation import evaluate  # noqa: E402
from fractal.evaluation.findings import Finding  # noqa: E402
from fractal.mil.training.callbacks import Epoch  # noqa: E402
from fractal.mil.training.plan import TrainingPlan  # noqa: E402
from fractal.records import Preference, Response, ScoredResponse  # noqa: E402
from fractal.scorers import sentence as estimator  # noqa: E402
from fractal.scorers.aspects import AspectScorer, load_scorer  # noqa: E402
from fractal.scorers.sentence import SentenceScorer  # noqa: E402

SMALL = TrainingPlan(epochs=3, members=3, folds=3, hidden=(8,))
RULES = {"sound": "product", "wrong": "mean"}


def small(plan: TrainingPlan = SMALL, **options: object) -> SentenceScorer:
    return SentenceScorer(**{"encoder": "hashing(dim=32)", "cache": False, "plan": plan, **options})


def rated(count: int, seed: int) -> list[Response]:
    """Responses with two labels: sound where every sentence is true, wrong by the share of untrue ones."""
    made = []
    for response in make_responses(count, task="summaries", seed=seed):
        truths = [float(sentence.label or 0.0) for sentence in response.sentences]
        labels = {"sound": min(truths), "wrong": 1 - sum(truths) / len(truths)}
        made.append(replace(response.without_labels(), aspects=labels, extra={}))
    return made


def untrue(count: int, seed: int) -> np.ndarray:
    return np.array([1 - s.label for r in make_responses(count, task="summaries", seed=seed) for s in r.sentences])


def of(aspect: str, scored: Sequence[ScoredResponse]) -> np.ndarray:
    return np.array([score for one in scored if one.aspect == aspect for score in one.sentence_scores])


@pytest.fixture(scope="module")
def responses() -> list[Response]:
    return rated(80, seed=1)


@pytest.fixture(scope="module")
def fitted(responses: list[Response]) -> AspectScorer:
    return AspectScorer(RULES, small()).fit(responses)


def test_opposite_truths_are_told_apart() -> None:
    plain = SentenceScorer(encoder="hashing(dim=32)", cache=False, plan=TrainingPlan(epochs=15))
    scorer = AspectScorer(RULES, plain).fit(rated(250, seed=1))
    scored, truth = scorer.score_responses(rated(100, seed=2)), untrue(100, seed=2)
    assert roc_auc_score(truth, of("wrong", scored)) > 0.8
    assert roc_auc_score(1 - truth, of("sound", scored)) > 0.8
    assert scorer.score(rated(100, seed=2)) > 0.7


@pytest.mark.parametrize("form", ["product", "mean", "auto"])
def test_one_aspect_learns_what_the_plain_scorer_learns(responses: list[Response], form: str) -> None:
    alone = AspectScorer({"sound": form}, small()).fit(responses)
    plain = small(aggregation=form).fit([replace(r, label=r.aspects["sound"], aspects={}) for r in responses])
    assert alone.aggregation_ == {"sound": plain.aggregation_}
    found = of("sound", alone.score_responses(responses))
    assert np.array_equal(found, of("", plain.score_responses(responses)))


def test_aspects_with_missing_labels_learn_from_those_there_are() -> None:
    scorer = SentenceScorer(encoder="hashing(dim=32)", cache=False, recipe="own")
    whole = rated(300, seed=1)
    parts = [("sound",), ("wrong",), ("sound", "wrong"), ()]
    some = [replace(r, aspects={name: r.aspects[name] for name in parts[number % 4]}) for number, r in enumerate(whole)]
    found = AspectScorer(RULES, scorer).fit(some)
    assert found.data_["sound: labelled responses"] == found.data_["wrong: labelled responses"] == 150
    scored, truth = found.score_responses(rated(100, seed=2)), untrue(100, seed=2)
    assert roc_auc_score(truth, of("wrong", scored)) > 0.75
    assert roc_auc_score(1 - truth, of("sound", scored)) > 0.75


def test_every_response_has_one_record_an_aspect(fitted: AspectScorer, responses: list[Response]) -> None:
    scored = fitted.score_responses(responses[:3])
    assert [(one.response, one.aspect) for one in scored] == [(r, name) for r in responses[:3] for name in RULES]
    assert fitted.predict(responses[:3]).shape == (3, 2)
    assert fitted.predict([]).shape == (0, 2)
    assert {one.aspect for one in fitted.score_text("It opened in 1901. It has nine floors.")} == set(RULES)


def test_an_aspect_alone_is_an_ordinary_scorer(fitted: AspectScorer, responses: list[Response], tmp_path: Path) -> None:
    scored = fitted.score_responses(responses)
    for name, scorer in fitted.scorers_.items():
        assert np.array_equal(of("", scorer.score_responses(responses)), of(name, scored))
        loaded = load_scorer(scorer.save_pretrained(tmp_path / name), cache=False)
        assert isinstance(loaded, SentenceScorer)
        assert np.array_equal(of("", loaded.score_responses(responses)), of(name, scored))


def test_saved_and_pickled_scorers_give_the_same(
    fitted: AspectScorer, responses: list[Response], tmp_path: Path
) -> None:
    folder = fitted.save_pretrained(tmp_path / "scorer")
    loaded = load_scorer(folder, cache=False)
    assert isinstance(loaded, AspectScorer)
    for other in (loaded, pickle.loads(pickle.dumps(fitted))):
        assert other.score_responses(responses) == fitted.score_responses(responses)
        assert other.disaggregate(responses) == fitted.disaggregate(responses)
        assert (other.metrics_, other.choices_) == (fitted.metrics_, fitted.choices_)
        assert [found.sentence for found in other.checks_] == [found.sentence for found in fitted.checks_]
    card = (folder / "README.md").read_text()
    assert card.count("### sound") == card.count("### wrong") == 4
    assert "AspectScorer.from_pretrained" in card


def test_shared_heads_are_kept_and_saved_once(fitted: AspectScorer, tmp_path: Path) -> None:
    heads = [{expert.head for expert in scorer.ensemble_.experts} for scorer in fitted.scorers_.values()]
    assert len(heads[0] & heads[1]) == 2  # of vectors and of all columns; under a minimum and a mean others differ
    loaded = AspectScorer.from_pretrained(fitted.save_pretrained(tmp_path / "scorer"))
    assert len({expert.head for scorer in loaded.scorers_.values() for expert in scorer.ensemble_.experts}) == 8
    shared = AspectScorer({"sound": "product", "wrong": "noisy_or"}, small(recipe="own"))
    shared.fit([replace(r, aspects={**r.aspects, "wrong": 1 - r.aspects["sound"]}) for r in rated(40, seed=1)])
    one, other = (scorer.ensemble_.experts[0].head for scorer in shared.scorers_.values())
    assert one is other
    assert one.shape.thresholds == 2


def test_texts_are_encoded_once_columns_laid_once_and_every_head_runs_once(
    fitted: AspectScorer, responses: list[Response], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = []

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        return lambda *args, **options: calls.append(name) or function(*args, **options)

    monkeypatch.setattr(estimator, "embed_by_workers", counted("embed", estimator.embed_by_workers))
    monkeypatch.setattr(experts, "steady_logits", counted("head", experts.steady_logits))
    monkeypatch.setattr(experts, "build_bags", counted("lay", experts.build_bags))
    for scorer in (fitted, load_scorer(fitted.save_pretrained(tmp_path / "scorer"), cache=False)):
        calls.clear()
        scorer.score_responses(responses)
        # four experts an aspect, of which they share two; those with a hidden layer and without read the same columns;
        # and with few ratings one of similarity an aspect, whose columns are the same
        assert sorted(calls) == ["embed", *["head"] * 8, *["lay"] * 5]


def test_each_kind_of_folder_says_who_reads_it(fitted: AspectScorer, tmp_path: Path) -> None:
    folder = fitted.save_pretrained(tmp_path / "scorer")
    with pytest.raises(BadFolder, match=r"AspectScorer\.from_pretrained"):
        SentenceScorer.from_pretrained(folder)
    with pytest.raises(BadFolder, match=r"SentenceScorer\.from_pretrained"):
        AspectScorer.from_pretrained(fitted.scorers_["sound"].save_pretrained(tmp_path / "plain"))


@pytest.mark.parametrize("training", ["response", "response sound"], ids=["choosing a rule", "all together"])
def test_the_same_data_give_the_same_scorer_after_a_kill_too(
    responses: list[Response], tmp_path: Path, training: str
) -> None:
    rules = {"sound": "auto", "wrong": "auto"}
    binary = [replace(r, aspects={**r.aspects, "wrong": round(r.aspects["wrong"])}) for r in responses]
    expected = AspectScorer(rules, small(recipe="own")).fit(binary).score_responses(responses)

    def stop(epoch: Epoch) -> None:
        if training in epoch.parts and epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        AspectScorer(rules, small(recipe="own")).fit(binary, callbacks=[stop], checkpoints=tmp_path)
    assert list(tmp_path.rglob("*.safetensors"))
    again = AspectScorer(rules, small(recipe="own")).fit(binary, checkpoints=tmp_path)
    assert again.score_responses(responses) == expected


@settings(max_examples=10)
@given(data=st.data())
def test_neither_batch_mates_nor_labels_matter(
    fitted: AspectScorer, responses: list[Response], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(responses[:20]), min_size=1, max_size=6, unique_by=lambda r: r.id))
    together = {(one.response.id, one.aspect): one for one in fitted.score_responses(responses[:20])}
    for one in fitted.score_responses([response.without_labels() for response in chosen]):
        alone = together[one.response.id, one.aspect]
        assert one.sentence_scores == pytest.approx(alone.sentence_scores, abs=1e-5)
        assert one.response_score == pytest.approx(alone.response_score, abs=1e-5)


def test_hard_labels_agree_with_the_label_of_their_aspect(fitted: AspectScorer, responses: list[Response]) -> None:
    for one in fitted.disaggregate(responses):
        wanted = one.response.aspects[one.aspect]
        assert one.response_score == pytest.approx(wanted)
        found = min(one.sentence_labels) if one.aspect == "sound" else np.mean(one.sentence_labels)
        assert found == pytest.approx(wanted)
        assert one.response.aspects.keys() == RULES.keys()


def test_an_unknown_label_leaves_the_scores_of_its_aspect(fitted: AspectScorer, responses: list[Response]) -> None:
    some = [replace(r, aspects={"wrong": r.aspects["wrong"]}) for r in rated(10, seed=9)]
    told, scored = fitted.disaggregate(some), fitted.score_responses(some)
    assert of("sound", told) == pytest.approx(of("sound", scored))
    assert not np.allclose(of("wrong", told), of("wrong", scored))


def test_auto_takes_every_aspect_and_the_rule_that_explains_it(responses: list[Response]) -> None:
    scorer = AspectScorer(scorer=small(recipe="own", plan=replace(SMALL, epochs=15))).fit(rated(200, seed=1))
    assert list(scorer.scorers_) == ["sound", "wrong"]
    assert scorer.aggregation_["wrong"] == "mean"  # of shares of 1 nothing else is tried
    screened, *fitted = (choice for choice in scorer.choices_ if choice.about.startswith("sound: aggregation"))
    assert set(screened.costs) == {"product", "noisy_or", "mean"}
    assert scorer.aggregation_["sound"] in screened.taken.split(" or ")
    for choice in fitted:
        assert choice.taken == scorer.aggregation_["sound"] == min(choice.costs, key=choice.costs.__getitem__)


def test_levels_and_the_whole_label_are_aspects_too(responses: list[Response]) -> None:
    rounded = [
        replace(r, label=r.aspects["sound"], aspects={"grade": round(2 * (1 - r.aspects["wrong"])) / 2})
        for r in responses
    ]
    scorer = AspectScorer({"": "product", "grade": "min_levels(levels=3)"}, small(recipe="own")).fit(rounded)
    assert [one.aspect for one in scorer.score_responses(rounded[:1])] == ["", "grade"]
    levels = {label for one in scorer.disaggregate(rounded) if one.aspect for label in one.sentence_labels}
    assert levels <= {0.0, 0.5, 1.0}
    assert "whole response: labelled responses" in scorer.data_
    assert 0 <= evaluate(scorer.stream(rounded), "response_mae", aspect="grade", bootstrap=0)["response_mae"].value <= 1


def test_it_is_a_scikit_learn_estimator(fitted: AspectScorer, responses: list[Response]) -> None:
    copy = clone(fitted)
    assert copy.get_params()["scorer__plan__epochs"] == 3
    copy.set_params(scorer__plan__epochs=1, scorer__recipe="own")
    assert copy.scorer.plan.epochs == 1
    with pytest.raises(NotFitted, match="call fit"):
        copy.score_responses([])
    assert (cross_val_score(copy, responses, cv=2) >= 0).all()
    assert "wrong: aggregation" in fitted._repr_html_()
    assert "not fitted" in copy._repr_html_()


def test_checks_and_history_name_their_aspect(fitted: AspectScorer) -> None:
    assert all(isinstance(found, Finding) and found.name.split(": ")[0] in RULES for found in fitted.checks_)
    parts = {name for epoch in fitted.history_ for name in epoch.parts}
    assert parts == {"response sound", "response wrong"}
    assert len(fitted.history_) == 18  # six heads of three epochs, the two shared ones told once


@pytest.mark.parametrize(
    ("scorer", "wrong"),
    [
        (AspectScorer({}, small()), "every aspect its rule"),
        (AspectScorer("product", small()), "every aspect its rule"),
        (AspectScorer(RULES, small(self_training=SelfTraining(rounds=1))), "self_training"),
        (AspectScorer(RULES, small(start="auto")), "start"),
        (AspectScorer(RULES, small(learn_from="sentences")), "learn_from"),
    ],
)
def test_what_cannot_be_learned_together_is_refused(
    responses: list[Response], scorer: AspectScorer, wrong: str
) -> None:
    with pytest.raises(BadSpec, match=wrong):
        scorer.fit(responses)


def test_labels_that_teach_nothing_are_refused_by_name(responses: list[Response]) -> None:
    with pytest.raises(BadData, match="aspect 'kind'; the aspects here are: 'sound', 'wrong'"):
        AspectScorer({"sound": "product", "kind": "mean"}, small()).fit(responses)
    with pytest.raises(BadData, match="no response has a label of this aspect"):
        AspectScorer({"": "product"}, small()).fit(responses)
    same = [replace(r, aspects={"sound": 1.0}) for r in responses]
    with pytest.raises(BadData, match=r"aspects\.sound.*all 80 labels are 1"):
        AspectScorer({"sound": "product"}, small()).fit(same)
    with pytest.raises(BadData, match="any aspect; the aspects here are: none"):
        AspectScorer(scorer=small()).fit([r.without_labels() for r in responses])
    with pytest.raises(BadData, match="not from preferences"):
        AspectScorer(RULES, small()).fit([Preference(responses[0], responses[1])])
