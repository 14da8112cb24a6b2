"""Training: deterministic, judged by held-out response labels alone, never returned when it diverged; its listeners."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import os
import re
import traceback

import pytest
import torch

from fractal.errors import BadSpec, TrainingDiverged
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.bags import Bags
from fractal.mil.head import Head, HeadShape, pick_members
from fractal.mil.objectives.base import Scores
from fractal.mil.objectives.losses import PreferenceLoss, ResponseLoss, SentenceLoss
from fractal.mil.objectives.priors import CorrelationPrior, CosinePrior
from fractal.mil.segments import segment_min
from fractal.mil.training.callbacks import Epoch, JsonLines, at_stage, stages
from fractal.mil.training.loop import fit_head
from fractal.mil.training.plan import Objective, TrainingPlan
from fractal.mil.training.validation import held_out_logits, predict_logits, validation_folds

PLAN = TrainingPlan(epochs=12, batch_size=32, hidden=(8,), members=3, folds=3, device="cpu")


def make_bags(count=90, members=3, seed=0, pairs=False):
    """Responses that are good where all sentences are; a sentence is good where its first column is high."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 6, (count,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)])
    features = torch.randn(int(offsets[-1]), 6, generator=generator)
    gold = (features[:, 0] > -0.8).float()
    weights = torch.ones(count, members)
    for member in range(members):
        weights[member::3, member] = 0.0
    order = torch.randperm(count // 3, generator=generator) * 3  # both of a pair in one fold
    preferences = torch.stack(
        [order[::2][: len(order) // 2], order[1::2], torch.zeros(len(order) // 2, dtype=torch.long)], 1
    )
    return Bags.make(
        features,
        offsets,
        segment_min(gold, offsets),
        targets={"gold": gold, "cosine": torch.rand(len(features), generator=generator)},
        vectors=torch.randn(len(features), 5, generator=generator),
        initial_logits=torch.randn(len(features), generator=generator) * 0.1,
        pairs=preferences if pairs else None,
        weights=weights,
    )


def make_objective(*terms, form="product", **options):
    return Objective(terms or (ResponseLoss(), CosinePrior(), CorrelationPrior()), AGGREGATIONS.build(form), **options)


def states(fitted):
    return fitted.head.state_dict()


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(states(one).values(), states(two).values(), strict=True))


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    bags, objective = make_bags(), make_objective()
    first, again = (fit_head(bags, objective, PLAN) for _ in range(2))
    assert same(first, again)
    assert [e.parts for e in first.history] == [e.parts for e in again.history]
    assert not same(first, fit_head(bags, objective, dataclasses.replace(PLAN, seed=1)))


def test_the_global_random_state_is_neither_read_nor_moved():
    bags, objective = make_bags(), make_objective()
    torch.manual_seed(1)
    first, state = fit_head(bags, objective, PLAN), torch.get_rng_state()
    torch.manual_seed(2)
    assert same(first, fit_head(bags, objective, PLAN))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("form", ["min", "product", "max_levels(levels=3)"])
def test_training_learns_and_never_ends_above_its_start(form, precision):
    plan = dataclasses.replace(PLAN, precision=precision, epochs=25)
    fitted = fit_head(make_bags(), make_objective(ResponseLoss(), form=form), plan)
    before = fit_head(
        make_bags(), make_objective(ResponseLoss(), form=form), dataclasses.replace(plan, learning_rate=1e-12)
    )
    assert bool((fitted.held_out <= before.held_out + 1e-4).all())
    assert fitted.history[-1].parts["response"] < fitted.history[0].parts["response"]


def test_sentences_are_found_from_response_labels():
    bags = make_bags(count=300)
    fitted = fit_head(bags, make_objective(ResponseLoss()), dataclasses.replace(PLAN, epochs=40, learning_rate=1e-2))
    scores = held_out_logits(fitted.head, bags).squeeze(-1)
    good, bad = scores[bags.targets["gold"] == 1], scores[bags.targets["gold"] == 0]
    assert float((good[:, None] > bad[None]).float().mean()) > 0.9


def test_what_a_member_holds_out_stops_it_and_teaches_it_nothing():
    bags, objective = make_bags(members=1), make_objective(ResponseLoss())
    plan = dataclasses.replace(PLAN, members=1, patience=100)
    other = dataclasses.replace(bags, labels=torch.where(bags.weights[:, 0] == 0, 1 - bags.labels, bags.labels))
    one, two = (fit_head(each, objective, plan) for each in (bags, other))
    assert [epoch.parts for epoch in one.history] == [epoch.parts for epoch in two.history]
    assert not torch.equal(one.held_out, two.held_out)


def test_gold_labels_of_held_out_sentences_change_nothing():
    bags = make_bags()
    objective = make_objective(ResponseLoss(), SentenceLoss())
    hidden_from_all = bags.weights.clone()
    hidden_from_all[::3] = 0.0
    bags = dataclasses.replace(bags, weights=hidden_from_all)
    held_out = (bags.weights == 0).all(1)[bags.sentence_bag]
    gold = torch.where(held_out, 1 - bags.targets["gold"], bags.targets["gold"])
    assert same(fit_head(bags, objective, PLAN), fit_head(bags.with_targets(gold=gold), objective, PLAN))


def test_each_member_ends_at_its_best_epoch_by_held_out_response_labels():
    bags, objective = make_bags(), make_objective(ResponseLoss())
    heard = []
    fitted = fit_head(bags, objective, dataclasses.replace(PLAN, patience=3, learning_rate=0.05), [heard.append])
    assert list(fitted.history) == heard
    assert fitted.held_out.mean() <= min(e.held_out for e in heard) + 1e-6
    for unseen in validation_folds(bags, 3):
        logits = predict_logits(pick_members(fitted.head, unseen.members), bags, only=unseen.bags)
        cost = -objective.aggregation.log_likelihood(logits, unseen.labels.offsets, unseen.labels.labels).mean(0)
        torch.testing.assert_close(cost, fitted.held_out[list(unseen.members)])


def test_training_stops_when_no_member_has_improved_for_the_patience():
    bags, objective = make_bags(), make_objective(ResponseLoss())
    fitted = fit_head(bags, objective, dataclasses.replace(PLAN, epochs=200, patience=4, learning_rate=0.1))
    assert len(fitted.history) == max(fitted.best_epochs) + 4 < 200


def test_without_anything_held_out_the_last_epoch_is_kept():
    bags = dataclasses.replace(make_bags(), weights=torch.ones(90, 1))
    fitted = fit_head(bags, make_objective(), PLAN)
    assert set(fitted.best_epochs) == {12}
    assert bool(fitted.held_out.isnan().all())
    assert all(math.isnan(epoch.held_out) for epoch in fitted.history)


def test_preferences_are_judged_by_held_out_preferences():
    bags = make_bags(pairs=True)
    bags = dataclasses.replace(bags, labels=torch.full_like(bags.labels, torch.nan))
    plan = dataclasses.replace(PLAN, learning_rate=0.02)
    fitted = fit_head(bags, make_objective(PreferenceLoss(), form="mean"), plan)
    assert fitted.held_out.isfinite().tolist() == [True, False, False]  # all pairs are of the first fold
    assert all(math.isfinite(part) for epoch in fitted.history for part in epoch.parts.values())


def test_full_supervision_is_judged_by_the_sentence_targets_of_that_name():
    objective = make_objective(SentenceLoss(), validation_loss="gold")
    fitted = fit_head(make_bags(), objective, dataclasses.replace(PLAN, epochs=30, learning_rate=0.02))
    assert bool((fitted.held_out < 0.4).all())


def test_a_diverging_run_is_reported_and_not_returned():
    bags = make_bags()
    wild = dataclasses.replace(bags, features=bags.features.index_fill(1, torch.tensor([2]), torch.inf))
    with pytest.raises(TrainingDiverged, match="learning_rate"):
        fit_head(wild, make_objective(), PLAN)


def test_the_curriculum_holds_its_weights_between_steps():
    objective = make_objective(
        ResponseLoss(weight=1.0), CosinePrior(weight=0.4), CorrelationPrior(weight=0.2), curriculum=3
    )
    weights = [objective.weights(epoch, 12) for epoch in range(12)]
    assert weights[0] == weights[1] == weights[2] == pytest.approx((1.0, 0.4, 0.2))
    assert weights[3] == weights[4] == weights[5] == pytest.approx((1.15, 0.3, 0.15))
    assert weights[9] == pytest.approx((1.45, 0.1, 0.05))
    assert all(sum(row) == pytest.approx(1.6) for row in weights)
    assert make_objective().weights(5, 12) == (1.0, 0.1, 0.1)


def test_two_terms_of_a_name_are_told_apart():
    fitted = fit_head(make_bags(), make_objective(SentenceLoss(), SentenceLoss(target="cosine")), PLAN)
    assert list(fitted.history[0].parts) == ["sentence", "sentence 2"]


def test_predicting_in_blocks_or_for_some_bags_is_the_same(monkeypatch):
    bags = make_bags()
    head = Head(HeadShape(columns=6, members=2, from_initial=False), torch.Generator().manual_seed(0))
    whole = predict_logits(head, bags)
    monkeypatch.setattr("fractal.mil.training.validation.SENTENCES_AT_ONCE", 20)
    torch.testing.assert_close(predict_logits(head, bags), whole)
    some = torch.tensor([4, 7, 80])
    torch.testing.assert_close(predict_logits(head, bags, only=some), whole[torch.isin(bags.sentence_bag, some)])


def test_held_out_scores_come_from_the_members_that_did_not_learn_from_the_bag():
    bags = make_bags()
    weights = bags.weights.clone()
    weights[0], weights[1], weights[2] = torch.tensor([[0.0, 0, 1], [1, 1, 1], [1, 0, 1]])
    bags = dataclasses.replace(bags, weights=weights)
    head = Head(HeadShape(columns=6, members=3, from_initial=False), torch.Generator().manual_seed(0))
    logits, found = predict_logits(head, bags), held_out_logits(head, bags).squeeze(-1)
    for bag, members in ((0, [0, 1]), (1, [0, 1, 2]), (2, [1])):
        rows = bags.sentence_bag == bag
        torch.testing.assert_close(found[rows], logits[rows][:, members].mean(1))


@pytest.mark.parametrize(("responses", "batch"), [(1, 32), (1500, 32), (4800, 100), (12_288, 256), (10**6, 256)])
def test_few_responses_are_learned_in_small_batches(responses, batch):
    assert TrainingPlan().batch_of(responses) == batch
    assert TrainingPlan(batch_size=7).batch_of(responses) == 7


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"members": 0}, {"learning_rate": 0.0}, {"batch_size": -1}])
def test_an_impossible_plan_is_refused(wrong):
    with pytest.raises(ValueError, match="give"):
        TrainingPlan(**wrong)


