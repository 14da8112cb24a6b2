"""How scorers are fitted: one head an expert for all aspects that read it, weighed for each by held-out labels.

Every choice is made by response labels that the chosen heads have not seen. A scorer of one label is the case of one
aspect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.config import FitConfig
from fractal.ensemble.datasets import ExpertData, build_training_sets
from fractal.ensemble.experts import Ensemble, Expert
from fractal.ensemble.few_ratings import shrinkage_of, similarity_expert, target_weights
from fractal.ensemble.initialisation import initialisations
from fractal.ensemble.objective import gold_cost, labels_cost, objective_of
from fractal.ensemble.result import Choice, FitResult
from fractal.ensemble.selection import select_aggregations, with_priors
from fractal.ensemble.self_training import most_certain, pseudo_labels
from fractal.ensemble.shrinking import with_shrinking
from fractal.ensemble.specs import ExpertSpec
from fractal.ensemble.teacher import with_teacher
from fractal.ensemble.weighting import (
    SHRINKAGE,
    ensemble_weights,
    held_out_only,
    pair_similarity,
    response_cost,
    sentence_cost,
    without_common,
)
from fractal.errors import BadData, BadSpec
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.head import Head
from fractal.mil.objectives.aspects import MultiAspect
from fractal.mil.objectives.losses import SentenceLoss
from fractal.mil.outputs import Outputs, read_outputs
from fractal.mil.training.callbacks import Callback, Epoch, at_stage, stages
from fractal.mil.training.checkpoints import checkpoint_of
from fractal.mil.training.loop import fit_head
from fractal.mil.training.plan import Objective
from fractal.mil.training.validation import held_out_logits
from fractal.records.corpus import Corpus

__all__ = ["fit_ensembles", "refuse_levels_of_pairs", "refuse_loss", "refuse_unlabelled"]

TOPIC_SHARE = 1 / 2  # how much of what the two answers to one question share is taken off, where only pairs were judged
PSEUDO_SHARE = 2 / 3  # how much heads that learned from pseudo-labels count beside those that learned from responses


def fit_ensembles(
    block: EncodedBlock,
    corpus: Corpus,
    forms: Mapping[str, Sequence[Aggregation]],
    config: FitConfig,
    callbacks: Sequence[Callback] = (),
) -> dict[str, FitResult]:
    """Train one head an expert for all aspects that read it; weigh the heads for each aspect by held-out labels.

    `forms` names the aggregation of each aspect, or several of which held-out labels choose one; the response's own
    label is the aspect without a name.
    """
    first = next(iter(forms.values()))[0]
    block, told = with_teacher(fit_ensembles, block, corpus, first, config, callbacks)
    selection = select_aggregations(fit_ensembles, block, corpus, forms, config, callbacks)
    aspects, results = selection.aspects, {}
    if len(aspects) == 1 and selection.fitted:
        results = selection.fitted
    else:
        readers = experts_by_aspect(aspects, config, has_pairs=len(corpus.pairs) > 0)
        trained = []
        for data, stage in stages(build_training_sets(block, corpus, list(readers), config), partial(_stage, readers)):
            rules = {name: aspects[name] for name in readers[data.spec]}
            objective = objective_of(rules, list(aspects), data.bags, config)
            trained.append(train_expert(data, objective, config, at_stage(callbacks, stage)))
        for name, aggregation in aspects.items():
            parts = [expert.of_aspect(name) for expert in trained if name in readers[expert.data.spec]]
            ensemble = weigh(with_similarity(parts, block, aggregation, config), aggregation, config)
            if config.self_training.rounds and not config.supervised:
                ensemble = _self_trained(ensemble, block, corpus, config, callbacks)
            results[name] = _without_topic(ensemble, config).result(ensemble.cost(config), config)
    results = {name: selection.explain(name, result, told) for name, result in results.items()}
    if config.try_priors and not config.supervised:
        results = {n: with_priors(fit_ensembles, r, block, corpus, config, callbacks) for n, r in results.items()}
    return with_shrinking(results, block, corpus, config)


def experts_by_aspect(
    aspects: Mapping[str, Aggregation], config: FitConfig, *, has_pairs: bool
) -> dict[ExpertSpec, list[str]]:
    """Return which aspects read each expert: an aspect has the experts that it would have alone."""
    readers: dict[ExpertSpec, list[str]] = {}
    for name, aggregation in aspects.items():
        for spec in config.experts_for(aggregation, has_pairs=has_pairs):
            readers.setdefault(spec, []).append(name)
    return readers


@dataclass(frozen=True, eq=False)
class TrainedExpert:
    """Heads that learned from one expert's data, and what they say of the responses they did not see."""

    data: ExpertData
    head: Head
    aggregation: Aggregation
    held_out: Tensor  # (sentence, [output,] 1)
    history: tuple[Epoch, ...]
    choices: tuple[Choice, ...] = ()
    outputs: Outputs | None = None  # which outputs are read, where aspects share the head; None: all

    @property
    def expert(self) -> Expert:
        return Expert(self.data.pipeline, self.data.initial, self.head, self.outputs)

    def of_aspect(self, name: str) -> TrainedExpert:
        """Return the same as one aspect reads it: its outputs, its labels and its aggregation."""
        if not isinstance(self.aggregation, MultiAspect):
            return self
        aspect = next(aspect for aspect in self.aggregation.aspects if aspect.name == name)
        bags = self.data.bags.of_aspect(aspect.column)
        return replace(
            self,
            data=replace(self.data, bags=bags),
            aggregation=aspect.aggregation,
            held_out=read_outputs(self.held_out, aspect.outputs),
            outputs=aspect.outputs,
        )


