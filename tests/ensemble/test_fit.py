"""Fitting: what is trained, blended and chosen, and by which labels."""

from __future__ import annotations

import itertools
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fractal.datasets.synthetic import make_preferences, make_responses  # noqa: E402
from fractal.encoders import ENCODERS  # noqa: E402
from fractal.encoders.embedding import embed  # noqa: E402
from fractal.ensemble.config import FitConfig  # noqa: E402
from fractal.ensemble.fit import fit_ensembles  # noqa: E402
from fractal.ensemble.initialisation import calibrated_initial_logits  # noqa: E402
from fractal.ensemble.objective import label_terms  # noqa: E402
from fractal.ensemble.result import FitResult  # noqa: E402
from fractal.ensemble.screening import FormComparison  # noqa: E402
from fractal.ensemble.self_training import SelfTraining, most_certain, pseudo_labels  # noqa: E402
from fractal.ensemble.specs import ExpertSpec  # noqa: E402
from fractal.ensemble.weighting import ensemble_weights, pair_similarity, response_cost, sentence_cost, without_common  # noqa: E402
from fractal.errors import BadSpec  # noqa: E402
from fractal.mil.aggregations import AGGREGATIONS, Aggregation  # noqa: E402
from fractal.mil.bags import Bags  # noqa: E402
from fractal.mil.segments import segment_mean  # noqa: E402
from fractal.mil.training.plan import TrainingPlan  # noqa: E402
from fractal.records import Response  # noqa: E402
from fractal.records.corpus import Corpus, gather  # noqa: E402
from fractal.scorers.sentence import SentenceScorer  # noqa: E402

PLAN = TrainingPlan(epochs=3, members=3, folds=3, hidden=(8,))
PRODUCT = AGGREGATIONS.build("product")
OFFSETS = torch.tensor([0, 2, 3, 6])


def fit(block: object, corpus: Corpus, config: FitConfig, *forms: Aggregation) -> FitResult:
    """Fit one label, under the product where no form is named."""
    return fit_ensembles(block, corpus, {"": forms or (PRODUCT,)}, config)[""]  # type: ignore[arg-type]


def corpus_of(records: list[Response]) -> tuple[object, Corpus]:
    corpus = gather([replace(record.without_labels(), label=record.label) for record in records])
    return embed(corpus.responses, ENCODERS.build("hashing(dim=32)")), corpus


@pytest.fixture(scope="module")
def summaries() -> tuple[object, Corpus]:
    return corpus_of(make_responses(60, task="summaries", seed=2))


def test_blending_drops_an_expert_that_knows_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(400, 1, generator=generator) > 0.5).float()
    knowing, guessing = 4 * truth - 2, 4 * torch.randn(400, 1, generator=generator)
    weights, _ = ensemble_weights(
        [knowing, guessing], lambda z: torch.nn.functional.binary_cross_entropy_with_logits(z, truth)
    )
    assert weights[0] > 10 * weights[1]


def test_the_cost_of_labels_does_not_mind_how_sure_the_scores_are() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(400, 1, generator=generator)
    offsets = torch.arange(0, 401, 2)
    least = logits.view(-1, 2).min(1).values
    labels = (least + torch.randn(200, generator=generator) > -0.5).float()
    bags, form = Bags.make(torch.zeros(400, 1), offsets, labels), AGGREGATIONS.build("min")
    assert response_cost(logits, bags, form) == pytest.approx(response_cost(3 * logits, bags, form), rel=0.01)
    assert response_cost(-logits, bags, form) > response_cost(logits, bags, form)


def test_scores_that_point_the_wrong_way_are_no_better_than_none() -> None:
    gold = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    bags = Bags.make(torch.zeros(6, 1), OFFSETS, targets={"gold": gold})
    nothing = sentence_cost(torch.zeros(6, 1), bags, PRODUCT)
    assert sentence_cost((1 - 2 * gold).unsqueeze(1), bags, PRODUCT) == pytest.approx(nothing, rel=1e-2)
    assert sentence_cost((2 * gold - 1).unsqueeze(1), bags, PRODUCT) < 0.5 * nothing


@pytest.mark.parametrize("soft", [True, False])
def test_guesses_agree_with_response_labels_and_never_overrule_gold(soft: bool) -> None:
    gold = torch.full((6,), torch.nan)
    gold[3] = 0.0
    bags = Bags.make(torch.zeros(6, 1), OFFSETS, torch.tensor([1.0, 0.0, torch.nan]), targets={"gold": gold})
    guesses = pseudo_labels(torch.zeros(6, 1), bags, PRODUCT, soft=soft)
    assert guesses[:2].tolist() == [1.0, 1.0]  # of a good response every sentence is good
    assert guesses[2] == 0.0  # of a bad response of one sentence, that one is bad
    assert guesses[3] == 0.0
    assert guesses[4:].isnan().all()  # nothing is known of the third response