@pytest.mark.parametrize(("wrong", "says"), [({"device": "abacus"}, "abacus"), ({"precision": "fp8"}, "fp8")])
def test_a_device_or_precision_that_there_is_not_is_refused(wrong, says):
    with pytest.raises(BadSpec, match=says):
        fit_head(make_bags(), make_objective(), dataclasses.replace(PLAN, **wrong))


@pytest.mark.parametrize("graded", [False, True])
def test_the_auc_is_the_share_of_held_out_pairs_in_order(graded):
    bags = make_bags()
    if graded:
        drawn = torch.randint(0, 5, (len(bags),), generator=torch.Generator().manual_seed(0))
        bags = dataclasses.replace(bags, labels=drawn.float() / 4)
        bags.labels[::7] = torch.nan
    plan = dataclasses.replace(PLAN, epochs=3, learning_rate=0.03)
    fitted = fit_head(bags, make_objective(ResponseLoss()), plan)
    assert set(fitted.best_epochs) == {3}  # so the heads that are returned are those of the last epoch
    scores = Scores(predict_logits(fitted.head, bags), bags.offsets, fitted.aggregation).response_logits
    areas = []
    for member in range(PLAN.members):
        apart = (bags.weights[:, member] == 0).nonzero().squeeze(1).tolist()
        pairs = [(a, b) for a in apart for b in apart if bags.labels[a] > bags.labels[b]]
        lead = [float(scores[a, member] - scores[b, member]) for a, b in pairs]
        areas.append(sum(x > 0 for x in lead) / len(lead) + sum(x == 0 for x in lead) / len(lead) / 2)
    assert fitted.history[-1].auc == pytest.approx(sum(areas) / len(areas))


