"""Which direction labels speak of (the worst sentence, the best, all), how sure that is, and what is taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np

from fractal.ensemble.screening import MIN_GAIN_NATS, FormComparison
from fractal.evaluation.metrics import resampled_weights
from fractal.evaluation.outcomes import RESAMPLES
from fractal.evaluation.solvers import logistic_line, sigmoid, with_constant
from fractal.mil.aggregations import FORMS
from fractal.records import Response

CONFIDENT = 0.9  # a direction of less is open: it is said, with what would decide it
FLIPPED = 0.05  # how many labels contradict each other where people rate responses and sentences
LEAST_SHARE = 0.02  # of a direction that is scored by while it is open
MEAN_SHARE = 0.7  # of what a mean would count by, that it does
MIN_GOLD = 5  # known sentence labels of rated responses, from which on they are asked
LENGTH_TRUST = 0.5  # nats a standard error of the slope of labels along length says for a maximum, against a minimum
MOST_LENGTH = 1.0  # nats that length may say at most: what makes responses long may make them bad or good, too
RULE_TRUST = log(4)  # nats for a minimum where texts have a source or sentences are steps
QUESTION = (
    "Is an answer bad because of one bad sentence (task 'factuality', or 'reasoning' for steps), good because of one "
    "good one ('retrieval'), or as good as its sentences on average ('quality')?"
)


@dataclass(frozen=True)
class Belief:
    """What one believes of the direction before labels speak: nats for a minimum, against any other, and why."""

    nats: float = 0.0
    why: str = ""

    def sentence(self) -> str:
        """Say what counted, and how much."""
        return f"{self.why}: that counts for min, {exp(self.nats):.0f} to 1." if self.why else ""


NO_BELIEF = Belief()


def belief_before(responses: Sequence[Response], *, in_order: bool) -> Belief:
    """Return what the layout of responses suggests: what has a source, or is made of steps, one bad sentence spoils."""
    if in_order:
        return Belief(RULE_TRUST, "Sentences are steps, of which one wrong one mostly spoils the whole")
    if 2 * sum(bool(response.context) for response in responses) > len(responses):
        return Belief(RULE_TRUST, "Responses have a context, against which one sentence mostly spoils the whole")
    return NO_BELIEF


def direction_confidence(
    comparison: FormComparison,
    directions: Iterable[str],
    responses: Sequence[Response],
    before: Belief = NO_BELIEF,
    *,
    doubt_mean: bool,
) -> dict[str, float]:
    """Return how likely each direction is: the share of resamples, by group, whose held-out labels it suits best.

    `doubt_mean` is for labels that are all 0 or 1, seldom means of sentences: a mean has to save clearly on the others.
    Labels of longer responses count too, what is believed before, and known sentence labels: under a minimum a good
    response has no bad sentence, under a maximum a bad one no good sentence.
    """
    names = list(directions)
    doubts = {name: MIN_GAIN_NATS if doubt_mean and name == "mean" else 0.0 for name in names}
    costs = np.stack([comparison.costs[name] + doubts[name] for name in names])  # (direction, case)
    wins = np.zeros(len(names))
    for part in resampled_weights(costs.shape[1], RESAMPLES, comparison.seed, comparison.groups):
        drawn = costs @ part  # (direction, resample)
        best = drawn <= drawn.min(0) + 1e-9 * part.sum(0)  # equal ones share a win
        wins += (best / best.sum(0)).sum(1)
    gold, length = gold_evidence(responses), length_evidence(responses)
    believed = {**dict.fromkeys(FORMS, 0.0), "min": before.nats}
    share = (wins + 0.5) / (wins.sum() + 0.5 * len(names))
    logs = np.log(share) + np.array([gold[name] + length[name] + believed[name] for name in names])
    shares = np.exp(logs - logs.max())
    return dict(zip(names, (shares / shares.sum()).tolist(), strict=True))


def length_evidence(responses: Sequence[Response]) -> dict[str, float]:
    """Return what labels of longer responses say of the direction, in nats.

    Under a maximum every further sentence may be the good one, so longer responses are good more often; under a
    minimum less often. Nothing is said where labels follow length more than independent sentences could make them:
    then length has other reasons.
    """
    rated = [response for response in responses if response.label is not None]
    labels = np.array([response.label for response in rated], dtype=np.float64)
    length = np.log([max(len(response.sentences), 1) for response in rated])
    if not rated or float(length.std()) < 1e-9 or labels.min() == labels.max():
        return dict.fromkeys(FORMS, 0.0)
    length -= length.mean()
    columns = with_constant(length[:, None])
    line = logistic_line(columns, labels, 1e-4)
    chance = sigmoid(columns @ line)
    error = float((chance * (1 - chance) * length**2).sum()) ** -0.5
    rare = 1 - labels.mean() if line[0] > 0 else labels.mean()  # of the label that no sentence may break
    steepest = -np.log(rare) / (1 - rare)  # slope of log-odds along log length, of n sentences that break it alike
    if abs(line[0]) > steepest + 2 * error:
        return dict.fromkeys(FORMS, 0.0)
    nats = float(np.clip(LENGTH_TRUST * line[0] / error, -MOST_LENGTH, MOST_LENGTH))
    return {"min": -nats, "max": nats, "mean": 0.0}


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


def is_open(confidence: Mapping[str, float]) -> bool:
    """Whether no direction is sure enough, of those that had to be compared."""
    return bool(confidence) and max(confidence.values()) < CONFIDENT


def mixture_shares(confidence: Mapping[str, float], *, mixed: bool = True) -> dict[str, float]:
    """Return how much each direction counts in the scores: one alone where it is clear, else all that are likely.

    They count by the square of how likely they are; a mean by 70% of what that gives it against all others, as labels
    that are all 0 or 1 are seldom shares.
    """
    best = max(confidence, key=lambda name: confidence[name])
    if not is_open(confidence):
        return {best: 1.0}
    mean = confidence.get("mean", 0.0)
    of_mean = MEAN_SHARE * mean**2 / (mean**2 + (1 - mean) ** 2)
    others = {name: share**2 for name, share in confidence.items() if name != "mean" and share >= LEAST_SHARE}
    shares = {name: (1 - of_mean) * share / sum(others.values()) for name, share in others.items()}
    shares = {name: share for name, share in {**shares, "mean": of_mean}.items() if share >= LEAST_SHARE}
    leading = max(shares, key=lambda name: shares[name])
    return {name: share / sum(shares.values()) for name, share in shares.items()} if mixed else {leading: 1.0}


def open_question(confidence: Mapping[str, float], shares: Mapping[str, float] | None = None) -> str:
    """Say that the direction is open, by what shares sentences are scored meanwhile, and what would decide it."""
    if not is_open(confidence):
        return ""
    scored = f"; scored by {_percentages(shares)}" if shares else ""
    return (
        f"The direction is open: labels say {_percentages(confidence)}{scored}. {QUESTION} Name the task "
        "(`--task factuality`, SentenceScorer(task='factuality')), or label 20 sentences."
    )


def _percentages(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda item: -item[1]))
