"""What 'auto' leaves to the checks: aggregations that labels rule out are not fitted, borne out priors are tried.

A check costs a small part of a fit. So it comes first, and whole fits are compared only where it leaves things open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.config import FitConfig
from fractal.ensemble.control import held_out_offset
from fractal.ensemble.direction import (
    Belief,
    belief_before,
    direction_confidence,
    is_open,
    mixture_shares,
    open_question,
)
from fractal.ensemble.mixture import learned_shares, mixture
from fractal.ensemble.prior_checks import MIN_RESPONSES, prior_findings, serving
from fractal.ensemble.result import Choice, FitResult
from fractal.ensemble.screening import FormComparison, LinearProbe
from fractal.ensemble.specs import are_solutions
from fractal.ensemble.weighting import refined_log_loss
from fractal.errors import BadSpec
from fractal.evaluation.findings import Finding
from fractal.evaluation.outcomes import Outcome
from fractal.mil.aggregations import AGGREGATIONS, FORMS, Aggregation
from fractal.mil.objectives.base import Term
from fractal.mil.objectives.priors import PRIORS, ColumnPrior, CorrelationPrior
from fractal.mil.outputs import flat
from fractal.mil.training.callbacks import Callback, at_stage, stages
from fractal.records.corpus import Corpus, all_or_nothing, sentence_column

__all__ = ["asked_priors", "held_out_comparison", "select_aggregations", "with_priors"]

Floats = NDArray[np.float64]

SEEN = "No member held a response out (folds below 2, or one group): fits were compared on labels that they learned."
MOST_TRIED = 3  # priors that whole fits are spent on, those with the clearest signal first


def asked_priors(priors: str | Term | Sequence[str | Term]) -> tuple[tuple[Term, ...], bool]:
    """Return the priors that were given, and whether they are left to the checks."""
    asked = (priors,) if isinstance(priors, str | Term) else tuple(priors)
    if "auto" not in asked:
        return tuple(PRIORS.build(prior) for prior in asked), False
    if len(asked) > 1:
        raise BadSpec(f"priors={priors!r}: 'auto' tries all that could serve; give it alone, or name the priors")
    return (), True


Fit = Callable[..., dict[str, FitResult]]  # `fit_ensembles`, with which whole fits are compared


@dataclass(frozen=True, eq=False)
class Selection:
    """The aggregation of every aspect, how it was chosen, and the whole fit that decided where there was one."""

    aspects: dict[str, Aggregation]
    choices: dict[str, tuple[Choice, ...]]
    screening: dict[str, FormComparison | None]
    fitted: dict[str, FitResult]

    def explain(self, name: str, result: FitResult, before: tuple[Choice, ...] = ()) -> FitResult:
        """Return a fit with the choices that led to it."""
        return replace(result, choices=(*before, *self.choices[name], *result.choices), screening=self.screening[name])


def select_aggregations(
    fit: Fit,
    block: EncodedBlock,
    corpus: Corpus,
    forms: Mapping[str, Sequence[Aggregation]],
    config: FitConfig,
    callbacks: Sequence[Callback] = (),
) -> Selection:
    """Choose one aggregation an aspect: small models rule out what they can, whole fits decide between the rest."""
    selection = Selection({}, {}, {}, {})
    asked = config
    for number, (name, options) in enumerate(forms.items(), 1):
        rated, config = corpus.of_aspect(name), asked.of_aspect(name)
        read = block if rated is corpus else replace(block, responses=rated.responses)
        by_direction = _by_direction(options)
        options = [first for first, *_ in by_direction.values()]
        options, screened, selection.screening[name] = _screened(read, rated, options, config)
        if len(options) > 1:
            alone, heard = config, callbacks
            if rated is not corpus:
                folder = config.checkpoints and config.checkpoints / f"aspect {number}"
                alone, heard = replace(config, checkpoints=folder), at_stage(callbacks, name)
            in_order = len(by_direction.get("min", ())) > 1  # forms that know the order are asked of steps alone
            before = belief_before(rated.responses, in_order=in_order)
            selection.fitted[name], decided = _compared(
                fit, read, rated, options, alone, heard, before=before, mixed=len(forms) == 1
            )
            screened = (*screened, decided)
            options = (selection.fitted[name].ensemble.aggregation,)
        of_direction = by_direction.get(str(options[0].direction), options[:1])
        if name in selection.fitted and is_open(selection.fitted[name].directions):
            of_direction = options  # another form would take the place of a mixture, as a prior would
        form, decided_order = _by_order(read, rated, of_direction, config)
        if form != options[0]:
            selection.fitted.pop(name, None)
        selection.aspects[name] = form
        selection.choices[name] = (*screened, *decided_order)
    return selection


def _by_direction(forms: Sequence[Aggregation]) -> dict[str, list[Aggregation]]:
    """Return the forms of each direction, in their order."""
    directions: dict[str, list[Aggregation]] = {}
    for form in forms:
        directions.setdefault(str(form.direction), []).append(form)
    return directions


def _by_order(
    block: EncodedBlock, corpus: Corpus, forms: Sequence[Aggregation], config: FitConfig
) -> tuple[Aggregation, tuple[Choice, ...]]:
    """Choose between forms of one direction, of which all but the first know the order of sentences.

    Small models on the columns of the linear expert compare them; another than the first is taken where the first
    explains held-out labels clearly worse.
    """
    if not _can_compare(forms, corpus, config):
        return forms[0], ()
    by_spec = {AGGREGATIONS.spec(form): form for form in forms}
    features = next((spec.features for spec in reversed(config.experts) if spec.linear), None)
    controlled = held_out_offset(corpus, config)
    probe = LinearProbe.of(block, corpus, config.plan.seed, features=features, controlled=controlled)
    comparison = FormComparison.of(probe, {spec: spec for spec in by_spec})
    first, best = next(iter(by_spec)), comparison.best(by_spec)
    taken = best if best != first and comparison.clearly_worse(first, best) else first
    why = "No form that knows the order of steps explains held-out labels clearly better."
    if taken != first:
        why = "Small models explain held-out labels clearly better where the order of steps counts."
    if are_solutions(corpus.responses):
        why = f"Most responses calculate, so their sentences are steps. {why}"
    costs = {spec: float(comparison.costs[spec].mean()) for spec in by_spec}
    return by_spec[taken], (Choice("order of steps, by small models", costs, taken, why),)


def _can_compare(forms: Sequence[Aggregation], corpus: Corpus, config: FitConfig) -> bool:
    """Whether small models can tell forms apart: there are several, and enough ratings that differ."""
    if len(forms) < 2 or config.supervised or len(corpus.pairs):
        return False
    rated = Outcome.of(corpus.responses, groups=corpus.groups)
    return len(rated) >= MIN_RESPONSES and rated.differs


def _screened(
    block: EncodedBlock, corpus: Corpus, forms: Sequence[Aggregation], config: FitConfig
) -> tuple[Sequence[Aggregation], tuple[Choice, ...], FormComparison | None]:
    """Leave out each form that small models find clearly worse than the best, by the interval of the check.

    Graded labels are a mean, unless another form explains them clearly better.
    """
    graded = not all_or_nothing(corpus.labels)
    if not _can_compare(forms, corpus, config):
        return forms[:1] if graded else forms, (), None
    probe = LinearProbe.of(block, corpus, config.plan.seed, controlled=held_out_offset(corpus, config))
    comparison = FormComparison.of(probe, FORMS)
    directions = {str(form.direction): form for form in forms}
    remaining = comparison.possible(list(directions), graded=graded)
    specs = {name: AGGREGATIONS.spec(form) for name, form in directions.items()}
    costs = {specs[name]: float(comparison.costs[name].mean()) for name in directions}
    why = "Small models explain held-out labels clearly worse under the others, which were not fitted."
    if len(remaining) == len(forms):
        why = "Small models cannot tell them apart: all were fitted."
    if graded:
        others = "clearly better" if remaining[0] != next(iter(directions)) else "no better"
        why = f"Graded labels are mostly means; small models explain held-out ones {others} otherwise."
    choice = Choice("aggregation, by small models", costs, " or ".join(specs[name] for name in remaining), why)
    return [directions[name] for name in remaining], (choice,), comparison


def _compared(
    fit: Fit,
    block: EncodedBlock,
    corpus: Corpus,
    forms: Sequence[Aggregation],
    config: FitConfig,
    callbacks: Sequence[Callback],
    *,
    before: Belief,
    mixed: bool,
) -> tuple[FitResult, Choice]:
    """Fit every form and keep the one that explains held-out response labels best, or all while that is open.

    One of several aspects is fitted again together with the others, so of it one form is kept: `mixed` is False.
    """
    without = config.of_one_fit()

    def whole(form: Aggregation, stage: str) -> FitResult:
        return fit(block, corpus, {"": (form,)}, without, at_stage(callbacks, stage))[""]

    results = {str(form.direction): whole(form, stage) for form, stage in stages(forms, AGGREGATIONS.spec)}
    specs = {name: AGGREGATIONS.spec(result.ensemble.aggregation) for name, result in results.items()}
    costs = {specs[name]: result.cost for name, result in results.items()}
    if config.supervised or len(corpus.pairs):
        best = min(results, key=lambda name: results[name].cost)
        return results[best], Choice("aggregation", costs, specs[best])
    doubt_mean = all_or_nothing(corpus.labels)
    rated, doubt = _unseen_labels(next(iter(results.values())), corpus.labels)
    comparison = held_out_comparison(results, corpus, rated, config.plan.seed)
    confidence = direction_confidence(comparison, results, corpus.responses, before, doubt_mean=doubt_mean)
    shares = learned_shares(results, mixture_shares(confidence, mixed=mixed))
    labels, offsets = torch.from_numpy(rated), torch.from_numpy(block.offsets)
    result = results[next(iter(shares))]
    if len(shares) > 1:
        result = mixture(results, shares, offsets, labels, shrink=config.plan.shrink)
    taken = AGGREGATIONS.spec(result.ensemble.aggregation)
    why = " ".join(filter(None, (open_question(confidence, shares), before.sentence(), doubt)))
    choice = Choice("aggregation", costs, taken, why)
    return replace(result, directions=confidence), choice


def _unseen_labels(result: FitResult, labels: Floats) -> tuple[Floats, str]:
    """Return the labels that some member held out, nan for others; all where none did, and a word on that."""
    unseen = (result.weights == 0).any(1)
    if np.isnan(labels[unseen]).all():
        return labels, SEEN
    return np.where(unseen, labels, np.nan), ""


def held_out_comparison(results: Mapping[str, FitResult], corpus: Corpus, ratings: Floats, seed: int) -> FormComparison:
    """Return what each rated response's held-out label costs under whole fits of several directions.

    Length may explain labels beside each of them: a product falls with every sentence and a noisy-or rises, so that a
    form would be paid for what makes responses long.
    """
    rated = ~np.isnan(ratings)
    labels = torch.from_numpy(ratings[rated])
    offsets = torch.tensor([0, *(len(response.sentences) for response in corpus.responses)]).cumsum(0)
    length = np.log(offsets.diff().double().numpy()[rated])
    costs = {}
    for name, result in results.items():
        logits = flat(result.ensemble.aggregation.from_logits(result.held_out, offsets))
        offset = None if result.controlled is None else result.controlled[torch.from_numpy(rated)].squeeze(-1)
        logits = logits[torch.from_numpy(rated)]
        costs[name] = refined_log_loss(logits, labels, offset=offset, beside=(length - length.mean())[:, None])
    groups = np.unique(np.array(corpus.groups)[rated], return_inverse=True)[1].astype(np.int64)
    return FormComparison(costs, groups, seed)


def with_priors(
    fit: Fit,
    result: FitResult,
    block: EncodedBlock,
    corpus: Corpus,
    config: FitConfig,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Try the priors that tell good responses from bad, the clearest first; each that held-out labels gain by stays.

    None is tried while the direction is open: a fit with it is of one direction, and would take the place of a mixture.
    """
    terms = [*filter(lambda term: _in_range(term, block), serving(corpus.responses)), CorrelationPrior()]
    aggregation = result.ensemble.aggregation
    findings = prior_findings(block, corpus, terms, str(aggregation.direction), config.plan.seed)
    promising = sorted((term for term in findings if findings[term].verdict == "ok"), key=lambda t: -findings[t].value)
    tried = [] if is_open(result.directions) else promising[:MOST_TRIED]
    others = f" {MOST_TRIED} others carry more." if tried else " It is tried once the direction is clear."
    choices = [_left_out(term, findings.get(term), others) for term in terms if term not in tried]
    for term in tried:
        config = config.of_one_fit(priors=(*result.priors, term))
        heard = at_stage(callbacks, f"with {PRIORS.spec(term)}")
        trial = fit(block, corpus, {"": (aggregation,)}, config, heard)[""]
        gained = trial.cost < result.cost
        costs = {"without": result.cost, "with": trial.cost}
        words = "Held-out labels gain by it." if gained else "Held-out labels do not gain by it."
        why = f"{findings[term].sentence} {words}"
        choices.append(Choice(f"prior {PRIORS.spec(term)}", costs, "with" if gained else "without", why))
        if gained:
            result = replace(result, ensemble=trial.ensemble, held_out=trial.held_out, cost=trial.cost)
            result = replace(result, history=trial.history, weights=trial.weights, priors=trial.priors)
    return replace(result, choices=(*result.choices, *choices))


def _left_out(term: Term, finding: Finding | None, others: str) -> Choice:
    why = f"Fewer than {MIN_RESPONSES} responses tell by their labels whether it helps."
    if finding is not None:
        why = finding.sentence + (others if finding.verdict == "ok" else "")
    return Choice(f"prior {PRIORS.spec(term)}", {}, "without", why)


def _in_range(term: Term, block: EncodedBlock) -> bool:
    """Whether a column can be a target of scores: its known values lie in [0, 1]."""
    if not isinstance(term, ColumnPrior):
        return True
    values = sentence_column(block.responses, term.column)
    values = values[~np.isnan(values)]
    return bool(len(values) and values.min() >= 0 and values.max() <= 1)
