"""Implicit rewards: how much likelier one language model finds each sentence than another, as its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.errors import BadData, MissingExtra, UnknownName
from fractal.mil.aggregations import Aggregation
from fractal.mil.optimise import minimise
from fractal.records import Response
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES, LearnedBaseline

STEPS = 60
OVER_TOKENS = ("mean", "sum")


@BASELINES.register("implicit_reward")
@dataclass
class ImplicitReward(LearnedBaseline):
    """Sentence log-ratios of two language models, supplied or computed; response labels say how far to trust them.

    Supplied: a column `log_ratio`, or two columns of log-probabilities. Computed: name two local causal models; a
    sentence's ratio is the mean over its tokens, or their sum, as Σ β log π / π_ref is the reward of a response: then
    long sentences say more. β is learned, as the slope.
    """

    column: str = "log_ratio"
    policy_column: str = "policy_log_probability"
    reference_column: str = "reference_log_probability"
    policy: str = ""
    reference: str = ""
    over_tokens: str = "mean"  # or "sum"; columns that are supplied stay as they are
    line: tuple[float, float] = field(default=(1.0, 0.0), init=False, repr=False)  # slope and height

    def __post_init__(self) -> None:
        if self.over_tokens not in OVER_TOKENS:
            raise UnknownName("reduction over tokens", self.over_tokens, OVER_TOKENS)

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Learn slope, never below 0, and height of the log-odds along the ratio."""
        ratios = torch.from_numpy(self._ratios(block.responses)).float()
        scale = float(ratios.std()) or 1.0
        labels = torch.from_numpy(corpus.labels.astype(np.float32))
        offsets = torch.from_numpy(block.offsets)

        def cost(line: Tensor) -> Tensor:
            logits = line[0].exp() * ratios / scale + line[1]
            likelihood = form.log_likelihood(logits.unsqueeze(-1), offsets, labels)
            return -likelihood.mean() + 1e-2 * line.square().sum()

        slope, height = minimise([torch.zeros(2)], cost, STEPS)[0].tolist()
        self.line = (float(np.exp(slope)) / scale, height)

    def scores(self, block: EncodedBlock) -> Tensor:
        """Return the probability along the line."""
        slope, height = self.line
        return torch.from_numpy(self._ratios(block.responses)).mul(slope).add(height).sigmoid()

    def _ratios(self, responses: Sequence[Response]) -> NDArray[np.float64]:
        if self.policy and self.reference:
            return sentence_log_ratios(responses, self.policy, self.reference, self.over_tokens)
        return np.concatenate([self._supplied(response) for response in responses])

    def _supplied(self, response: Response) -> NDArray[np.float64]:
        if self.column in response.columns:
            return np.asarray(response.columns[self.column], dtype=np.float64)
        if self.policy_column in response.columns and self.reference_column in response.columns:
            pair = (response.columns[name] for name in (self.policy_column, self.reference_column))
            policy, reference = (np.asarray(column, dtype=np.float64) for column in pair)
            return np.asarray(policy - reference)
        raise BadData(
            f"the response {response.id!r} has no log-ratios: give it a column {self.column!r}, or the two columns "
            f"{self.policy_column!r} and {self.reference_column!r}, or name two local models as policy and reference",
            field="columns",
        )


def sentence_log_ratios(
    responses: Sequence[Response], policy: str, reference: str, over_tokens: str = "mean"
) -> NDArray[np.float64]:
    """Return mean or sum over each sentence's tokens of log policy − log reference, read after query and context."""
    models = [_loaded(name) for name in (policy, reference)]
    with torch.inference_mode():
        pairs = [[_log_probabilities(response, *model, over_tokens) for model in models] for response in responses]
    return np.concatenate([ours - theirs for ours, theirs in pairs])


def _loaded(name: str) -> tuple[Any, Any]:
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as missing:
        raise MissingExtra("A language model", "train", "transformers") from missing
    return AutoTokenizer.from_pretrained(name, use_fast=True), AutoModelForCausalLM.from_pretrained(name).eval()


def _log_probabilities(response: Response, tokenizer: Any, model: Any, over_tokens: str) -> NDArray[np.float64]:
    """Return mean or sum of each sentence's token log-probabilities; a long prompt loses its beginning alone."""
    prompt = "\n".join(part for part in (*response.context, response.query) if part) + "\n"
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    tokens = tokenizer(response.text, add_special_tokens=False, return_offsets_mapping=True)
    room = int(getattr(model.config, "max_position_embeddings", 0) or 1 << 20)
    after, spans = tokens["input_ids"][: room - 1], tokens["offset_mapping"][: room - 1]
    before = before[max(0, len(before) + len(after) - room) :]
    logits = model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1].double()
    logs = logits.log_softmax(-1).gather(1, torch.tensor(after).unsqueeze(1)).squeeze(1).numpy()
    ends = np.array([end for _, end in spans])
    values = []
    for sentence in response.sentences:
        inside = (ends > sentence.start) & (ends <= sentence.end)
        total = float(logs[inside].sum())
        values.append(total if over_tokens == "sum" else total / max(int(inside.sum()), 1))
    return np.array(values)
