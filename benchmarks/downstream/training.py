"""Group-relative policy optimisation of one arm, with equal samples, equal KL and the same first batches for all."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.downstream.arms import Arm, advantages
from benchmarks.downstream.chains import LONGEST, PAD, SHORTEST, TRAINED, Chain, draw, judge, text_of
from benchmarks.downstream.policy import Policy
from benchmarks.downstream.pretraining import prompt_codes
from benchmarks.downstream.scoring import (
    CONFIDENCE,
    ExactSteps,
    OnPolicyStates,
    PolicyStates,
    RandomScores,
    responses_of,
    with_prefixes,
)
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Response
from fractal.scorers.baselines import BASELINES
from fractal.scorers.sentence import SentenceScorer


@dataclasses.dataclass(frozen=True)
class Plan:
    """What all arms share."""

    updates: int = 30  # batches of samples; the criterion is judged after so many, collapse after twice as many
    warmup: int = 6  # batches that every arm pays by outcome alone; the scorer learns from them
    prompts: int = 32  # a batch
    answers: int = 16  # a prompt
    minibatches: int = 4
    learning_rate: float = 1.5e-4
    kl: float = 0.02
    clip: float = 0.2
    epochs: int = 20  # of the scorer
    rows: int = 128  # answers whose gradients are worked out at once
    every: int = 5  # batches between two looks at fresh prompts
    looked_at: int = 1024  # prompts a look
    remembered: int = 6  # batches that a scorer which is fitted anew learns from

    @property
    def twice(self) -> int:
        """Twice as many batches."""
        return 2 * self.updates


MANY = Plan()  # 512 answers an update: for a GPU
FEW = Plan(40, warmup=12, prompts=8, answers=8, minibatches=1, every=20, looked_at=256, remembered=12)  # for one core
PLANS = {"many": MANY, "few": FEW}


@dataclasses.dataclass(frozen=True)
class Samples:
    """Answers to one batch of prompts."""

    chains: list[Chain]
    prompts: Tensor
    codes: Tensor  # (answer, token)
    texts: list[str]
    outcomes: np.ndarray  # (answer,)

    @classmethod
    def draw(cls, policy: Policy, chains: list[Chain], generator: torch.Generator | None) -> Samples:
        """Draw an answer to each prompt at temperature 1, or take the likeliest."""
        prompts = prompt_codes(chains, str(policy.tokens.weight.device))
        codes = policy.sample(prompts, generator)
        texts = [text_of(row) for row in codes.tolist()]
        right = [float(judge(chain, text).right) for chain, text in zip(chains, texts, strict=True)]
        return cls(chains, prompts, codes, texts, np.array(right))


def fitted(method: str, policy: Policy, answers: Sequence[Response], epochs: int, seed: int) -> OnPolicyStates:
    """Learn which steps are good from what the policy itself makes of them: no column computes.

    "fractal" reads states and confidence, "states" and "confidence" one of the two; with "supervised" before it, it
    learns from labels of steps. Other names are those of baselines, which read the states.
    """
    states, name = PolicyStates(policy), method.removeprefix("supervised ")
    confidence = name in ("fractal", "confidence")
    if name in ("fractal", "states", "confidence"):
        plan = TrainingPlan(epochs=epochs, seed=seed, device="cpu")
        columns = "+".join(f"precomputed(column={column!r})" for column in CONFIDENCE)
        recipe = {"fractal": f"sentence+{columns}", "states": "sentence", "confidence": columns}[name]
        source = "responses" if name == method else "sentences"
        inner: Any = SentenceScorer("product", recipe, states, directions=0, learn_from=source, plan=plan, cache=False)
    else:
        inner = BASELINES[method](aggregation="product", encoder=states, seed=seed, cache=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return OnPolicyStates(inner.fit(with_prefixes(answers, states, confidence)), states, confidence)


class Run:
    """One arm under one seed."""

    def __init__(self, arm: Arm, policy: Policy, plan: Plan, seed: int) -> None:
        self.arm, self.plan, self.seed = arm, plan, seed
        self.policy, self.reference = copy.deepcopy(policy), copy.deepcopy(policy).requires_grad_(False)
        self.device = str(policy.tokens.weight.device)
        self.optimiser = torch.optim.AdamW(self.policy.parameters(), lr=plan.learning_rate, weight_decay=0.0)
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.seen: list[Samples] = []  # that a scorer may learn from
        self.scorer: Any = None

    def looks(self) -> Iterator[dict]:
        """Train; from time to time say how good the policy is."""
        yield self._look(0)
        for update in range(1, self.plan.twice + 1):
            chains = draw(self.plan.prompts, self.rng, SHORTEST, TRAINED)
            samples = Samples.draw(
                self.policy, [chain for chain in chains for _ in range(self.plan.answers)], self.generator
            )
            self._update(samples, self._advantages(samples, update))
            self._learn_scores(samples, update)
            if update % self.plan.every == 0 or update in (self.plan.updates, self.plan.twice):
                yield self._look(update)

    def _advantages(self, samples: Samples, update: int) -> np.ndarray:
        arm = Arm("outcome") if update <= self.plan.warmup else self.arm
        prompts = [chain.prompt for chain in samples.chains]
        return advantages(arm, self.scorer, prompts, samples.texts, samples.codes.cpu().numpy(), samples.outcomes)

    def _learn_scores(self, samples: Samples, update: int) -> None:
        """Fit the scorer when the first batches are through, and anew where the arm says so."""
        self.seen = [*self.seen, samples][-self.plan.remembered :]
        again = self.arm.every and update > self.plan.warmup and (update - self.plan.warmup) % self.arm.every == 0
        if not self.arm.form or not (update == self.plan.warmup or again):
            return
        if self.arm.scores in ("random", "exact"):
            self.scorer = (
                ExactSteps() if self.arm.scores == "exact" else RandomScores(np.random.default_rng((self.seed, 1)))
            )
            return
        if again and len(np.unique(np.concatenate([some.outcomes for some in self.seen]))) < 2:
            return  # outcomes that are all alike tell nothing: the scorer stays
        policy = copy.deepcopy(self.policy).requires_grad_(False) if again else self.reference
        answers = [answer for some in self.seen for answer in responses_of(some.chains, some.texts)]
        self.scorer = fitted(self.arm.scores, policy, answers, self.plan.epochs, self.seed)

    def _update(self, samples: Samples, paid: np.ndarray) -> None:
        """Take one step a minibatch of the clipped objective, with the KL to the policy before all training."""
        weights = torch.from_numpy(paid).float().to(self.device)
        order = torch.from_numpy(self.rng.permutation(len(samples.texts)))
        with torch.no_grad():
            before = self._by_rows(self.policy, samples)
            reference = self._by_rows(self.reference, samples)
        for minibatch in order.chunk(self.plan.minibatches):
            tokens = (samples.codes[minibatch] != PAD).sum()
            self.optimiser.zero_grad(set_to_none=True)
            for rows in minibatch.split(self.plan.rows):
                cost = self._cost(samples, rows, before[rows], reference[rows], weights[rows])
                (cost / tokens).backward()
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
            self.optimiser.step()

    def _cost(self, samples: Samples, rows: Tensor, before: Tensor, reference: Tensor, paid: Tensor) -> Tensor:
        now = self.policy.log_probabilities(samples.prompts[rows], samples.codes[rows])
        ratio = (now - before).exp()
        gain = torch.minimum(ratio * paid, ratio.clamp(1 - self.plan.clip, 1 + self.plan.clip) * paid)
        lead = reference - now
        divergence = lead.exp() - lead - 1  # of each token, unbiased and never below 0
        return torch.where(samples.codes[rows] == PAD, 0.0, self.plan.kl * divergence - gain).sum()

    def _by_rows(self, policy: Policy, samples: Samples) -> Tensor:
        parts = zip(samples.prompts.split(self.plan.rows), samples.codes.split(self.plan.rows), strict=True)
        return torch.cat([policy.log_probabilities(prompts, codes) for prompts, codes in parts])

    def _look(self, update: int) -> dict:
        """Judge fresh answers, of the trained lengths and of longer ones: the same prompts for every arm."""
        facts: dict = {"arm": self.arm.name, "seed": self.seed, "update": update}
        rng = np.random.default_rng(self.seed + 5_000_000)
        generator = torch.Generator(self.device).manual_seed(self.seed + 5_000_000)
        fresh = draw(self.plan.looked_at, rng, SHORTEST, TRAINED)
        longer = draw(self.plan.looked_at, rng, TRAINED + 1, LONGEST)
        facts |= judged(Samples.draw(self.policy, fresh, generator), "")
        if update in (0, self.plan.updates, self.plan.twice):
            facts |= judged(Samples.draw(self.policy, fresh, None), "greedy ")
            facts |= judged(Samples.draw(self.policy, longer, generator), "longer ")
        return facts


def judged(samples: Samples, name: str) -> dict[str, float]:
    """Return the share of right answers, of right steps, of right answers with a wrong step, and the length."""
    true = [judge(chain, text) for chain, text in zip(samples.chains, samples.texts, strict=True)]
    steps = [right for item in true for right in item.steps]
    lucky = [not all(item.steps) for item in true if item.right]
    asked = sum(len(chain.operations) for chain in samples.chains)
    values = {
        "right": samples.outcomes.mean(),
        "right steps": np.mean(steps) if steps else 0.0,
        "wrong steps in right": np.mean(lucky) if lucky else 0.0,
        "length": len(steps) / asked,
    }
    return {f"{name}{key}": round(float(value), 4) for key, value in values.items()}
