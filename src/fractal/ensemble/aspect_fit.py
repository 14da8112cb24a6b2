"""How a scorer of several aspects is fitted: heads that share what they learn, one blend of them for every aspect.

An aspect has the experts that it would have alone; a head learns from all aspects that have its sketch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.datasets import ExpertData, build_training_sets
from fractal.ensemble.experts import Ensemble, Expert
from fractal.ensemble.fit import Choice, FitConfig, FitResult, ensemble_choice
from fractal.ensemble.objective import labels_cost
from fractal.ensemble.selection import fit_and_choose
from fractal.ensemble.specs import ExpertSpec
from fractal.ensemble.weighting import ensemble_weights, response_cost
from fractal.errors import BadData, BadSpec
from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.objectives.aspects import Aspect, AspectTerm, MultiAspect, held_out_by_aspect
from fractal.mil.objectives.losses import ResponseLoss
from fractal.mil.outputs import read_outputs
from fractal.mil.training.callbacks import Callback, Epoch, at_stage, stages
from fractal.mil.training.checkpoints import checkpoint_of
from fractal.mil.training.loop import fit_head
from fractal.mil.training.plan import Objective
from fractal.mil.training.validation import held_out_logits
from fractal.records.corpus import Corpus

__all__ = ["fit_aspects", "refuse_aspects"]


def fit_aspects(
    block: EncodedBlock,
    corpora: Mapping[str, Corpus],
    settings: Mapping[str, FitConfig],
    callbacks: Sequence[Callback] = (),
) -> dict[str, FitResult]:
    """Fit all aspects together, none of which `refuse_aspects` refuses; the corpus of each holds its labels alone.

    Settings differ in their aggregations only. An aspect of several is first fitted alone, to choose among them.
    """
    shared = next(iter(settings.values()))
    rules, choices = {}, {}
    for number, (name, corpus) in enumerate(corpora.items(), 1):
        folder = shared.checkpoints / f"aspect {number}" if shared.checkpoints else None
        own = replace(settings[name], checkpoints=folder)
        here = at_stage(callbacks, name)
        rules[name], choices[name] = _rule(replace(block, responses=corpus.responses), corpus, own, here)
    fits = _fit_jointly(_Rated.of(block, corpora), rules, shared, callbacks)
    return {name: replace(fitted, choices=(*choices[name], *fitted.choices)) for name, fitted in fits.items()}


def _rule(
    block: EncodedBlock, corpus: Corpus, settings: FitConfig, callbacks: Sequence[Callback]
) -> tuple[Aggregation, tuple[Choice, ...]]:
    """Return the aggregation of an aspect, and how it was chosen."""
    if len(settings.aggregations) == 1:
        return settings.aggregations[0], ()
    fitted = fit_and_choose(block, corpus, settings, callbacks)
    return fitted.blend.aggregation, tuple(choice for choice in fitted.choices if "aggregation" in choice.about)


@dataclass(frozen=True, eq=False)
class _Rated:
    """Encoded responses and what is known of them: the labels of every aspect, nan where unknown."""

    block: EncodedBlock
    corpus: Corpus  # under the mean of the known labels, by which folds are dealt alike
    labels: Tensor  # (bag, aspect)
    names: tuple[str, ...]

    @classmethod
    def of(cls, block: EncodedBlock, corpora: Mapping[str, Corpus]) -> _Rated:
        labels = np.stack([corpus.labels for corpus in corpora.values()], 1)  # (bag, aspect)
        known = ~np.isnan(labels)
        means = np.where(known, labels, 0.0).sum(1) / known.sum(1).clip(min=1)
        wholes = np.where(known.any(1), means, np.nan).tolist()
        responses = (
            replace(response, label=None if np.isnan(whole) else whole)
            for response, whole in zip(block.responses, wholes, strict=True)
        )
        corpus = Corpus(tuple(responses), np.empty((0, 3), dtype=np.int64))
        return cls(block, corpus, torch.from_numpy(labels.astype(np.float32)), tuple(corpora))


@dataclass(frozen=True, eq=False)
class _Shared:
    """Heads that learned as one sketch says, and where each aspect finds its outputs among theirs."""

    spec: ExpertSpec
    expert: Expert
    bags: Bags
    held_out: Tensor  # (sentence, [output,] 1)
    aspects: dict[str, Aspect]
    history: tuple[Epoch, ...]


def _fit_jointly(
    rated: _Rated, rules: Mapping[str, Aggregation], settings: FitConfig, callbacks: Sequence[Callback]
) -> dict[str, FitResult]:
    """Train one head a sketch for all aspects that have it, then blend for each aspect the heads that are its own."""
    readers: dict[ExpertSpec, list[str]] = {}
    for name, rule in rules.items():
        for spec in settings.experts_under(rule, has_pairs=False):
            readers.setdefault(spec, []).append(name)
    laid = build_training_sets(
        rated.block,
        rated.corpus,
        list(readers),
        priors=settings.priors,
        directions=settings.directions,
        plan=settings.plan,
    )
    named = stages(laid, lambda part: f"{' + '.join(readers[part.spec])} · {part.spec}")
    shared = [
        _train(rated, part, {name: rules[name] for name in readers[part.spec]}, settings, at_stage(callbacks, stage))
        for part, stage in named
    ]
    return {name: _blended([part for part in shared if name in part.aspects], name) for name in rules}


def _train(
    rated: _Rated,
    laid: ExpertData,
    rules: Mapping[str, Aggregation],
    settings: FitConfig,
    callbacks: Sequence[Callback],
) -> _Shared:
    bags, plan = replace(laid.bags, labels=rated.labels), laid.spec.plan(settings.plan)
    joint = MultiAspect.of([(name, rated.names.index(name), rule) for name, rule in rules.items()])
    terms = [AspectTerm.of(term, aspect) for term in (ResponseLoss(), *settings.priors) for aspect in joint.aspects]
    judge, count = held_out_by_aspect(joint.aspects), len(joint.aspects)
    objective = Objective(tuple(terms), joint, settings.plan.curriculum, judge, reads_labels=count)
    checkpoint = checkpoint_of(settings.checkpoints, laid.spec, objective)
    fitted = fit_head(bags, objective, plan, callbacks, checkpoint)
    return _Shared(
        laid.spec,
        Expert(laid.columns, laid.initial, fitted.head),
        bags,
        held_out_logits(fitted.head, bags),
        {aspect.name: aspect for aspect in joint.aspects},
        fitted.history,
    )


def _blended(parts: Sequence[_Shared], name: str) -> FitResult:
    """Weigh the heads that an aspect reads by what their held-out log-odds say of its labels."""
    aspects, every = [part.aspects[name] for part in parts], parts[0].bags
    aggregation = aspects[0].aggregation
    bags = replace(every, labels=every.labels[:, aspects[0].column], weights=torch.ones(len(every), 1))
    held_out = [read_outputs(part.held_out, aspect.outputs) for part, aspect in zip(parts, aspects, strict=True)]
    experts = [replace(part.expert, outputs=aspect.outputs) for part, aspect in zip(parts, aspects, strict=True)]
    weights: tuple[float, ...] = (1.0,)
    shift = 0.0
    choices: tuple[Choice, ...] = ()
    if len(parts) > 1:
        weights, shift = ensemble_weights(held_out, labels_cost(bags, aggregation))
        costs = [response_cost(own, bags, aggregation) for own in held_out]
        choices = (ensemble_choice([part.spec for part in parts], weights, costs),)
    mixed = torch.stack([weight * own for weight, own in zip(weights, held_out, strict=True)]).sum(0) + shift
    return FitResult(
        Ensemble(tuple(experts), weights, shift, aggregation),
        mixed,
        response_cost(mixed, bags, aggregation),
        choices,
        tuple(epoch for part in parts for epoch in part.history),
        every.weights.numpy(),
    )


def refuse_aspects(corpora: Mapping[str, Corpus], settings: Mapping[str, FitConfig]) -> None:
    """Refuse options that aspects do not have, and data that tell nothing apart under one of them."""
    for own in settings.values():
        if own.learn_from != "responses" or own.start != "even" or own.self_training.rounds:
            raise BadSpec("aspects learn from labels of responses alone: leave out learn_from, start and self_training")
    for name, corpus in corpora.items():
        _refuse_unlabelled(name, corpus)


def _refuse_unlabelled(name: str, corpus: Corpus) -> None:
    labels, field = corpus.labels[~np.isnan(corpus.labels)], f"aspects.{name}" if name else "label"
    if not len(labels):
        raise BadData("no response has a label of this aspect: nothing can be learned", field=field)
    if labels.min() == labels.max():
        raise BadData(
            f"all {len(labels)} labels are {labels[0]:g}: give responses with different labels, good and bad ones",
            field=field,
        )