def with_similarity(
    parts: Sequence[TrainedExpert], block: EncodedBlock, aggregation: Aggregation, config: FitConfig
) -> list[TrainedExpert]:
    """Add an expert of similarity alone to several that learned from few ratings, where it has something to say."""
    if len(parts) == 1 or config.supervised or not config.plan.few_ratings:
        return [*parts]
    fitted = similarity_expert(block, [part.data for part in parts], aggregation, config.plan.seed)
    if fitted is None:
        return [*parts]
    data, head = fitted
    outputs = parts[0].outputs and (0, aggregation.thresholds)  # of several aspects: all of a head of its own
    return [*parts, TrainedExpert(data, head, aggregation, held_out_logits(head, data.bags), (), outputs=outputs)]


def train_expert(
    data: ExpertData, objective: Objective, config: FitConfig, callbacks: Sequence[Callback] = (), turn: int = 0
) -> TrainedExpert:
    """Train the heads of one expert; of several initial logits those stay that held-out labels prefer."""
    plan = replace(data.spec.plan(config.plan), seed=config.plan.seed + 1000 * turn)
    earlier = config.warm and config.warm.expert(data.spec, config.plan, config.directions)
    start = earlier.head.state_dict() if earlier else None
    plan = config.warm.plan(plan) if config.warm else plan
    candidates = {"": data.initial}
    if not turn and config.start != "even" and not isinstance(objective.aggregation, MultiAspect):
        candidates = dict(initialisations(config.start, data.similarity, data.bags, objective.aggregation))
    trained: dict[str, TrainedExpert] = {}
    for name, initial in candidates.items():
        heard = at_stage(callbacks, f"start at {name}") if len(candidates) > 1 else callbacks
        started = data.starting_at(initial)
        checkpoint = checkpoint_of(config.checkpoints, data.spec, initial, objective, plan)
        fitted = fit_head(started.bags, objective, plan, heard, checkpoint, start)
        held_out = held_out_logits(fitted.head, started.bags)
        trained[name] = TrainedExpert(started, fitted.head, objective.aggregation, held_out, fitted.history)
    if len(trained) == 1:
        return next(iter(trained.values()))
    costs = {name: _cost(expert.held_out, data.bags, objective.aggregation, config) for name, expert in trained.items()}
    best = min(costs, key=lambda name: costs[name])
    return replace(trained[best], choices=(Choice(f"start of {data.spec}", costs, best),))


