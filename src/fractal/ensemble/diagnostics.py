"""Checks of the method: the aggregation, every prior, and how noisy labels look to held-out scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.direction import open_question
from fractal.ensemble.prior_checks import MIN_RESPONSES, prior_findings, serving
from fractal.ensemble.result import FitResult
from fractal.ensemble.screening import FormComparison, LinearProbe
from fractal.evaluation.findings import Finding
from fractal.evaluation.outcomes import CONFIDENCE, Outcome
from fractal.evaluation.solvers import minimise, sigmoid
from fractal.mil.aggregations import AGGREGATIONS, FORMS, Aggregation
from fractal.mil.objectives.priors import ColumnPrior
from fractal.mil.outputs import flat
from fractal.records.corpus import Corpus

__all__ = ["method_checks"]

Floats = NDArray[np.float64]

NOISY, VERY_NOISY = 0.03, 0.15  # flip rates
RATES = np.array([0.0, 0.01, 0.02, *np.arange(0.03, 0.451, 0.03)])  # of flipped labels, that are tried
RIDGE = 1e-4
NO_VECTORS = Finding(
    "vectors",
    "ok",
    "Nothing that learned reads vectors, so no text was encoded: small models of the checks read scalar columns alone, "
    "and neither similarity to the context nor how far other responses are in topic is looked at.",
    0.0,
)


def method_checks(
    block: EncodedBlock,
    corpus: Corpus,
    fitted: FitResult | None = None,
    *,
    aggregation: str | Aggregation | None = None,
    columns: Sequence[str] = (),
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Check what needs vectors; where there are too few labels to say anything, nothing is said."""
    chosen = _direction(fitted, aggregation, corpus)
    findings = [] if block.has_vectors else [NO_VECTORS]
    rated = Outcome.of(corpus.responses, groups=corpus.groups)
    enough = len(rated) >= MIN_RESPONSES and rated.differs and not len(corpus.pairs)
    if enough:
        findings.append(_aggregation(fitted, block, corpus, chosen, seed))
    findings += _priors(block, corpus, fitted, chosen, columns, seed)
    if enough:
        if fitted is not None:
            leads = _fitted_leads(fitted, block)[rated.first]
        else:
            leads = LinearProbe.of(block, corpus, seed, rated.first).held_out(FORMS[chosen]).numpy()
        findings.append(_label_noise(leads, rated))
    return tuple(findings)


def _direction(fitted: FitResult | None, aggregation: str | Aggregation | None, corpus: Corpus) -> str:
    """The hard rule that is assumed: that of the fit, the one given, else the first that the labels allow."""
    if fitted is not None:
        return str(fitted.ensemble.aggregation.direction)
    if aggregation is not None and aggregation != "auto":
        return str(AGGREGATIONS.build(aggregation).direction)
    return corpus.directions[0]


def _aggregation(fitted: FitResult | None, block: EncodedBlock, corpus: Corpus, chosen: str, seed: int) -> Finding:
    """Held-out likelihood of the response labels under each hard rule, by one small model each."""
    if fitted is not None and (question := open_question(fitted.directions)):
        rival = max((name for name in fitted.directions if name != chosen), key=lambda name: fitted.directions[name])
        return Finding("aggregation", "warn", question, fitted.directions.get(chosen, 0.0), advice=FORMS[rival])
    costs = fitted.screening if fitted is not None and fitted.screening is not None else None
    controlled = fitted.controlled if fitted is not None else None
    costs = costs or FormComparison.of(LinearProbe.of(block, corpus, seed, controlled=controlled), FORMS)
    rival = costs.best(name for name in FORMS if name != chosen)
    value, low, high = costs.saved(chosen, rival)
    shown = f"{value:+.3f} of held-out log-loss a response [{low:+.3f}, {high:+.3f}]"
    if costs.clearly_worse(chosen, rival):
        compared = ", or 'auto'" if len(corpus.directions) > 1 else ""
        sentence = (
            f"Held-out labels are explained better by '{rival}' than by '{chosen}', which is assumed ({shown}): "
            f"try aggregation='{FORMS[rival]}'{compared}."
        )
        return Finding("aggregation", "warn", sentence, value, low, high, FORMS[rival])
    doubt = "" if high < 0 else ", too little to tell the two apart"
    sentence = (
        f"No other rule explains held-out labels clearly better than '{chosen}'; next is '{rival}' ({shown}{doubt})."
    )
    return Finding("aggregation", "ok", sentence, value, low, high)


