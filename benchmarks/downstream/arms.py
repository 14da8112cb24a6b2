"""The arms: what each pays for a step, by the rewards that fractal ships, and the advantages that follow."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.downstream.chains import SYMBOLS
from fractal.scorers.reward_shaping import ShapedReward
from fractal.scorers.rewards import SentenceReward

TEMPERATURE = 0.1
FLOOR = 0.05  # log rewards are never below log 0.05, so that one score near 0 does not outweigh a batch


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to pay a policy.

    `form` says what scores make of a step. "sum": a step and all after it are paid their scores. "soft_worst": the
    worst carries the answer, credit by softmax(−p / T). "potential": each step is paid its own difference of the
    potential Φ = Σ log p, as an advantage is. "centred": the answer is paid its worst log p, less the mean of the
    prompt's answers with its outcome. "": nothing is paid for steps.
    """

    name: str
    form: str = ""
    scores: str = "fractal"  # or "random", "exact", or a registered baseline
    outcome: bool = True  # whether the outcome is paid as well
    every: int = 0  # updates after which the scorer is fitted anew; 0: never


OUTCOME, BEST, RANDOM, EXACT = "outcome", "potential + outcome", "random + outcome", "exact + outcome"
REFITTED, CONFIDENT = "potential + outcome (refitted)", "confidence alone + outcome"
ARMS = {
    arm.name: arm
    for arm in (
        Arm(OUTCOME),
        Arm(BEST, "potential"),
        Arm(RANDOM, "potential", "random"),
        Arm(EXACT, "potential", "exact"),
        Arm("prefix value + outcome", "potential", "prefix_value"),
        Arm("sum", "sum", outcome=False),
        Arm("soft worst", "soft_worst", outcome=False),
        Arm("potential", "potential", outcome=False),
        Arm("centred by outcome", "centred"),
        Arm(REFITTED, "potential", every=12),
        Arm(CONFIDENT, "potential", "confidence"),
        Arm("states alone + outcome", "potential", "states"),
    )
}
MAIN = tuple(ARMS)[:5]
FEW_ARMS = (OUTCOME, BEST, REFITTED, EXACT, RANDOM, CONFIDENT)


def step_pay(arm: Arm, scorer: Any, prompts: Sequence[str], answers: Sequence[str]) -> list:
    """Return what each step of each answer is paid, with its place in the text: (start, end, reward)."""
    if arm.form == "sum":
        return SentenceReward(scorer, "sentence")(prompts, answers)
    if arm.form == "soft_worst":
        return ShapedReward(scorer, "soft_worst", "none", temperature=TEMPERATURE).spans(prompts, answers)
    return ShapedReward(scorer, "sum", "log", floor=FLOOR).spans(prompts, answers)


def answer_pay(scorer: Any, prompts: Sequence[str], answers: Sequence[str], outcomes: Sequence[float]) -> list[float]:
    """Return the worst log-score of each answer, centred among the answers of its prompt with its outcome."""
    reward = ShapedReward(scorer, "worst", "log", centre="outcome", floor=FLOOR)
    paid = reward(prompts, answers, outcomes=outcomes)
    return [value - outcome for value, outcome in zip(paid, outcomes, strict=True)]


def advantages(
    arm: Arm, scorer: Any, prompts: Sequence[str], answers: Sequence[str], codes: np.ndarray, outcomes: np.ndarray
) -> np.ndarray:
    """Return the advantage of every token: (answer, token); each part is scaled to one over the batch."""
    groups = np.unique(prompts, return_inverse=True)[1]
    total = np.zeros(codes.shape)
    if arm.outcome:
        total += _scaled(_less_mean(outcomes, groups))[:, None]
    if arm.form == "centred":
        total += _scaled(np.array(answer_pay(scorer, prompts, answers, outcomes.tolist())))[:, None]
    elif arm.form:
        spans = step_pay(arm, scorer, prompts, answers)
        table = _paid([[span.reward for span in some] for some in spans], to_go=arm.form != "potential")
        steps = np.stack(
            [step_of_token(row, [span.end for span in some]) for row, some in zip(codes, spans, strict=True)]
        )
        counted = np.arange(table.shape[1])[None] < np.array([len(some) for some in spans])[:, None]
        centred = np.stack([_less_mean(column, groups) for column in table.T], 1)
        scale = centred[counted].std() if counted.any() else 0.0
        total += np.take_along_axis(centred / max(scale, 1e-6), steps, 1)
    return total


def _paid(rewards: Sequence[Sequence[float]], *, to_go: bool) -> np.ndarray:
    """Return what each step is paid, or it and all after it; 0 after the last: (answer, step)."""
    table = np.zeros((len(rewards), max(1, *(len(row) for row in rewards))))
    for row, paid in zip(table, rewards, strict=True):
        row[: len(paid)] = np.cumsum(paid[::-1])[::-1] if to_go and len(paid) else paid
    return table


def step_of_token(codes: Sequence[int], ends: Sequence[int]) -> np.ndarray:
    """Return the step that each token belongs to: the first that ends at or behind the token's first sign."""
    places, at = [], 0
    for code in codes:
        places.append(min(bisect.bisect_left(ends, at), max(len(ends) - 1, 0)))
        at += len(SYMBOLS[code])
    return np.array(places)


def _less_mean(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    means = np.bincount(groups, values) / np.bincount(groups)
    return values - means[groups]


def _scaled(values: np.ndarray) -> np.ndarray:
    return values / max(values.std(), 1e-6)
