"""What 'auto' leaves to the checks: aggregations that labels rule out are not fitted, borne out priors are tried.

A check costs a small part of a fit. So it comes first, and whole fits are compared only where it leaves things open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.fit import Choice, FitConfig, FitResult, fit_ensemble
from fractal.ensemble.prior_checks import MIN_RESPONSES, prior_findings, serving
from fractal.ensemble.screening import MIN_GAIN_NATS, Compared
from fractal.errors import BadSpec
from fractal.evaluation.findings import Finding
from fractal.evaluation.outcomes import Outcome
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.objectives.base import Term
from fractal.mil.objectives.priors import PRIORS, ColumnPrior, CorrelationPrior
from fractal.mil.training.callbacks import Callback, at_stage
from fractal.records.corpus import Corpus, sentence_column

__all__ = ["asked_priors", "fit_and_choose"]

MOST_TRIED = 3  # priors that whole fits are spent on, those with the clearest signal first


def asked_priors(given: str | Term | Sequence[str | Term]) -> tuple[tuple[Term, ...], bool]:
    """Return the priors that were given, and whether they are left to the checks."""
    asked = (given,) if isinstance(given, str | Term) else tuple(given)
    if "auto" not in asked:
        return tuple(PRIORS.build(prior) for prior in asked), False
    if len(asked) > 1:
        raise BadSpec(f"priors={given!r}: 'auto' tries all that could serve; give it alone, or name the priors")
    return (), True


def fit_and_choose(
    block: EncodedBlock, corpus: Corpus, settings: FitConfig, callbacks: Sequence[Callback] = ()
) -> FitResult:
    """Fit what the checks leave open, and keep what explains held-out response labels best."""
    left, screened = _screened(block, corpus, settings)
    fitted = fit_ensemble(block, corpus, left, callbacks)
    choices = (*screened, *map(_doubted, fitted.choices))
    if settings.try_priors and settings.learn_from == "responses":
        settings = replace(settings, aggregations=(fitted.blend.aggregation,))
        fitted, tried = _with_priors(fitted, block, corpus, settings, callbacks)
        choices = (*choices, *tried)
    return replace(fitted, choices=choices)


def _screened(block: EncodedBlock, corpus: Corpus, settings: FitConfig) -> tuple[FitConfig, list[Choice]]:
    """Leave out each form that small models find clearly worse than the best, by the interval of the check."""
    rated = Outcome.of(corpus.responses)
    asked = len(settings.aggregations) > 1 and settings.learn_from == "responses" and not len(corpus.pairs)
    if not asked or len(rated) < MIN_RESPONSES or not rated.differs:
        return settings, []
    forms = {AGGREGATIONS.spec(form): form for form in settings.aggregations}
    compared = Compared.of(block, corpus, {spec: spec for spec in forms}, settings.plan.seed)
    best = compared.best(forms)
    kept = [spec for spec in forms if spec == best or not compared.clearly_worse(spec, best)]
    costs = {spec: float(cost.mean()) for spec, cost in compared.costs.items()}
    why = "Small models explain held-out labels clearly worse under the others, which were not fitted."
    if len(kept) == len(forms):
        why = "Small models cannot tell them apart: all were fitted."
    choice = Choice("aggregation, by small models", costs, " or ".join(kept), why)
    return replace(settings, aggregations=tuple(forms[spec] for spec in kept)), [choice]


def _doubted(choice: Choice) -> Choice:
    """Say so where whole fits under several aggregations hardly differ: somebody may know better."""
    if choice.about != "aggregation":
        return choice
    rival = min((spec for spec in choice.costs if spec != choice.taken), key=lambda spec: choice.costs[spec])
    saved = choice.costs[rival] - choice.costs[choice.taken]
    if saved >= MIN_GAIN_NATS:
        return choice
    found = f"Only {saved:.3f} nats a response better than {rival}"
    if saved < 0:
        found = f"{rival} saves only {-saved:.3f} nats a response, and labels of 0 and 1 are seldom means of sentences"
    why = f"{found}: say how people rated, if you know."
    return replace(choice, why=why)


def _with_priors(
    fitted: FitResult, block: EncodedBlock, corpus: Corpus, settings: FitConfig, callbacks: Sequence[Callback]
) -> tuple[FitResult, list[Choice]]:
    """Try the priors that tell good responses from bad, the clearest first; each that held-out labels gain by stays."""
    terms = [*filter(lambda term: _in_range(term, block), serving(corpus.responses)), CorrelationPrior()]
    found = prior_findings(block, corpus, terms, str(fitted.blend.aggregation.direction), settings.plan.seed)
    promising = sorted((term for term in found if found[term].verdict == "ok"), key=lambda term: -found[term].value)
    choices = [_left_out(term, found.get(term)) for term in terms if term not in promising[:MOST_TRIED]]
    for term in promising[:MOST_TRIED]:
        with_it = replace(settings, priors=(*fitted.priors, term))
        trial = fit_ensemble(block, corpus, with_it, at_stage(callbacks, f"with {PRIORS.spec(term)}"))
        kept = trial.cost < fitted.cost
        costs = {"without": fitted.cost, "with": trial.cost}
        gained = "Held-out labels gain by it." if kept else "Held-out labels do not gain by it."
        why = f"{found[term].sentence} {gained}"
        choices.append(Choice(f"prior {PRIORS.spec(term)}", costs, "with" if kept else "without", why))
        fitted = trial if kept else fitted
    return fitted, choices


def _left_out(term: Term, finding: Finding | None) -> Choice:
    why = f"Fewer than {MIN_RESPONSES} responses tell by their labels whether it helps."
    if finding is not None:
        why = finding.sentence + (f" {MOST_TRIED} others carry more." if finding.verdict == "ok" else "")
    return Choice(f"prior {PRIORS.spec(term)}", {}, "without", why)


def _in_range(term: Term, block: EncodedBlock) -> bool:
    """Whether a column can be a target of scores: its known values lie in [0, 1]."""
    if not isinstance(term, ColumnPrior):
        return True
    values = sentence_column(block.responses, term.column)
    values = values[~np.isnan(values)]
    return bool(len(values) and values.min() >= 0 and values.max() <= 1)