def _priors(
    block: EncodedBlock, corpus: Corpus, fitted: FitResult | None, chosen: str, columns: Sequence[str], seed: int
) -> list[Finding]:
    """What the labels say of every prior that has weight in the fit, and of all others that could serve."""
    weighed = fitted.priors if fitted else ()
    others = [term for term in serving(corpus.responses, columns) if block.has_vectors or isinstance(term, ColumnPrior)]
    findings = prior_findings(block, corpus, (*weighed, *others), chosen, seed)
    by_name: dict[str, Finding] = {}
    for term, finding in findings.items():
        by_name.setdefault(finding.name, _despite(finding) if term in weighed and finding.advice == "drop" else finding)
    return list(by_name.values())


def _despite(finding: Finding) -> Finding:
    """Say that a prior had weight all the same: it was given by hand."""
    said = finding.sentence.replace(
        "as a prior it deserves no weight", "yet it had weight, as given: leave it out of `priors`, or try 'auto'"
    )
    return dataclasses.replace(finding, sentence=said)


def _fitted_leads(fitted: FitResult, block: EncodedBlock) -> Floats:
    logits = fitted.ensemble.aggregation.from_logits(fitted.held_out, torch.from_numpy(block.offsets))
    return np.asarray(flat(logits).double().numpy())


def _label_noise(leads: Floats, outcome: Outcome) -> Finding:
    """Where held-out scores are surest, how many labels say the opposite? P(y = 1) = ε + (1 − 2ε) σ(a·z + b).

    A weak model leaves ε open, down to 0. What a model cannot see makes one end uncertain, flipped labels both.
    """
    middle = np.clip((leads - leads.mean()) / max(float(leads.std()), 1e-9), -6, 6)
    fits = np.array([_explained(middle, outcome.truth, rate) for rate in RATES])  # log-likelihood under each rate
    inside = RATES[2 * (fits.max() - fits) <= NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2]
    value, low, high = float(RATES[fits.argmax()]), float(inside.min()), float(inside.max())
    shown = f"about {value:.0%} [{low:.0%}, {high:.0%}]"
    if low < NOISY:
        return Finding("label noise", "ok", f"No sure sign of noisy labels: {shown} flipped.", value, low, high)
    sentence = (
        f"Labels look noisy: {shown} of them contradict held-out scores where these are surest, good and bad alike. "
        "Rate doubtful responses again, or give several ratings to `fractal.evaluation.label_model`."
    )
    return Finding("label noise", "fail" if low > VERY_NOISY else "warn", sentence, value, low, high)


def _explained(leads: Floats, truth: Floats, rate: float) -> float:
    """Return the log-likelihood of the labels if a share of them is flipped, under the best curve of the scores."""

    def parts(line: Floats) -> tuple[Floats, Floats]:
        inner = sigmoid(line[0] * leads + line[1])
        return inner, np.clip(rate + (1 - 2 * rate) * inner, 1e-9, 1 - 1e-9)

    def cost(line: Floats) -> tuple[float, Floats]:
        inner, chance = parts(line)
        loss = -(truth * np.log(chance) + (1 - truth) * np.log1p(-chance)).mean()
        pull = (chance - truth) / (chance * (1 - chance)) * (1 - 2 * rate) * inner * (1 - inner)
        gradient = np.array([(pull * leads).mean(), pull.mean()]) + RIDGE * line
        return float(loss + RIDGE * (line @ line) / 2), gradient

    line = minimise(cost, np.array([1.0, 0.0]))
    if line[0] <= 0:  # scores that point the wrong way say the same of every rate: nothing
        share = truth.mean()
        return float(len(truth) * (share * np.log(share) + (1 - share) * np.log1p(-share)))
    return -cost(line)[0] * len(truth)