@dataclass(frozen=True, eq=False)
class WeighedExperts:
    """Trained experts of one aspect and how they are weighed."""

    parts: tuple[TrainedExpert, ...]
    weights: tuple[float, ...]
    shift: float
    aggregation: Aggregation
    choices: tuple[Choice, ...] = ()
    topic_share: float = 0.0

    @property
    def bags(self) -> Bags:
        return self.parts[0].data.bags

    @property
    def held_out(self) -> Tensor:
        logits = torch.stack([w * part.held_out for w, part in zip(self.weights, self.parts, strict=True)]).sum(0)
        return without_common(logits, self.bags.offsets, self.topic_share) + self.shift

    def cost(self, config: FitConfig) -> float:
        """Return what held-out labels cost."""
        return _cost(self.held_out, self.bags, self.aggregation, config)

    def result(self, cost: float, config: FitConfig) -> FitResult:
        """Return what a scorer keeps; `cost` is what held-out labels cost."""
        experts = tuple(part.expert for part in self.parts)
        return FitResult(
            Ensemble(experts, self.weights, self.shift, self.aggregation, self.topic_share),
            self.held_out,
            cost,
            self.choices,
            tuple(epoch for part in self.parts for epoch in part.history),
            self.bags.weights.numpy(),
            config.priors,
            controlled=held_out_only(self.bags).rating_offset,
        )


def weigh(parts: Sequence[TrainedExpert], aggregation: Aggregation, config: FitConfig) -> WeighedExperts:
    """Weigh the experts of an aspect by what their held-out log-odds say of its labels."""
    choices = tuple(choice for part in parts for choice in part.choices)
    if len(parts) == 1:
        return WeighedExperts(tuple(parts), (1.0,), 0.0, aggregation, choices)
    data_bags = held_out_only(parts[0].data.bags)
    bags = replace(data_bags, weights=torch.ones(len(data_bags), 1))
    cost = gold_cost(bags, aggregation) if config.supervised else labels_cost(bags, aggregation, config.gold_weight)
    target, shrinkage = None, SHRINKAGE
    if config.plan.few_ratings and not config.supervised and bags.pairs is None:
        ratings = int((~bags.labels.isnan()).sum())
        target, shrinkage = target_weights([part.data.spec for part in parts], ratings), shrinkage_of(ratings)
    weights, shift = ensemble_weights([part.held_out for part in parts], cost, target, shrinkage)
    costs = {str(part.data.spec): _cost(part.held_out, data_bags, aggregation, config) for part in parts}
    shares = [f"{weight:.2f} × {name}" for name, weight in zip(costs, weights, strict=True)]
    weighing = Choice("ensemble weights", costs, " + ".join(shares))
    return WeighedExperts(tuple(parts), weights, shift, aggregation, (*choices, weighing))


def _self_trained(
    first: WeighedExperts, block: EncodedBlock, corpus: Corpus, config: FitConfig, callbacks: Sequence[Callback]
) -> WeighedExperts:
    """Let fresh heads learn the ensemble's pseudo-labels, in rounds, while held-out labels gain or always (PsLab)."""
    best, cost, choices = first, first.cost(config), list(first.choices)
    specs = config.pseudo_label_experts
    sets = build_training_sets(block, corpus, specs, config) if specs else [part.data for part in first.parts]
    objective = Objective((SentenceLoss(target="pseudo"),), first.aggregation, validation_loss="pseudo")
    rounds, soft = config.self_training.rounds, config.self_training.soft
    for number in range(rounds):
        labels = pseudo_labels(best.held_out, sets[0].bags, first.aggregation, soft=soft)
        labels = most_certain(labels, config.self_training.share(number))
        heard = at_stage(callbacks, f"self-training ({number + 1} of {rounds})")
        later = [
            train_expert(data.with_pseudo_labels(labels), objective, config, at_stage(heard, stage), number + 1)
            for data, stage in stages(sets, lambda data: str(data.spec))
        ]
        fresh = weigh(later, first.aggregation, config)
        candidate = fresh if config.self_training.alone else _with_pseudo_experts(first, fresh)
        after = candidate.cost(config)
        gained = after < cost or config.self_training.always
        about = f"round {number + 1} of self-training"
        choices.append(Choice(about, {"before": cost, "after": after}, "after" if gained else "before"))
        if not gained:
            break
        best, cost = candidate, after
    return replace(best, choices=tuple(choices))


