"""Rewards a token for trainers that take a tensor of them, in the form of verl's reward managers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fractal.errors import BadSpec
from fractal.scorers.rewards import SentenceReward

__all__ = ["DenseRewards"]


@dataclasses.dataclass(frozen=True)
class DenseRewards:
    """Called as verl calls a reward manager: `rewards(data, return_dict=False)` → (response, token).

    `data.batch` holds `prompts` (padded on the left), `responses` (padded on the right) and `attention_mask` of both;
    `data.non_tensor_batch` may hold `raw_prompt`, the chat of each, and what completions are held against: `context`,
    or `extra_info` with a `context` in it. What is padding earns 0.
    """

    reward: SentenceReward

    def __post_init__(self) -> None:
        if self.reward.form != "token":
            raise BadSpec(f"form={self.reward.form!r}: a reward a token needs form='token' and the model's tokenizer")

    def __call__(self, data: Any, return_dict: bool = False) -> Tensor | dict[str, Any]:
        """Return the rewards of every token, with the lowest of each response where a dictionary is asked for."""
        batch, others = data.batch, data.non_tensor_batch
        width = batch["prompts"].shape[-1]
        asked, answered = batch["attention_mask"][:, :width].bool(), batch["attention_mask"][:, width:].bool()
        ids = [row[mask].tolist() for row, mask in zip(batch["responses"], answered, strict=True)]
        completions = [self._decoded(row) for row in ids]
        prompts = others.get("raw_prompt")
        if prompts is None:
            prompts = [self._decoded(row[mask].tolist()) for row, mask in zip(batch["prompts"], asked, strict=True)]
        prompts = [prompt if isinstance(prompt, str) else list(prompt) for prompt in prompts]
        contexts = _contexts(others)
        columns = {} if contexts is None else {"context": contexts}
        rewards = self.reward(prompts, completions, completion_ids=ids, **columns)
        tensor = torch.zeros(batch["responses"].shape, dtype=torch.float32)
        for row, (values, mask) in enumerate(zip(rewards, answered.cpu(), strict=True)):
            tensor[row, mask] = torch.tensor(values, dtype=torch.float32)
        if not return_dict:
            return tensor
        facts = {"lowest_token_reward": [min(values, default=0.0) for values in rewards]}
        return {"reward_tensor": tensor, "reward_extra_info": facts}

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self.reward.tokenizer.decode(ids, skip_special_tokens=True))


def _contexts(others: Any) -> list[Any] | None:
    """Return what each completion is held against, where the batch says it."""
    if others.get("context") is not None:
        return list(others["context"])
    facts = others.get("extra_info")
    if facts is None or not any("context" in (fact or {}) for fact in facts):
        return None
    return [(fact or {}).get("context", ()) for fact in facts]
