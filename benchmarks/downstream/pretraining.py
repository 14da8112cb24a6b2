"""A policy that learns from right solutions until it solves about half of the prompts, saved for every arm."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.downstream.chains import PAD, SHORTEST, TRAINED, Chain, answer_codes, draw, judge, text_of
from benchmarks.downstream.policy import DEFAULT_SIZE, Policy, Size, trimmed


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """How a policy is taught before reinforcement learning."""

    size: Size = DEFAULT_SIZE
    chains: int = 20_000  # right solutions that are learned from, again and again
    batch: int = 64
    steps: int = 4_000  # at most
    learning_rate: float = 2e-3
    wanted: float = 0.45  # share of right answers, drawn at temperature 1, at which it stops
    every: int = 50  # steps between two looks
    looked_at: int = 512  # prompts a look
    seed: int = 0


def prompt_codes(chains: Sequence[Chain], device: str) -> Tensor:
    """Return the prompts, padded on the left."""
    return trimmed(torch.tensor([chain.codes() for chain in chains], device=device))


def sampled(policy: Policy, chains: Sequence[Chain], generator: torch.Generator | None, device: str) -> list[str]:
    """Return an answer to each prompt, drawn at temperature 1, or the likeliest where no generator is given."""
    return [text_of(row) for row in policy.sample(prompt_codes(chains, device), generator).tolist()]


def share_right(chains: Sequence[Chain], answers: Sequence[str]) -> float:
    """Return the share of right answers."""
    return float(np.mean([judge(chain, answer).right for chain, answer in zip(chains, answers, strict=True)]))


def pretrain(plan: Pretraining, device: str = "cpu") -> tuple[Policy, list[dict]]:
    """Teach a fresh policy until it is right as often as wanted; say what each look found."""
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    policy = Policy(plan.size).to(device)
    chains = draw(plan.chains, rng)
    prompts = torch.tensor([chain.codes() for chain in chains], device=device)
    answers = torch.tensor([answer_codes(chain) for chain in chains], device=device)
    fresh = draw(plan.looked_at, np.random.default_rng(plan.seed + 1_000_000), SHORTEST, TRAINED)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    looks: list[dict] = []
    for step in range(1, plan.steps + 1):
        rows = torch.from_numpy(rng.integers(0, len(chains), plan.batch)).to(device)
        optimiser.param_groups[0]["lr"] = plan.learning_rate * min(1.0, step / 100)
        some = answers[rows]
        some = some[:, : int((some != PAD).sum(1).max())]
        loss = -policy.log_probabilities(trimmed(prompts[rows]), some).sum() / (some != PAD).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimiser.step()
        if step % plan.every == 0:
            generator = torch.Generator(device).manual_seed(plan.seed)
            right = share_right(fresh, sampled(policy, fresh, generator, device))
            looks.append({"step": step, "loss": round(float(loss.detach()), 4), "right": right})
            print(looks[-1], flush=True)
            if right >= plan.wanted:
                break
    return policy, looks