def _with_pseudo_experts(first: WeighedExperts, later: WeighedExperts) -> WeighedExperts:
    """Join heads that learned from pseudo-labels to those that learned from response labels."""
    before = tuple(weight * (1 - PSEUDO_SHARE) for weight in first.weights)
    after = tuple(weight * PSEUDO_SHARE for weight in later.weights)
    shift = first.shift * (1 - PSEUDO_SHARE) + later.shift * PSEUDO_SHARE
    return replace(first, parts=(*first.parts, *later.parts), weights=(*before, *after), shift=shift)


def _without_topic(ensemble: WeighedExperts, config: FitConfig) -> WeighedExperts:
    """Keep less of what preferences alone cannot teach: they tell which answer is better, never how good either is.

    What both answers to a question have in common was learned from nothing; much of it is the question's topic. How
    much they have in common, beside answers to other questions, tells how much of it there is. The middle of the
    scores is put at one half.
    """
    bags = ensemble.bags
    if config.supervised or bags.pairs is None or not bool(bags.labels.isnan().all()):
        return ensemble
    if config.plan.topic_control:
        likeness = pair_similarity(ensemble.held_out, bags.offsets, bags.pairs)
        ensemble = replace(ensemble, topic_share=TOPIC_SHARE * likeness)
    return replace(ensemble, shift=ensemble.shift - float(ensemble.held_out.median()))


def _cost(held_out: Tensor, bags: Bags, aggregation: Aggregation, config: FitConfig) -> float:
    return (sentence_cost if config.supervised else response_cost)(held_out, held_out_only(bags), aggregation)


def _stage(readers: Mapping[ExpertSpec, Sequence[str]], data: ExpertData) -> str:
    names = [name for name in readers[data.spec] if name]
    return f"{' + '.join(names)} · {data.spec}" if names else str(data.spec)


def refuse_unlabelled(corpus: Corpus, config: FitConfig, aspect: str | None = None) -> None:
    """Refuse data that no label tells apart, of one of several aspects where it is named."""
    field = f"aspects.{aspect}" if aspect else "label"
    if config.supervised:
        if all(sentence.label is None for response in corpus.responses for sentence in response.sentences):
            raise BadData("no sentence has a label: learn_from='sentences' needs some", field="sentence_labels")
        return
    labels = corpus.labels[~np.isnan(corpus.labels)]
    if len(corpus.pairs):
        return
    if not len(labels):
        missing = "and there are no preferences" if aspect is None else "of this aspect"
        raise BadData(f"no response has a label {missing}: nothing can be learned", field=field)
    if labels.min() == labels.max():
        raise BadData(
            f"all {len(labels)} labels are {labels[0]:g}: give responses with different labels, good and bad ones",
            field=field,
        )


def refuse_loss(corpus: Corpus, config: FitConfig) -> None:
    """Refuse a loss, or weights of classes, that no label here would read."""
    rated = bool((~np.isnan(corpus.labels)).any())
    if config.loss == "ratio" and not len(corpus.pairs):
        raise BadSpec("loss='ratio' is of preferences, and there are none: give 'bce', 'mae', 'mse' or 'msle'")
    if not rated and (config.loss not in ("auto", "ratio") or config.class_weights != "none"):
        raise BadSpec(f"loss={config.loss!r}, class_weights={config.class_weights!r}: no response has a label to read")


def refuse_levels_of_pairs(forms: Sequence[Aggregation], corpus: Corpus) -> None:
    """Refuse levels where responses are compared: a preference says which is better, never by how many levels."""
    if len(corpus.pairs) and any(form.thresholds > 1 for form in forms):
        raise BadData(
            "preferences do not tell levels: give aggregation='mean', or leave it out, or rate responses by level",
            field="preference",
        )
