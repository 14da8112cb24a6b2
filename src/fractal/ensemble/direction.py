"""Which direction labels speak of (the worst sentence, the best, all), how sure that is, and what risks least."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fractal.ensemble.screening import MIN_GAIN_NATS, FormComparison
from fractal.evaluation.metrics import resampled_weights
from fractal.evaluation.outcomes import RESAMPLES
from fractal.mil.aggregations import FORMS
from fractal.records import Response

CONFIDENT = 0.9  # a direction of less is open: it is said, with what would decide it
FLIPPED = 0.05  # how many labels contradict each other where people rate responses and sentences
MIN_GOLD = 5  # known sentence labels of rated responses, from which on they are asked
# The mean square of the sentence ROC AUC that a form (inner) loses where another direction (outer) is true, over real
# sets ('Auto' in benchmarks/results/questions.md). Squared, since a form that points the wrong way is worse than two
# that are a little off: a maximum taken for a minimum can turn the order round, a mean never did.
RISK = {
    "min": {"min": 0.0, "max": 0.089, "mean": 0.019},
    "max": {"min": 0.039, "max": 0.0, "mean": 0.008},
    "mean": {"min": 0.0012, "max": 0.0003, "mean": 0.0},
}
QUESTION = (
    "Is an answer bad because of one bad sentence (task 'factuality', or 'reasoning' for steps), good because of one "
    "good one ('retrieval'), or as good as its sentences on average ('quality')?"
)


def direction_confidence(
    comparison: FormComparison, directions: Iterable[str], responses: Sequence[Response], *, doubt_mean: bool
) -> dict[str, float]:
    """Return how likely each direction is: the share of resamples, by group, whose held-out labels it suits best.

    `doubt_mean` is for labels that are all 0 or 1, seldom means of sentences: a mean has to save clearly on the others.
    Known sentence labels count too: under a minimum a good response has no bad sentence, under a maximum a bad one no
    good sentence.
    """
    names = list(directions)
    doubts = {name: MIN_GAIN_NATS if doubt_mean and name == "mean" else 0.0 for name in names}
    costs = np.stack([comparison.costs[name] + doubts[name] for name in names])  # (direction, case)
    wins = np.zeros(len(names))
    for part in resampled_weights(costs.shape[1], RESAMPLES, comparison.seed, comparison.groups):
        drawn = costs @ part  # (direction, resample)
        best = drawn <= drawn.min(0) + 1e-9 * part.sum(0)  # equal ones share a win
        wins += (best / best.sum(0)).sum(1)
    evidence = gold_evidence(responses)
    belief = (wins + 0.5) / (wins.sum() + 0.5 * len(names))
    logs = np.log(belief) + np.array([evidence[name] for name in names])
    shares = np.exp(logs - logs.max())
    return dict(zip(names, (shares / shares.sum()).tolist(), strict=True))


def least_risk(confidence: Mapping[str, float]) -> str:
    """Return the direction whose form risks least, whichever direction is true; it need not be one of the likely."""
    risk = {form: sum(share * RISK[true][form] for true, share in confidence.items()) for form in FORMS}
    return min(risk, key=lambda form: (risk[form], -confidence.get(form, 0.0)))


def gold_evidence(responses: Sequence[Response]) -> dict[str, float]:
    """Return the log-likelihood of known sentence labels beside the labels of their responses, by direction."""
    rows = [
        (response.label, sentence.label)
        for response in responses
        for sentence in response.sentences
        if response.label in (0.0, 1.0) and sentence.label in (0.0, 1.0)
    ]
    if len(rows) < MIN_GOLD:
        return dict.fromkeys(FORMS, 0.0)
    whole, gold = np.array(rows, dtype=np.float64).T
    of_good, of_bad = gold[whole == 1], gold[whole == 0]
    free = _bernoulli(of_good), _bernoulli(of_bad)
    return {
        "min": _bernoulli(of_good, 1 - FLIPPED) + free[1],
        "max": free[0] + _bernoulli(of_bad, FLIPPED),
        "mean": sum(free) - 0.5 * float(np.log(len(rows))),  # one rate more is fitted
    }


def _bernoulli(labels: np.ndarray, rate: float | None = None) -> float:
    """Log-likelihood of labels of 0 and 1 under a rate of ones; None: the rate that suits them best."""
    if not len(labels):
        return 0.0
    rate = float(np.clip(labels.mean(), FLIPPED, 1 - FLIPPED)) if rate is None else rate
    return float((labels * np.log(rate) + (1 - labels) * np.log(1 - rate)).sum())


def open_question(confidence: Mapping[str, float], taken: str) -> str:
    """Say that the direction is open, what was taken meanwhile, and what would decide it; nothing where it is clear."""
    if max(confidence.values()) >= CONFIDENT:
        return ""
    shares = ", ".join(f"{name} {share:.0%}" for name, share in sorted(confidence.items(), key=lambda item: -item[1]))
    return (
        f"The direction is open: held-out labels say {shares}. '{taken}' was taken, which risks least if it is wrong. "
        f"{QUESTION} Name the task (`--task factuality`, SentenceScorer(task='factuality')), or label 20 sentences."
    )
