"""What scores of steps are worth before any training: against the exact truth, and to pick the best of several."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.downstream.chains import SHORTEST, TRAINED, draw
from benchmarks.downstream.policy import Policy
from benchmarks.downstream.scoring import CONFIDENCE, PolicyStates, responses_of, with_prefixes
from benchmarks.downstream.training import Samples, fitted
from fractal.evaluation.metrics import METRICS, Sample
from fractal.records import Response, ScoredResponse

LOG_STEP = "log_step"  # no learning: the policy's own log-probability of a step
METHODS = (
    *("fractal", "confidence", "states", "prefix_value", "first_error_hazard", "noisy_copy", LOG_STEP),
    *("supervised fractal", "supervised states"),
)
COUNTS = (4, 16, 64)
WAYS = ("response", "worst", "weighed vote", "vote", "random", "oracle")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is drawn."""

    prompts: int = 192  # to learn from, as many answers in all as an arm's first batches have
    answers: int = 16
    test_prompts: int = 96
    test_answers: int = 64  # the largest number that one is picked of
    epochs: int = 20


def draw_answers(policy: Policy, plan: Plan, seed: int) -> tuple[Samples, Samples]:
    """Draw answers to learn from, and answers to other prompts to judge by."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator(str(policy.tokens.weight.device)).manual_seed(seed)
    train, test = (
        Samples.draw(policy, [chain for chain in draw(count, rng, SHORTEST, TRAINED) for _ in range(each)], generator)
        for count, each in ((plan.prompts, plan.answers), (plan.test_prompts, plan.test_answers))
    )
    return train, test


def measure(policy: Policy, plan: Plan, answers: tuple[Samples, Samples], method: str, seed: int) -> dict:
    """Learn from the outcomes of the policy's own answers; judge steps and picks on other prompts."""
    train, test = answers
    truth = responses_of(test.chains, test.texts, truth=True)
    if method == LOG_STEP:
        scored = _by_confidence(truth, policy)
    else:
        rated = responses_of(train.chains, train.texts, truth=method.startswith("supervised"))
        scored = fitted(method, policy, rated, plan.epochs, seed).score_responses(truth)
    facts = {"outcomes": len(train.texts), "train right": round(float(train.outcomes.mean()), 4)}
    return {**facts, **_areas(scored), "picks": _picks(test, scored, plan.test_answers)}


def _by_confidence(responses: Sequence[Response], policy: Policy) -> list[ScoredResponse]:
    column = CONFIDENCE[1]
    rows = [row.columns[column] for row in with_prefixes(responses, PolicyStates(policy), confidence=True)]
    scores = [np.exp(row).clip(0, 1) for row in rows]
    return [
        ScoredResponse(response, tuple(row.tolist()), float(row.prod()))
        for response, row in zip(responses, scores, strict=True)
    ]


def _areas(scored: Sequence[ScoredResponse]) -> dict[str, float]:
    """Return the ROC AUC of steps, that inside answers, and that of answers."""
    labels = np.array([label for item in scored for label in item.response.sentence_labels], float)
    scores = np.array([score for item in scored for score in item.sentence_scores])
    sample = Sample.of(
        labels, scores, np.repeat(np.arange(len(scored)), [len(item.sentence_scores) for item in scored])
    )
    values = {name: METRICS.build(name).read(sample).value for name in ("roc_auc", "within_response_auc")}
    right = np.array([item.response.label for item in scored], float)
    values["answers"] = METRICS.build("concordance")(right, np.array([item.response_score for item in scored]))
    return {name: round(float(value), 4) for name, value in values.items()} | {"right steps": round(labels.mean(), 4)}


def _picks(test: Samples, scored: Sequence[ScoredResponse], each: int) -> dict[str, float]:
    """Return how often the picked one of so many answers is right: means over prompts and parts of their answers."""
    count = len(test.texts)
    whole, worst = np.zeros(count), np.zeros(count)  # an answer without a step is never picked
    for item in scored:
        place = int(item.response.id.split()[-1])
        whole[place], worst[place] = item.response_score, min(item.sentence_scores)
    ends = [text.rpartition("=")[2] for text in test.texts]
    values: dict[str, list[float]] = {}
    for wanted in (number for number in COUNTS if number <= each):
        for first in range(0, count, wanted):
            some = range(first, first + wanted)
            right = test.outcomes[first : first + wanted]
            votes, weighed = Counter(ends[place] for place in some), Counter[str]()
            for place in some:
                weighed[ends[place]] += whole[place]  # type: ignore[assignment]
            picks = {
                "response": right[whole[some].argmax()],
                "worst": right[worst[some].argmax()],
                "vote": _right_end(votes, ends, test, some),
                "weighed vote": _right_end(weighed, ends, test, some),
                "random": right.mean(),
                "oracle": right.max(),
            }
            for way, value in picks.items():
                values.setdefault(f"{way} of {wanted}", []).append(float(value))
    return {name: round(float(np.mean(some)), 4) for name, some in values.items()}


def _right_end(votes: Counter[str], ends: Sequence[str], test: Samples, some: range) -> float:
    """Return whether the result with most votes is the true one."""
    return float(votes.most_common(1)[0][0] == str(test.chains[some[0]].result))