def test_the_surest_guesses_are_those_at_either_end() -> None:
    guesses = torch.tensor([0.0, 0.1, 0.4, 0.5, 0.6, 0.9, 1.0, torch.nan])
    kept = most_certain(guesses, 4 / 7)
    assert (~kept.isnan()).tolist() == [True, True, False, False, False, True, True, False]
    assert torch.equal(most_certain(guesses, 1.0).nan_to_num(-1), guesses.nan_to_num(-1))


def test_a_round_is_kept_only_if_held_out_labels_gain(summaries: tuple[object, Corpus]) -> None:
    settings = FitConfig((ExpertSpec(("overlap", "length")),), self_training=SelfTraining(rounds=3), plan=PLAN)
    fitted = fit(*summaries, settings)
    rounds = [choice for choice in fitted.choices if "self-training" in choice.about]
    assert rounds
    for choice in rounds:
        assert (choice.taken == "after") == (choice.costs["after"] < choice.costs["before"])
    assert all(choice.taken == "after" for choice in rounds[:-1])  # the first round that does not gain is the last
    kept = fit(*summaries, replace(settings, self_training=SelfTraining(rounds=3, always=True)))
    rounds = [choice for choice in kept.choices if "self-training" in choice.about]
    assert [choice.taken for choice in rounds] == ["after"] * 3  # whatever they give


