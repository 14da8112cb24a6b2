"""How a scorer is fitted: heads learn from response labels, a blend of them guesses sentences, fresh heads learn those.

Every choice is made by response labels that the chosen heads have not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.datasets import ExpertData, build_training_sets
from fractal.ensemble.experts import Ensemble, Expert
from fractal.ensemble.initialisation import initialisations
from fractal.ensemble.objective import label_terms, labels_cost
from fractal.ensemble.screening import MIN_GAIN_NATS
from fractal.ensemble.self_training import SelfTraining, most_certain, pseudo_labels
from fractal.ensemble.specs import ExpertSpec
from fractal.ensemble.weighting import ensemble_weights, pair_similarity, response_cost, sentence_cost, without_common
from fractal.errors import BadData, BadSpec
from fractal.mil.aggregations import AGGREGATIONS, Aggregation
from fractal.mil.bags import Bags
from fractal.mil.head import Head
from fractal.mil.objectives.base import Scores, Term
from fractal.mil.objectives.losses import SentenceLoss
from fractal.mil.training.callbacks import Callback, Epoch, at_stage, stages
from fractal.mil.training.checkpoints import checkpoint_of
from fractal.mil.training.loop import fit_head
from fractal.mil.training.plan import Objective, TrainingPlan
from fractal.mil.training.validation import held_out_logits
from fractal.records.corpus import Corpus, all_or_nothing

__all__ = ["Choice", "FitConfig", "FitResult", "best_form", "ensemble_choice", "fit_ensemble", "refuse_unlabelled"]

TOPIC_SHARE = 1 / 2  # how much of what the two answers to one question share is taken off, where only pairs were judged
PSEUDO_SHARE = 2 / 3  # how much heads that learned from guesses count beside those that learned from response labels


@dataclass(frozen=True)
class FitConfig:
    """What a fit may try and how: every choice that is not made by the labels."""

    aggregations: tuple[Aggregation, ...]
    experts: tuple[ExpertSpec, ...]
    mean_experts: tuple[ExpertSpec, ...] = ()  # under aggregations by the mean; as before if empty
    later: tuple[ExpertSpec, ...] = ()  # those that train on guesses; as before if empty
    priors: tuple[Term, ...] = ()
    try_priors: bool = False  # those that could serve, one by one: what priors='auto' means
    start: str = "even"  # 'even' odds, the 'prior' of similarity, or 'auto': what held-out labels prefer
    directions: int = 64
    self_training: SelfTraining = field(default_factory=SelfTraining)
    gold_weight: float = 1.0
    learn_from: str = "responses"  # 'sentences': full supervision, the ceiling that others are held against
    plan: TrainingPlan = field(default_factory=TrainingPlan)
    checkpoints: Path | None = None  # a folder: a fit that was killed goes on from there, to the same bits

    def __post_init__(self) -> None:
        if self.learn_from not in ("responses", "sentences"):
            raise BadSpec(f"learn_from={self.learn_from!r}: give 'responses' or 'sentences'")
        if self.start not in ("even", "prior", "auto"):
            raise BadSpec(f"start={self.start!r}: give 'even', 'prior' or 'auto'")

    def experts_under(self, aggregation: Aggregation, *, has_pairs: bool) -> tuple[ExpertSpec, ...]:
        """Return the first experts: they see of the rest of a response only where no shortcut leads over it."""
        summed = aggregation.direction == "mean" and not has_pairs
        return self.mean_experts if summed and self.mean_experts else self.experts


@dataclass(frozen=True)
class Choice:
    """One thing that held-out labels decided: what was tried, what each cost, and what was taken."""

    about: str
    costs: dict[str, float]
    taken: str
    why: str = ""  # for people, where the costs do not say it


@dataclass(frozen=True, eq=False)
class FitResult:
    """A blend, the held-out log-odds of every training sentence under it, and how it was chosen."""

    blend: Ensemble
    held_out: Tensor  # (sentence, [level − 1,] 1)
    cost: float
    choices: tuple[Choice, ...]
    history: tuple[Epoch, ...]
    weights: NDArray[np.float32]  # (bag, member): 0 where a member held a response out
    priors: tuple[Term, ...] = ()  # that had weight


@dataclass(frozen=True, eq=False)
class TrainedExpert:
    """Heads that learned from laid bags, and what they say of the responses they did not see."""

    laid: ExpertData
    head: Head
    held_out: Tensor
    cost: float
    history: tuple[Epoch, ...]

    @property
    def expert(self) -> Expert:
        return Expert(self.laid.columns, self.laid.initial, self.head)


@dataclass(frozen=True, eq=False)
class WeighedExperts:
    """Trained experts and how they are mixed."""

    parts: tuple[TrainedExpert, ...]
    weights: tuple[float, ...]
    shift: float
    topic_share: float = 0.0

    @property
    def held_out(self) -> Tensor:
        summed = torch.stack([w * part.held_out for w, part in zip(self.weights, self.parts, strict=True)]).sum(0)
        return without_common(summed, self.parts[0].laid.bags.offsets, self.topic_share) + self.shift


def fit_ensemble(
    block: EncodedBlock, corpus: Corpus, settings: FitConfig, callbacks: Sequence[Callback] = ()
) -> FitResult:
    """Fit every form of aggregation and keep the one that explains held-out response labels best."""
    refuse_unlabelled(corpus, settings)
    fits = [
        _fit_under(block, corpus, aggregation, settings, at_stage(callbacks, stage))
        for aggregation, stage in stages(settings.aggregations, AGGREGATIONS.spec)
    ]
    found = {AGGREGATIONS.spec(fitted.blend.aggregation): fitted for fitted in fits}
    costs = {spec: fitted.cost for spec, fitted in found.items()}
    taken = best_form(costs, corpus.labels)
    best = found[taken]
    if len(fits) > 1:
        best = replace(best, choices=(Choice("aggregation", costs, taken), *best.choices))
    return best


def best_form(costs: Mapping[str, float], labels: NDArray[np.float64]) -> str:
    """Return the form of aggregation that held-out labels prefer: {form: nats a response} → form.

    Labels that are all or nothing are seldom means of sentences, so there a mean has to save clearly on the others.
    """
    doubted = "mean" if all_or_nothing(labels) else ""
    return min(costs, key=lambda spec: costs[spec] + MIN_GAIN_NATS * (AGGREGATIONS.build(spec).direction == doubted))


def _fit_under(
    block: EncodedBlock, corpus: Corpus, aggregation: Aggregation, settings: FitConfig, callbacks: Sequence[Callback]
) -> FitResult:
    """Train each expert, blend them, and let fresh ones learn what the blend guesses."""
    choices: list[Choice] = []
    first = []
    specs = settings.experts_under(aggregation, has_pairs=len(corpus.pairs) > 0)
    for laid, stage in stages(_lay(block, corpus, specs, settings), lambda part: str(part.spec)):
        trained, choice = _best_start(laid, aggregation, settings, at_stage(callbacks, stage))
        first.append(trained)
        choices += choice
    bags = first[0].laid.bags
    mixed = _blended(first, aggregation, settings)
    cost = _cost_of(mixed.held_out, bags, aggregation, settings)
    choices += _blend_choice(mixed)
    if settings.learn_from == "responses" and settings.self_training.rounds:
        later = _lay(block, corpus, settings.later, settings) or [part.laid for part in first]
        mixed, cost, rounds = _self_trained(mixed, cost, later, aggregation, settings, callbacks)
        choices += rounds
    if settings.learn_from == "responses" and bags.pairs is not None and bool(bags.labels.isnan().all()):
        mixed = _compared_only(mixed, bags.offsets, bags.pairs, topic_control=settings.plan.topic_control)
    blend = Ensemble(
        tuple(part.expert for part in mixed.parts), mixed.weights, mixed.shift, aggregation, mixed.topic_share
    )
    history = tuple(epoch for part in mixed.parts for epoch in part.history)
    return FitResult(blend, mixed.held_out, cost, tuple(choices), history, bags.weights.numpy(), settings.priors)


def _compared_only(mixed: WeighedExperts, offsets: Tensor, pairs: Tensor, *, topic_control: bool) -> WeighedExperts:
    """Keep less of what preferences cannot teach: they tell which answer is better, never how good either is.

    What both answers to a question have in common was learned from nothing; much of it is the question's topic. How
    much they have in common, beside answers to other questions, tells how much of it there is. The middle of the
    scores is put at one half.
    """
    if topic_control:
        mixed = replace(mixed, topic_share=TOPIC_SHARE * pair_similarity(mixed.held_out, offsets, pairs))
    return replace(mixed, shift=mixed.shift - float(mixed.held_out.median()))


def _self_trained(
    first: WeighedExperts,
    cost: float,
    laid: Sequence[ExpertData],
    aggregation: Aggregation,
    settings: FitConfig,
    callbacks: Sequence[Callback],
) -> tuple[WeighedExperts, float, list[Choice]]:
    """Go round as long as held-out response labels gain by it."""
    best, choices = first, []
    for number in range(settings.self_training.rounds):
        round_of = at_stage(callbacks, f"self-training ({number + 1} of {settings.self_training.rounds})")
        later = _retrained(best, laid, number, aggregation, settings, round_of)
        mixed = _with_pseudo_experts(first, _blended(later, aggregation, settings))
        after = _cost_of(mixed.held_out, laid[0].bags, aggregation, settings)
        kept = after < cost
        about = f"round {number + 1} of self-training"
        choices.append(Choice(about, {"before": cost, "after": after}, "after" if kept else "before"))
        if not kept:
            break
        best, cost = mixed, after
    return best, cost, choices


def _lay(block: EncodedBlock, corpus: Corpus, specs: Sequence[ExpertSpec], settings: FitConfig) -> list[ExpertData]:
    return build_training_sets(
        block, corpus, specs, priors=settings.priors, directions=settings.directions, plan=settings.plan
    )


def _best_start(
    laid: ExpertData, aggregation: Aggregation, settings: FitConfig, callbacks: Sequence[Callback]
) -> tuple[TrainedExpert, list[Choice]]:
    objective = _objective(laid.bags, aggregation, settings)
    found = initialisations(settings.start, laid.similarity, laid.bags, aggregation)
    tried = {}
    for name, initial in found.items():
        from_here = at_stage(callbacks, f"start at {name}") if len(found) > 1 else callbacks
        tried[name] = _fit(laid.starting_at(initial), objective, settings, from_here)
    taken = min(tried, key=lambda name: tried[name].cost)
    costs = {name: candidate.cost for name, candidate in tried.items()}
    about = f"start of {laid.spec}"
    return tried[taken], [Choice(about, costs, taken)] if len(tried) > 1 else []


def _objective(bags: Bags, aggregation: Aggregation, settings: FitConfig) -> Objective:
    if settings.learn_from == "sentences":
        return Objective((SentenceLoss(),), aggregation, validation_loss="gold")
    terms = label_terms(bags, settings.gold_weight)
    return Objective(
        (*terms, *settings.priors),
        aggregation,
        curriculum=settings.plan.curriculum,
        reads_labels=len(terms),
    )


def _fit(
    laid: ExpertData, objective: Objective, settings: FitConfig, callbacks: Sequence[Callback], turn: int = 0
) -> TrainedExpert:
    plan = replace(laid.spec.plan(settings.plan), seed=settings.plan.seed + 1000 * turn)
    checkpoint = checkpoint_of(settings.checkpoints, laid.spec, laid.initial, objective, plan)
    fitted = fit_head(laid.bags, objective, plan, callbacks, checkpoint)
    held_out = held_out_logits(fitted.head, laid.bags)
    return TrainedExpert(
        laid, fitted.head, held_out, _cost_of(held_out, laid.bags, objective.aggregation, settings), fitted.history
    )


def _cost_of(held_out: Tensor, bags: Bags, aggregation: Aggregation, settings: FitConfig) -> float:
    cost_of = sentence_cost if settings.learn_from == "sentences" else response_cost
    return cost_of(held_out, bags, aggregation)


def _blended(parts: Sequence[TrainedExpert], aggregation: Aggregation, settings: FitConfig) -> WeighedExperts:
    """Weigh the experts by what their held-out log-odds say of the labels."""
    if len(parts) == 1:
        return WeighedExperts(tuple(parts), (1.0,), 0.0)
    bags = replace(parts[0].laid.bags, weights=torch.ones(len(parts[0].laid.bags), 1))

    def gold_cost(logits: Tensor) -> Tensor:
        return SentenceLoss()(Scores(logits, bags.offsets, aggregation), bags).sum()

    supervised = settings.learn_from == "sentences"
    cost = gold_cost if supervised else labels_cost(bags, aggregation, settings.gold_weight)
    weights, shift = ensemble_weights([part.held_out for part in parts], cost)
    return WeighedExperts(tuple(parts), weights, shift)


def _blend_choice(mixed: WeighedExperts) -> list[Choice]:
    if len(mixed.parts) == 1:
        return []
    specs, costs = [part.laid.spec for part in mixed.parts], [part.cost for part in mixed.parts]
    return [ensemble_choice(specs, mixed.weights, costs)]


def ensemble_choice(specs: Sequence[ExpertSpec], weights: Sequence[float], costs: Sequence[float]) -> Choice:
    """Say how experts are blended, and what each would cost alone."""
    names = [str(spec) for spec in specs]
    shares = [f"{weight:.2f} × {name}" for name, weight in zip(names, weights, strict=True)]
    return Choice("blend", dict(zip(names, costs, strict=True)), " + ".join(shares))


def _retrained(
    before: WeighedExperts,
    laid: Sequence[ExpertData],
    number: int,
    aggregation: Aggregation,
    settings: FitConfig,
    callbacks: Sequence[Callback],
) -> list[TrainedExpert]:
    """One round of PsLab: fresh heads learn the sentence labels that the blend before them guesses."""
    how = settings.self_training
    guesses = most_certain(pseudo_labels(before.held_out, laid[0].bags, aggregation, soft=how.soft), how.share(number))
    objective = Objective((SentenceLoss(target="pseudo"),), aggregation, validation_loss="pseudo")
    return [
        _fit(part.with_pseudo_labels(guesses), objective, settings, at_stage(callbacks, stage), number + 1)
        for part, stage in stages(laid, lambda part: str(part.spec))
    ]


def _with_pseudo_experts(first: WeighedExperts, later: WeighedExperts) -> WeighedExperts:
    """Mix heads that learned from guesses with those that learned from response labels."""
    old = tuple(weight * (1 - PSEUDO_SHARE) for weight in first.weights)
    new = tuple(weight * PSEUDO_SHARE for weight in later.weights)
    shift = first.shift * (1 - PSEUDO_SHARE) + later.shift * PSEUDO_SHARE
    return WeighedExperts((*first.parts, *later.parts), (*old, *new), shift)


def refuse_unlabelled(corpus: Corpus, settings: FitConfig) -> None:
    """Refuse data that no label tells apart."""
    if settings.learn_from == "sentences":
        if all(sentence.label is None for response in corpus.responses for sentence in response.sentences):
            raise BadData("no sentence has a label: learn_from='sentences' needs some", field="sentence_labels")
        return
    labels = corpus.labels[~np.isnan(corpus.labels)]
    if len(corpus.pairs):
        return
    if not len(labels):
        raise BadData("no response has a label and there are no preferences: nothing can be learned", field="label")
    if labels.min() == labels.max():
        raise BadData(
            f"all {len(labels)} labels are {labels[0]:g}: give responses with different labels, good and bad ones",
            field="label",
        )
