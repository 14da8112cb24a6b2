"""Heads that aspects share: each aspect sees its own outputs, its own labels and its own rule, and nothing else."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from fractal.mil.aggregations import AGGREGATIONS  # noqa: E402
from fractal.mil.bags import Bags  # noqa: E402
from fractal.mil.objectives.aspects import AspectTerm, MeanTerm, MultiAspect, held_out_by_aspect  # noqa: E402
from fractal.mil.objectives.base import Scores  # noqa: E402
from fractal.mil.objectives.losses import ResponseLoss  # noqa: E402
from fractal.mil.objectives.priors import CosinePrior  # noqa: E402
from fractal.mil.outputs import read_outputs  # noqa: E402
from fractal.mil.training.loop import fit_head  # noqa: E402
from fractal.mil.training.plan import Objective, TrainingPlan  # noqa: E402

MEMBERS = 3
FORMS = ("product", "mean", "noisy_or", "max_levels(levels=3)", "min_levels(levels=4)")
forms = st.lists(st.sampled_from(FORMS), min_size=1, max_size=4)
sizes = st.lists(st.integers(1, 4), min_size=3, max_size=6)
seeds = st.integers(0, 10**6)


def joint_of(specs):
    return MultiAspect.of([(f"a{place}", place, AGGREGATIONS.build(spec)) for place, spec in enumerate(specs)])


def bags_of(sizes, aspects, seed, known=0.7):
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    labels = torch.randint(0, 2, (len(sizes), aspects), generator=generator).float()
    labels[torch.rand(labels.shape, generator=generator) > known] = torch.nan
    features = torch.randn(int(offsets[-1]), 4, generator=generator)
    similarity = torch.rand(len(features), generator=generator)
    bags = Bags.make(features, offsets, targets={"cosine": similarity}, weights=torch.ones(len(sizes), MEMBERS))
    return dataclasses.replace(bags, labels=labels)


def logits_of(bags, outputs, seed):
    shape = (len(bags.features), MEMBERS) if outputs == 1 else (len(bags.features), outputs, MEMBERS)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)


@settings(max_examples=30)
@given(specs=forms, sizes=sizes, seed=seeds)
def test_side_by_side_every_rule_gives_what_it_gives_alone(specs, sizes, seed):
    joint, bags = joint_of(specs), bags_of(sizes, len(specs), seed)
    logits = logits_of(bags, joint.thresholds, seed).view(len(bags.features), joint.thresholds, MEMBERS)
    assert joint.thresholds == sum(aspect.aggregation.thresholds for aspect in joint.aspects)
    found, scores = (
        joint.from_logits(logits, bags.offsets),
        joint.pair(logits.sigmoid(), (-logits).sigmoid(), bags.offsets),
    )
    for aspect in joint.aspects:
        own = slice(*aspect.outputs)
        assert torch.allclose(found[:, own], aspect.aggregation.from_logits(logits[:, own], bags.offsets))
        alone = aspect.aggregation.pair(logits[:, own].sigmoid(), (-logits[:, own]).sigmoid(), bags.offsets)
        assert all(torch.allclose(whole[:, own], part) for whole, part in zip(scores, alone, strict=True))


@settings(max_examples=30)
@given(specs=forms, sizes=sizes, seed=seeds, term=st.sampled_from((ResponseLoss(), CosinePrior())))
def test_a_term_of_an_aspect_is_the_term_alone(specs, sizes, seed, term):
    joint, bags = joint_of(specs), bags_of(sizes, len(specs), seed)
    logits = logits_of(bags, joint.thresholds, seed)
    for place, aspect in enumerate(joint.aspects):
        own = dataclasses.replace(bags, labels=bags.labels[:, place])
        alone = term(Scores(read_outputs(logits, aspect.outputs), bags.offsets, aspect.aggregation), own)
        wrapped = AspectTerm.of(term, aspect)
        assert torch.equal(wrapped(Scores(logits, bags.offsets, joint), bags), alone)
        assert (wrapped.weight, wrapped.name) == (term.weight, f"{term.name} a{place}")


@settings(max_examples=30)
@given(specs=forms, sizes=sizes, seed=seeds)
def test_outputs_of_an_aspect_learn_from_its_known_labels_alone(specs, sizes, seed):
    joint, bags = joint_of(specs), bags_of(sizes, len(specs), seed, known=0.5)
    logits = logits_of(bags, joint.thresholds, seed).requires_grad_()
    held_out_by_aspect(joint.aspects)(Scores(logits, bags.offsets, joint), bags).sum().backward()
    slopes = logits.grad.view(len(bags.features), joint.thresholds, MEMBERS)
    for place, aspect in enumerate(joint.aspects):
        unknown = bags.labels[:, place].isnan()[bags.sentence_bag]
        moved = slopes[:, slice(*aspect.outputs)].abs().sum((1, 2)) > 0
        assert not moved[unknown].any()
        assert moved[~unknown].any() == (~unknown).any()


def test_every_aspect_counts_alike_when_a_training_is_judged():
    joint = joint_of(("product", "mean"))
    bags = bags_of([2, 2, 2, 2], 2, 0, known=1.0)
    bags.labels[1:, 1] = torch.nan  # one label of the second aspect weighs as much as four of the first
    scores = Scores(logits_of(bags, 2, 0), bags.offsets, joint)
    each = [AspectTerm.of(ResponseLoss(), aspect)(scores, bags) for aspect in joint.aspects]
    assert torch.allclose(held_out_by_aspect(joint.aspects)(scores, bags), (each[0] + each[1]) / 2)
    assert torch.equal(MeanTerm((AspectTerm.of(ResponseLoss(), joint.aspects[1]),))(scores, bags), each[1])


def test_one_head_learns_opposite_truths():
    generator = torch.Generator().manual_seed(0)
    count = 300
    offsets = torch.arange(0, 3 * count + 1, 3)
    features = torch.randn(3 * count, 4, generator=generator)
    good = (features[:, 0] > -0.8).float().view(-1, 3)
    labels = torch.stack([good.min(1).values, (1 - good).mean(1)], 1)
    labels[::3, 0], labels[1::3, 1] = torch.nan, torch.nan
    weights = torch.ones(count, MEMBERS)
    for member in range(MEMBERS):
        weights[member::MEMBERS, member] = 0.0
    bags = dataclasses.replace(Bags.make(features, offsets, weights=weights), labels=labels)
    joint = joint_of(("product", "mean"))
    terms = tuple(AspectTerm.of(ResponseLoss(), aspect) for aspect in joint.aspects)
    plan = TrainingPlan(epochs=40, batch_size=64, hidden=(8,), members=MEMBERS, folds=MEMBERS, device="cpu")
    fitted = fit_head(bags, Objective(terms, joint, validation_loss=held_out_by_aspect(joint.aspects)), plan)
    assert set(fitted.history[-1].parts) == {"response a0", "response a1"}
    assert fitted.history[-1].best < 0.5 * fitted.history[0].held_out
    with torch.inference_mode():
        found = fitted.head(bags).mean(-1)
    right = torch.stack([found[:, 0] > 0, found[:, 1] < 0], 1) == (good.view(-1, 1) > 0)
    assert (right.float().mean(0) > 0.93).all()