@pytest.mark.parametrize("shape", [(6, 1), (6, 3, 2)])
def test_what_a_response_has_in_common_is_its_mean(shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(without_common(logits, OFFSETS, 0.0), logits)
    half = without_common(logits, OFFSETS, 0.5)
    for start, end in itertools.pairwise(OFFSETS.tolist()):
        torch.testing.assert_close(half[start:end], logits[start:end] - 0.5 * logits[start:end].mean(0))


def test_the_likeness_of_pairs_is_the_correlation_of_their_means() -> None:
    draw = np.random.default_rng(0)
    topic = np.repeat(draw.standard_normal(300), 2)
    means = topic + draw.standard_normal(600)  # half of the variance is the pair's
    offsets, pairs = torch.arange(601), torch.arange(600).view(300, 2)
    logits = torch.from_numpy(means).float().unsqueeze(1)
    assert pair_similarity(logits, offsets, pairs) == pytest.approx(
        np.corrcoef(means[0::2], means[1::2])[0, 1], abs=0.02
    )
    strangers = torch.from_numpy(draw.standard_normal(600)).float().unsqueeze(1)
    assert pair_similarity(strangers, offsets, pairs) < 0.15
    assert pair_similarity(torch.zeros(600, 1), offsets, pairs) == 0.0


def test_sentence_labels_of_training_are_not_read_unless_given(summaries: tuple[object, Corpus]) -> None:
    block, corpus = summaries
    settings = FitConfig((ExpertSpec(("overlap", "length")),), plan=PLAN)
    plain = fit(block, corpus, settings)
    labelled = make_responses(60, task="summaries", seed=2)
    told = fit(embed(labelled, ENCODERS.build("hashing(dim=32)")), gather(labelled), settings)
    assert not torch.equal(plain.held_out, told.held_out)  # gold labels, where given, are used
    deaf = fit(embed(labelled, ENCODERS.build("hashing(dim=32)")), gather(labelled), replace(settings, gold_weight=0.0))
    assert torch.equal(plain.held_out, deaf.held_out)


def test_a_similarity_that_points_the_wrong_way_is_no_start() -> None:
    generator = np.random.default_rng(0)
    labels = torch.from_numpy((generator.random(200) > 0.5).astype(np.float32))
    bags = Bags.make(torch.zeros(200, 1), torch.arange(201), labels)
    toward = (0.5 + 0.2 * (labels.numpy() - 0.5) + 0.05 * generator.standard_normal(200)).astype(np.float32)
    assert calibrated_initial_logits(toward, bags, PRODUCT).scale > 0
    assert calibrated_initial_logits(1 - toward, bags, PRODUCT).scale == 0


def test_scores_learned_from_preferences_alone_lie_around_one_half() -> None:
    pairs = make_preferences(60, seed=4)
    corpus = gather(pairs)
    block = embed(corpus.responses, ENCODERS.build("hashing(dim=32)"))
    fitted = fit(
        block, corpus, FitConfig((ExpertSpec(("overlap", "novel_names")),), plan=PLAN), AGGREGATIONS.build("mean")
    )
    assert float(fitted.held_out.median()) == pytest.approx(0.0, abs=1e-5)


def test_settings_refuse_words_they_do_not_know() -> None:
    with pytest.raises(BadSpec, match="learn_from"):
        FitConfig((ExpertSpec(("length",)),), learn_from="dreams")
    with pytest.raises(BadSpec, match="start"):
        FitConfig((ExpertSpec(("length",)),), start="somewhere")


def test_a_sentence_label_weighs_like_a_rating_or_a_difference_however_many_there_are() -> None:
    gold = torch.tensor([1.0, 0.0, torch.nan, torch.nan, torch.nan])
    labels = torch.tensor([torch.nan, torch.nan, 0.5, torch.nan])
    pairs = torch.tensor([[0, 1, 0], [0, 1, 1], [1, 0, 0]])
    bags = Bags.make(torch.zeros(5, 1), torch.tensor([0, 2, 3, 4, 5]), labels, targets={"gold": gold}, pairs=pairs)
    assert [term.name for term in label_terms(bags, 3.0)] == ["preference", "response", "sentence"]
    assert label_terms(bags, 3.0)[-1].weight == pytest.approx(3.0 * 2 / 2)  # 2 known; 1 difference, 1 rated
    chain = replace(bags, pairs=torch.tensor([[0, 1, 0], [1, 2, 0], [0, 2, 0]]))
    assert label_terms(chain, 3.0)[-1].weight == pytest.approx(3.0 * 2 / 3)  # 2 differences, 1 rated
    everyone = replace(chain, labels=torch.tensor([0.0, 1.0, 0.5, torch.nan]))
    assert label_terms(everyone, 3.0)[-1].weight == pytest.approx(3.0 * 2 / 3)  # 3 rated: differences are known


def test_pairs_teach_nothing_of_what_both_answers_share() -> None:
    pairs = [replace(p, better=p.better.without_labels(), worse=p.worse.without_labels()) for p in make_preferences(40)]
    corpus = gather(pairs)
    block = embed(corpus.responses, ENCODERS.build("hashing(dim=32)"))

    def fitted(topic_control: bool) -> FitResult:
        plan = replace(PLAN, topic_control=topic_control)
        return fit(
            block, corpus, FitConfig((ExpertSpec(("overlap", "length")),), plan=plan), AGGREGATIONS.build("mean")
        )

    with_it, without = fitted(True), fitted(False)
    offsets, pairs_of = torch.from_numpy(block.offsets), torch.from_numpy(corpus.pairs)
    assert without.ensemble.topic_share == 0.0
    assert with_it.ensemble.topic_share == pytest.approx(pair_similarity(without.held_out, offsets, pairs_of) / 2)
    assert with_it.ensemble.topic_share > 0
    for read in (with_it, without):
        assert float(read.held_out.median()) == pytest.approx(0.0, abs=1e-5)
    apart = without.held_out - with_it.held_out  # the same for all sentences of a response
    means = segment_mean(apart, offsets).repeat_interleave(offsets.diff(), dim=0)
    torch.testing.assert_close(apart, means, rtol=0, atol=1e-5)


def test_small_models_are_trained_once_in_a_fit_that_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    compare = FormComparison.of.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(FormComparison, "of", classmethod(lambda cls, *args: runs.append(1) or compare(cls, *args)))
    scorer = SentenceScorer(encoder="hashing(dim=32)", cache=False, recipe="own", plan=PLAN)
    scorer.fit([replace(r.without_labels(), label=r.label) for r in make_responses(120, task="summaries", seed=2)])
    assert any(finding.name == "aggregation" for finding in scorer.checks_)
    assert any("small models" in choice.about for choice in scorer.choices_)
    assert len(runs) == 1


def test_five_frames_lead_from_fit_to_the_step_of_the_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    depths, step = [], torch.optim.AdamW.step

    def measured(self: torch.optim.AdamW, *args: object, **options: object) -> object:
        names = [frame.name for frame in traceback.extract_stack() if "src/fractal/" in Path(frame.filename).as_posix()]
        depths.append(names)
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", measured)
    scorer = SentenceScorer("product", encoder="hashing(dim=32)", cache=False, recipe="own", plan=PLAN)
    scorer.fit(make_responses(20, task="summaries", seed=2))
    assert depths[0][0] == "fit"
    assert len(depths[0]) <= 5
