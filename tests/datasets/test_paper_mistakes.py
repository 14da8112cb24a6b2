"""One test for each mistake of the released code that concerns the method; each fails under the mistaken rule."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.tensors import sentence_targets
from fractal.errors import BadData
from fractal.evaluation.folds import deal_folds
from fractal.evaluation.metrics import METRICS
from fractal.features import prior_similarity
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.bags import Bags
from fractal.mil.objectives.base import Scores
from fractal.mil.objectives.losses import PreferenceLoss, ResponseLoss, SentenceLoss
from fractal.mil.objectives.priors import CorrelationPrior, CosinePrior
from fractal.mil.training.loop import fit_head
from fractal.mil.training.plan import Objective, TrainingPlan
from fractal.records import Preference, Response
from fractal.records.corpus import gather


def bags_of(sizes, **fields):
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    return Bags.make(torch.zeros(sum(sizes), 1), offsets, **fields)


def cost(term, bags, logits, form):
    return term(Scores(logits, bags.offsets, AGGREGATIONS.build(form)), bags)


def gradient(term, bags, logits, form):
    logits = logits.clone().requires_grad_()
    cost(term, bags, logits, form).sum().backward()
    return logits.grad


def encoded(responses, sentences, chunks, chunk_offsets):
    sizes = np.cumsum([0, *(len(r.sentences) for r in responses)])
    rows = np.asarray(sentences, dtype=np.float32)
    return EncodedBlock(
        responses=tuple(responses),
        offsets=sizes.astype(np.int64),
        sentences=rows,
        queries=np.zeros((len(responses), rows.shape[1]), np.float32),
        chunks=np.asarray(chunks, dtype=np.float32),
        chunk_offsets=np.asarray(chunk_offsets, dtype=np.int64),
        late=np.zeros((len(rows), 10), np.float32),
    )


def test_mistake_1_a_sentence_does_not_get_the_labels_of_the_first():
    one = Response.from_sentences("1", ["Good.", "Bad.", "Bad."], labels=[1.0, 0.0, 0.0])
    two = Response.from_sentences("2", ["Bad.", "Good."], labels=[0.0, 1.0])
    block = encoded([one, two], np.eye(5), np.zeros((0, 5)), [0, 0, 0])
    assert sentence_targets(block)["gold"].tolist() == [1, 0, 0, 0, 1]
    assert one.text[one.sentences[2].start : one.sentences[2].end] == "Bad."


def test_mistake_2_the_cosine_target_rises_with_the_nearest_chunk():
    response = Response.from_sentences("1", ["Near.", "Far."], context=("Near.", "Elsewhere."))
    near, elsewhere = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    block = encoded([response], [near, [0.0, 0.0, 1.0]], [near, elsewhere], [0, 2])
    target = prior_similarity(block)
    assert target.tolist() == pytest.approx([1.0, 0.5])  # of the chunks the nearest, not the least similar one
    bags = bags_of([2], targets={"cosine": torch.from_numpy(target)})
    slope = gradient(CosinePrior(), bags, torch.zeros(2, 1), "min")
    assert float(slope[0]) < 0  # minus the slope raises the score of the near sentence
    assert float(slope[1]) == pytest.approx(0.0)


def test_mistake_3_one_perfect_sentence_among_seven_irrelevant_makes_the_response_perfect():
    form = AGGREGATIONS.build("max_levels(levels=4)")
    # of at most c, does it have level c? for c = 1, 2, 3
    irrelevant, perfect = [-8.0, -8.0, -8.0], [0.0, 0.0, 3.5]
    logits = torch.tensor([irrelevant] * 7 + [perfect]).unsqueeze(-1)
    chance = form.log_likelihood(logits, torch.tensor([0, 8]), torch.tensor([1.0])).exp()
    exact = 1 - (1 - 1 / (1 + math.exp(8.0))) ** 7 * (1 - 1 / (1 + math.exp(-3.5)))
    assert float(chance) == pytest.approx(exact, abs=1e-4)
    assert exact > 0.95
    assert float(form.log_likelihood(logits, torch.tensor([0, 8]), torch.tensor([0.0])).exp()) < 0.05


def test_mistake_4_priors_reach_level_heads_and_the_sentence_loss_every_bag():
    generator = torch.Generator().manual_seed(0)
    bags = bags_of(
        [3, 2, 4],
        targets={"cosine": torch.rand(9, generator=generator), "gold": torch.ones(9)},
        vectors=torch.randn(9, 4, generator=generator),
    )
    logits = torch.randn(9, 3, 1, generator=generator)
    for term in (CosinePrior(), CorrelationPrior(), SentenceLoss()):
        assert bool((gradient(term, bags, logits, "max_levels(levels=4)") != 0).all())


@pytest.mark.parametrize("form", ["min", "product", "softmin", "geometric_mean"])
def test_mistake_5_a_small_bad_response_teaches_as_well(form):
    logits = torch.tensor([[1.0], [2.0]])
    for size in (1, 2):
        bags = bags_of([size], labels=torch.tensor([0.0]))
        slope = gradient(ResponseLoss(), bags, logits[:size], form)
        assert float(slope[0]) > 0.1
        score = AGGREGATIONS.build(form)(logits[:size].sigmoid(), bags.offsets)
        assert 0 < float(score) < 1


@pytest.mark.parametrize("form", list(AGGREGATIONS))
def test_mistake_6_longer_neighbours_do_not_take_part(form):
    made = AGGREGATIONS.build(form)
    generator = torch.Generator().manual_seed(0)
    shape = (9, 1) if made.thresholds == 1 else (9, made.thresholds, 1)
    logits = torch.randn(shape, generator=generator)
    together = made.response_scores(logits, torch.tensor([0, 2, 9]))[0]
    alone = made.response_scores(logits[:2], torch.tensor([0, 2]))[0]
    torch.testing.assert_close(together, alone)


def test_mistake_7_a_rating_of_minus_one_never_enters_the_loss():
    with pytest.raises(BadData, match=r"a label lies in \[0, 1\]"):
        bags_of([1, 1], labels=torch.tensor([-1.0, 1.0]))


def test_mistake_8_the_curriculum_holds_its_weights_in_every_epoch():
    objective = Objective((ResponseLoss(), CosinePrior(weight=0.5)), AGGREGATIONS.build("min"), curriculum=5)
    bag, prior = zip(*(objective.weights(epoch, 20) for epoch in range(20)), strict=True)
    assert prior == pytest.approx([0.5] * 5 + [0.375] * 5 + [0.25] * 5 + [0.125] * 5)
    assert [b + p for b, p in zip(bag, prior, strict=True)] == pytest.approx([1.5] * 20)


@pytest.mark.parametrize("kind", ["ratio", "logit"])
def test_mistake_9_a_preference_raises_the_winner(kind):
    bags = bags_of([2, 2], pairs=torch.tensor([[1, 0, 0]]))
    logits = torch.zeros(4, 1)
    slope = gradient(PreferenceLoss(kind=kind), bags, logits, "mean").squeeze(1)
    assert bool((slope[2:] < 0).all())
    assert bool((slope[:2] > 0).all())
    after = cost(PreferenceLoss(kind=kind), bags, logits - slope.unsqueeze(1), "mean")
    assert float(after) < float(cost(PreferenceLoss(kind=kind), bags, logits, "mean"))


@pytest.mark.parametrize(
    ("form", "extreme"), [("max_levels(levels=4)", torch.amax), ("min_levels(levels=4)", torch.amin)]
)
def test_mistake_10_level_guesses_keep_to_the_level_of_the_response(form, extreme):
    made = AGGREGATIONS.build(form)
    logits = torch.randn(60, 3, 1, generator=torch.Generator().manual_seed(0)) * 3
    offsets = torch.arange(0, 61, 3)
    labels = (torch.arange(20) % 4) / 3
    guesses = made.most_likely_labels(made.probabilities(logits), offsets, labels)
    levels = guesses.sum(1) if guesses.dim() == 3 else guesses * 3
    found = extreme(levels.reshape(20, 3), dim=1)
    torch.testing.assert_close(found.float(), (labels * 3).float())


def test_mistake_11_what_shares_a_question_is_never_torn_apart():
    asked = [
        Response.from_sentences(str(i), [f"Answer {i}."], query=f"Question {i // 3}?", label=i % 2) for i in range(60)
    ]
    dealt = deal_folds(gather(asked).groups, gather(asked).labels, 5)
    assert all(len({dealt[i], dealt[i + 1], dealt[i + 2]}) == 1 for i in range(0, 60, 3))
    tied = gather([Preference(asked[0], asked[3]), *asked])
    assert tied.groups[0] == tied.groups[1]


def test_mistake_15_a_perfect_but_saturated_ranking_is_perfect():
    truth = np.array([0.0, 0.0, 1.0, 1.0])
    scores = np.array([0.999990, 0.999991, 0.999992, 0.999993])
    assert METRICS.build("roc_auc")(truth, scores) == 1.0


def test_mistake_15_the_best_state_is_the_one_that_is_kept():
    generator = torch.Generator().manual_seed(0)
    bags = dataclasses.replace(
        bags_of([2] * 60, labels=(torch.rand(60, generator=generator) < 0.5).float()),
        features=torch.randn(120, 4, generator=generator),
        weights=(torch.arange(60) % 3 > 0).float().unsqueeze(1),
    )
    plan = TrainingPlan(epochs=40, learning_rate=0.1, members=1, patience=40, hidden=(16,), device="cpu")
    fitted = fit_head(bags, Objective((ResponseLoss(),), AGGREGATIONS.build("product")), plan)
    assert float(fitted.held_out) < fitted.history[-1].held_out - 0.05  # labels are noise: it ends far above its best
    assert fitted.best_epochs[0] < 40
