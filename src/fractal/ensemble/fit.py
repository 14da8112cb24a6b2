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
from fractal.ensemble.datasets import Laid, lay_experts
from fractal.ensemble.experts import Blend, Expert
from fractal.ensemble.initialisation import starts
from fractal.ensemble.objective import label_terms, labels_cost
from fractal.ensemble.screening import MIN_GAIN_NATS
from fractal.ensemble.self_training import SelfTraining, guess_labels, surest
from fractal.ensemble.specs import Sketch
from fractal.ensemble.weighting import blend_weights, less_common, pair_likeness, response_cost, sentence_cost
from fractal.errors import BadData, BadSpec
from fractal.mil.aggregations import AGGREGATIONS, Aggregation
from fractal.mil.bags import Bags
from fractal.mil.head import Head
from fractal.mil.objectives.base import Scores, Term
from fractal.mil.objectives.losses import SentenceLoss
from fractal.mil.training.callbacks import Epoch, Listener, at_stage, stages
from fractal.mil.training.checkpoints import checkpoint_of
from fractal.mil.training.loop import fit_head
from fractal.mil.training.plan import Objective, TrainingPlan
from fractal.mil.training.validation import held_out_logits
from fractal.records.corpus import Corpus, all_or_nothing

__all__ = ["Choice", "Fitted", "Settings", "best_form", "blend_choice", "fit_blend", "refuse_unlabelled"]

TAKEN_OFF = 1 / 2  # how much of what the two answers to one question share is taken off, where only pairs were judged
GUESSED = 2 / 3  # how much heads that learned from guesses count beside those that learned from response labels


@dataclass(frozen=True)
class Settings:
    """What a fit may try and how: every choice that is not made by the labels."""

    aggregations: tuple[Aggregation, ...]
    experts: tuple[Sketch, ...]
    mean_experts: tuple[Sketch, ...] = ()  # under aggregations by the mean; as before if empty
    later: tuple[Sketch, ...] = ()  # those that train on guesses; as before if empty
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

    def experts_under(self, aggregation: Aggregation, *, has_pairs: bool) -> tuple[Sketch, ...]:
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
class Fitted:
    """A blend, the held-out log-odds of every training sentence under it, and how it was chosen."""

    blend: Blend
    held_out: Tensor  # (sentence, [level − 1,] 1)
    cost: float
    choices: tuple[Choice, ...]
    history: tuple[Epoch, ...]
    weights: NDArray[np.float32]  # (bag, member): 0 where a member held a response out
    priors: tuple[Term, ...] = ()  # that had weight


@dataclass(frozen=True, eq=False)
class _Trained:
    """Heads that learned from laid bags, and what they say of the responses they did not see."""

    laid: Laid
    head: Head
    held_out: Tensor
    cost: float
    history: tuple[Epoch, ...]

    @property
    def expert(self) -> Expert:
        return Expert(self.laid.columns, self.laid.prior, self.head)


@dataclass(frozen=True, eq=False)
class _Mixed:
    """Trained experts and how they are mixed."""

    parts: tuple[_Trained, ...]
    weights: tuple[float, ...]
    shift: float
    common: float = 0.0

    @property
    def held_out(self) -> Tensor:
        summed = torch.stack([w * part.held_out for w, part in zip(self.weights, self.parts, strict=True)]).sum(0)
        return less_common(summed, self.parts[0].laid.bags.offsets, self.common) + self.shift