def test_of_preferences_the_auc_is_the_share_put_right():
    bags = make_bags(pairs=True)
    bags.pairs[::4, 2] = 1  # a tie has no order
    part = validation_folds(bags, 3)[0]  # whose fold holds every pair
    assert part.bags[part.pairs].tolist() == bags.pairs[bags.pairs[:, 2] == 0, :2].tolist()
    told = fit_head(bags, make_objective(PreferenceLoss(kind="logit")), PLAN).history[-1].auc
    assert 0.0 <= told <= 1.0


def test_more_pairs_than_are_compared_are_drawn_from_all(monkeypatch):
    bags = make_bags(300)
    (part, *_), all_pairs = validation_folds(bags, 3), {len(one.pairs) for one in validation_folds(bags, 3)}
    monkeypatch.setattr("fractal.mil.training.validation.MOST_PAIRS", 50)
    some = validation_folds(bags, 3)[0]
    assert min(all_pairs) > 50
    assert len(some.pairs) == 50
    assert set(map(tuple, some.pairs.tolist())) <= set(map(tuple, part.pairs.tolist()))


def test_a_history_from_before_the_auc_was_kept_is_taken_up(tmp_path):
    kept = dataclasses.asdict(epoch(1))
    del kept["auc"], kept["stage"]
    assert math.isnan(Epoch(**kept).auc)


