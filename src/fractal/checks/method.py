"""Checks of the method: the aggregation, every prior, and how noisy labels look to held-out scores."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

from fractal.aggregations import AGGREGATIONS, Aggregation
from fractal.calibration.newton import minimise, sigmoid
from fractal.checks.findings import Finding
from fractal.checks.linear import compared, held_out_responses
from fractal.checks.outcomes import CONFIDENCE, Outcome, interval
from fractal.embedding import EncodedBlock
from fractal.features import prior_similarity
from fractal.fitting import Fitted
from fractal.metrics import resampled_weights
from fractal.preparation import Corpus
from fractal.scoring import flat

__all__ = ["method_checks"]

Floats = NDArray[np.float64]

FEW = 100  # rated responses; with fewer a model's held-out scores say too little
CLEARLY = 0.01  # nats a response: what a better aggregation must save at least
NOISY, VERY_NOISY = 0.03, 0.15  # flip rates
RATES = np.array([0.0, 0.01, 0.02, *np.arange(0.03, 0.451, 0.03)])  # of flipped labels, that are tried
CALM = 1e-4
FORMS = {"min": "product", "max": "noisy_or", "mean": "mean"}  # the likelihood of each hard rule


def method_checks(
    block: EncodedBlock,
    corpus: Corpus,
    fitted: Fitted | None = None,
    *,
    aggregation: str | Aggregation | None = None,
    columns: Sequence[str] = (),
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Check what needs vectors; where there are too few labels to say anything, nothing is said."""
    chosen = _direction(fitted, aggregation, corpus)
    found: list[Finding] = []
    rated = Outcome.of(corpus.responses)
    enough = len(rated) >= FEW and rated.differs and not len(corpus.pairs)
    if enough:
        found.append(_aggregation(block, corpus, chosen, seed))
    found += _priors(block, corpus, chosen, columns, seed)
    if enough:
        leads = _fitted_leads(fitted, block) if fitted else held_out_responses(block, corpus, FORMS[chosen], seed)
        found.append(_label_noise(leads[rated.first], rated))
    return tuple(found)


def _direction(fitted: Fitted | None, aggregation: str | Aggregation | None, corpus: Corpus) -> str:
    """The hard rule that is assumed: that of the fit, the one given, what the data say, else what labels look like."""
    if fitted is not None:
        return str(fitted.blend.aggregation.direction)
    if aggregation is not None and aggregation != "auto":
        return str(AGGREGATIONS.build(aggregation).direction)
    said = {str(response.extra.get("aggregation", "")) for response in corpus.responses}
    if len(said) == 1 and (word := said.pop().replace("avg", "mean")) in FORMS:
        return word
    labels = corpus.labels[~np.isnan(corpus.labels)]
    return "min" if len(labels) and bool(np.isin(labels, (0.0, 1.0)).all()) else "mean"


def _aggregation(block: EncodedBlock, corpus: Corpus, chosen: str, seed: int) -> Finding:
    """Held-out likelihood of the response labels under each hard rule, by one small model each."""
    costs, groups = compared(block, corpus, FORMS, seed)  # (case,) by rule
    rival = min((name for name in FORMS if name != chosen), key=lambda name: float(costs[name].mean()))
    saved = costs[chosen] - costs[rival]
    drawn = np.concatenate([saved @ w / w.sum(0) for w in resampled_weights(len(saved), 400, seed, groups)])
    low, high = interval(drawn)
    value = float(saved.mean())
    shown = f"{value:+.3f} nats a response [{low:+.3f}, {high:+.3f}]"
    if low > 0 and value >= CLEARLY:
        sentence = (
            f"Held-out labels are explained better by '{rival}' than by '{chosen}', which is assumed ({shown}): "
            f"try aggregation='{FORMS[rival]}', or 'auto'."
        )
        return Finding("aggregation", "warn", sentence, value, low, high, FORMS[rival])
    doubt = "" if high < 0 else ", too little to tell the two apart"
    sentence = (
        f"No other rule explains held-out labels clearly better than '{chosen}'; next is '{rival}' ({shown}{doubt})."
    )
    return Finding("aggregation", "ok", sentence, value, low, high)


def _priors(block: EncodedBlock, corpus: Corpus, chosen: str, columns: Sequence[str], seed: int) -> list[Finding]:
    """The area of each prior's own aggregate on response labels or preferences."""
    outcome = Outcome.of(corpus.responses, corpus.pairs, seed)
    if len(outcome) < FEW or not outcome.differs:
        return []
    names = columns or sorted({name for response in corpus.responses for name in response.columns})
    given: dict[str, Floats] = {"similarity to the context": prior_similarity(block).astype(np.float64)}
    for name in names:
        rows = [r.columns.get(name, (np.nan,) * len(r.sentences)) for r in block.responses]
        given[f"column '{name}'"] = np.concatenate([np.asarray(row, dtype=np.float64) for row in rows])
    found = [_signal(name, values, block, outcome, chosen, seed) for name, values in given.items()]
    return [finding for finding in found if finding is not None]


def _signal(name: str, values: Floats, block: EncodedBlock, outcome: Outcome, chosen: str, seed: int) -> Finding | None:
    wholes = _aggregate(values, block.offsets, chosen)  # (bag,) nan where a sentence has no value
    cases = outcome.of_values(wholes)
    known = np.flatnonzero(~np.isnan(cases))
    outcome = outcome.take(known)
    if len(outcome) < FEW or not outcome.differs:
        return None
    area = outcome.area(cases[known], seed)
    shown = f"AUC {area.value:.2f} [{area.low:.2f}, {area.high:.2f}] on labels of responses"
    title = f"prior: {name}"
    if area.low > 0.5:
        return Finding(title, "ok", f"The {name} carries signal: {shown}.", area.value, area.low, area.high)
    if area.high < 0.5:
        sentence = f"The {name} points the wrong way ({shown}): give it no weight as a prior."
        return Finding(title, "fail", sentence, area.value, area.low, area.high, "drop")
    sentence = f"The {name} carries no clear signal ({shown}): give it no weight as a prior."
    return Finding(title, "warn", sentence, area.value, area.low, area.high, "drop")


def _aggregate(values: Floats, offsets: NDArray[np.int64], direction: str) -> Floats:
    starts = offsets[:-1]
    if direction == "mean":
        return np.add.reduceat(values, starts) / np.diff(offsets)
    return (np.minimum if direction == "min" else np.maximum).reduceat(values, starts)


def _fitted_leads(fitted: Fitted, block: EncodedBlock) -> Floats:
    found = fitted.blend.aggregation.from_logits(fitted.held_out, torch.from_numpy(block.offsets))
    return np.asarray(flat(found).double().numpy())


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
        "Rate doubtful responses again, or give several ratings to `fractal.judges`."
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
        gradient = np.array([(pull * leads).mean(), pull.mean()]) + CALM * line
        return float(loss + CALM * (line @ line) / 2), gradient

    line = minimise(cost, np.array([1.0, 0.0]), steps=30, tolerance=1e-7)
    if line[0] <= 0:  # scores that point the wrong way say the same of every rate: nothing
        share = truth.mean()
        return float(len(truth) * (share * np.log(share) + (1 - share) * np.log1p(-share)))
    return -cost(line)[0] * len(truth)