def fit_blend(block: EncodedBlock, corpus: Corpus, settings: Settings, listeners: Sequence[Listener] = ()) -> Fitted:
    """Fit every form of aggregation and keep the one that explains held-out response labels best."""
    refuse_unlabelled(corpus, settings)
    fits = [
        _fit_under(block, corpus, aggregation, settings, at_stage(listeners, stage))
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
    block: EncodedBlock, corpus: Corpus, aggregation: Aggregation, settings: Settings, listeners: Sequence[Listener]
) -> Fitted:
    """Train each expert, blend them, and let fresh ones learn what the blend guesses."""
    choices: list[Choice] = []
    first = []
    sketches = settings.experts_under(aggregation, has_pairs=len(corpus.pairs) > 0)
    for laid, stage in stages(_lay(block, corpus, sketches, settings), lambda part: str(part.sketch)):
        trained, choice = _best_start(laid, aggregation, settings, at_stage(listeners, stage))
        first.append(trained)
        choices += choice
    bags = first[0].laid.bags
    mixed = _blended(first, aggregation, settings)
    cost = _cost_of(mixed.held_out, bags, aggregation, settings)
    choices += _blend_choice(mixed)
    if settings.learn_from == "responses" and settings.self_training.rounds:
        later = _lay(block, corpus, settings.later, settings) or [part.laid for part in first]
        mixed, cost, rounds = _self_trained(mixed, cost, later, aggregation, settings, listeners)
        choices += rounds
    if settings.learn_from == "responses" and bags.pairs is not None and bool(bags.labels.isnan().all()):
        mixed = _compared_only(mixed, bags.offsets, bags.pairs, topic_control=settings.plan.topic_control)
    blend = Blend(tuple(part.expert for part in mixed.parts), mixed.weights, mixed.shift, aggregation, mixed.common)
    history = tuple(epoch for part in mixed.parts for epoch in part.history)
    return Fitted(blend, mixed.held_out, cost, tuple(choices), history, bags.weights.numpy(), settings.priors)


def _compared_only(mixed: _Mixed, offsets: Tensor, pairs: Tensor, *, topic_control: bool) -> _Mixed:
    """Keep less of what preferences cannot teach: they tell which answer is better, never how good either is.

    What both answers to a question have in common was learned from nothing; much of it is the question's topic. How
    much they have in common, beside answers to other questions, tells how much of it there is. The middle of the
    scores is put at one half.
    """
    if topic_control:
        mixed = replace(mixed, common=TAKEN_OFF * pair_likeness(mixed.held_out, offsets, pairs))
    return replace(mixed, shift=mixed.shift - float(mixed.held_out.median()))


def _self_trained(
    first: _Mixed,
    cost: float,
    laid: Sequence[Laid],
    aggregation: Aggregation,
    settings: Settings,
    listeners: Sequence[Listener],
) -> tuple[_Mixed, float, list[Choice]]:
    """Go round as long as held-out response labels gain by it."""
    best, choices = first, []
    for number in range(settings.self_training.rounds):
        round_of = at_stage(listeners, f"self-training ({number + 1} of {settings.self_training.rounds})")
        later = _retrained(best, laid, number, aggregation, settings, round_of)
        mixed = _mixed_in(first, _blended(later, aggregation, settings))
        after = _cost_of(mixed.held_out, laid[0].bags, aggregation, settings)
        kept = after < cost
        about = f"round {number + 1} of self-training"
        choices.append(Choice(about, {"before": cost, "after": after}, "after" if kept else "before"))
        if not kept:
            break
        best, cost = mixed, after
    return best, cost, choices


def _lay(block: EncodedBlock, corpus: Corpus, sketches: Sequence[Sketch], settings: Settings) -> list[Laid]:
    return lay_experts(
        block, corpus, sketches, priors=settings.priors, directions=settings.directions, plan=settings.plan
    )


def _best_start(
    laid: Laid, aggregation: Aggregation, settings: Settings, listeners: Sequence[Listener]
) -> tuple[_Trained, list[Choice]]:
    objective = _objective(laid.bags, aggregation, settings)
    found = starts(settings.start, laid.similarity, laid.bags, aggregation)
    tried = {}
    for name, prior in found.items():
        from_here = at_stage(listeners, f"start at {name}") if len(found) > 1 else listeners
        tried[name] = _fit(laid.starting_at(prior), objective, settings, from_here)
    taken = min(tried, key=lambda name: tried[name].cost)
    costs = {name: candidate.cost for name, candidate in tried.items()}
    about = f"start of {laid.sketch}"
    return tried[taken], [Choice(about, costs, taken)] if len(tried) > 1 else []