def epoch(number, epochs=3, held_out=0.5, stage=""):
    return Epoch(number, epochs, {"response": 0.7, "cosine": 0.1}, held_out, 0.4, 1000.0, 2.0, 0.8, stage)


def test_stages_are_named_from_the_outermost_inwards():
    heard = []
    for form, outer in stages(["min", "max"], str.upper):
        for _, inner in stages(["own"], str):
            for listen in at_stage(at_stage([heard.append], outer), inner):
                listen(epoch(1))
        assert form == heard[-1].stage.split()[0].lower()
    assert [one.stage for one in heard] == ["MIN (1 of 2) · own", "MAX (2 of 2) · own"]


def test_json_lines_hold_every_epoch_and_null_for_nan(tmp_path):
    with JsonLines(tmp_path / "runs" / "log.jsonl") as listener:
        listener(epoch(1, held_out=math.nan))
        listener(epoch(2))
        lines = [json.loads(line) for line in listener.path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines[0]["held_out"] is None
    assert lines[1]["parts"] == {"response": 0.7, "cosine": 0.1}
    with JsonLines(listener.path, append=False) as listener:
        listener(epoch(1))
    assert len(listener.path.read_text().splitlines()) == 1


@pytest.mark.parametrize("described", [TrainingPlan, Objective])
def test_every_field_is_described_where_help_shows_it(described):
    lines = [line.strip() for line in inspect.getdoc(described).partition("Attributes:")[2].splitlines()]
    names = [line.partition(":")[0] for line in lines if re.match(r"\w+: [\w']", line)]
    assert names == [field.name for field in dataclasses.fields(described)]


def test_from_the_fit_of_a_head_to_a_step_are_three_frames(monkeypatch):
    frames = []

    def step(self, *arguments, **options):
        names = [frame.name for frame in traceback.extract_stack() if f"fractal{os.sep}mil" in frame.filename]
        frames.append(names)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    fit_head(make_bags(), make_objective(), TrainingPlan(epochs=1, members=3))
    assert frames
    assert {tuple(names) for names in frames} == {("fit_head", "_train_epoch")}