def _objective(bags: Bags, aggregation: Aggregation, settings: Settings) -> Objective:
    if settings.learn_from == "sentences":
        return Objective((SentenceLoss(),), aggregation, judged_by="gold")
    terms = label_terms(bags, settings.gold_weight)
    return Objective(
        (*terms, *settings.priors),
        aggregation,
        curriculum=settings.plan.curriculum,
        reads_labels=len(terms),
    )


def _fit(
    laid: Laid, objective: Objective, settings: Settings, listeners: Sequence[Listener], turn: int = 0
) -> _Trained:
    plan = replace(laid.sketch.plan(settings.plan), seed=settings.plan.seed + 1000 * turn)
    checkpoint = checkpoint_of(settings.checkpoints, laid.sketch, laid.prior, objective, plan)
    fitted = fit_head(laid.bags, objective, plan, listeners, checkpoint)
    held_out = held_out_logits(fitted.head, laid.bags)
    return _Trained(
        laid, fitted.head, held_out, _cost_of(held_out, laid.bags, objective.aggregation, settings), fitted.history
    )


def _cost_of(held_out: Tensor, bags: Bags, aggregation: Aggregation, settings: Settings) -> float:
    cost_of = sentence_cost if settings.learn_from == "sentences" else response_cost
    return cost_of(held_out, bags, aggregation)


def _blended(parts: Sequence[_Trained], aggregation: Aggregation, settings: Settings) -> _Mixed:
    """Weigh the experts by what their held-out log-odds say of the labels."""
    if len(parts) == 1:
        return _Mixed(tuple(parts), (1.0,), 0.0)
    bags = replace(parts[0].laid.bags, weights=torch.ones(len(parts[0].laid.bags), 1))

    def gold_cost(logits: Tensor) -> Tensor:
        return SentenceLoss()(Scores(logits, bags.offsets, aggregation), bags).sum()

    supervised = settings.learn_from == "sentences"
    cost = gold_cost if supervised else labels_cost(bags, aggregation, settings.gold_weight)
    weights, shift = blend_weights([part.held_out for part in parts], cost)
    return _Mixed(tuple(parts), weights, shift)


def _blend_choice(mixed: _Mixed) -> list[Choice]:
    if len(mixed.parts) == 1:
        return []
    sketches, costs = [part.laid.sketch for part in mixed.parts], [part.cost for part in mixed.parts]
    return [blend_choice(sketches, mixed.weights, costs)]


def blend_choice(sketches: Sequence[Sketch], weights: Sequence[float], costs: Sequence[float]) -> Choice:
    """Say how experts are blended, and what each would cost alone."""
    names = [str(sketch) for sketch in sketches]
    shares = [f"{weight:.2f} × {name}" for name, weight in zip(names, weights, strict=True)]
    return Choice("blend", dict(zip(names, costs, strict=True)), " + ".join(shares))


def _retrained(
    before: _Mixed,
    laid: Sequence[Laid],
    number: int,
    aggregation: Aggregation,
    settings: Settings,
    listeners: Sequence[Listener],
) -> list[_Trained]:
    """One round of PsLab: fresh heads learn the sentence labels that the blend before them guesses."""
    how = settings.self_training
    guesses = surest(guess_labels(before.held_out, laid[0].bags, aggregation, soft=how.soft), how.share(number))
    objective = Objective((SentenceLoss(target="pseudo"),), aggregation, judged_by="pseudo")
    return [
        _fit(part.told(guesses), objective, settings, at_stage(listeners, stage), number + 1)
        for part, stage in stages(laid, lambda part: str(part.sketch))
    ]


def _mixed_in(first: _Mixed, later: _Mixed) -> _Mixed:
    """Mix heads that learned from guesses with those that learned from response labels."""
    old = tuple(weight * (1 - GUESSED) for weight in first.weights)
    new = tuple(weight * GUESSED for weight in later.weights)
    shift = first.shift * (1 - GUESSED) + later.shift * GUESSED
    return _Mixed((*first.parts, *later.parts), (*old, *new), shift)


def refuse_unlabelled(corpus: Corpus, settings: Settings) -> None:
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
