"""Entailment: a cross-encoder says how surely the context entails each sentence; nothing is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.encoders.embedding import chunk_context
from fractal.errors import BadSpec, MissingExtra
from fractal.mil.aggregations import Aggregation
from fractal.records import Response
from fractal.records.corpus import Corpus
from fractal.scorers.baselines.base import BASELINES, LearnedBaseline


@BASELINES.register("nli")
@dataclass
class Entailment(LearnedBaseline):
    """A sentence is as good as a cross-encoder is sure that a chunk of the context, else the query, entails it."""

    model: str = "cross-encoder/nli-deberta-v3-small"
    batch_size: int = 32
    longest: int = 512  # tokens of chunk and sentence together
    loaded: tuple[Any, Any] | None = field(default=None, init=False, repr=False, compare=False)

    def learn(self, block: EncodedBlock, corpus: Corpus, form: Aggregation) -> None:
        """Load the model."""
        self.loaded = _loaded(self.model)

    def scores(self, block: EncodedBlock) -> Tensor:
        """Return the largest entailment over the chunks; ½ where there is nothing to compare with."""
        pairs, owners = _pairs(block.responses)
        entailment = torch.full((len(block.sentences),), -1.0)
        if pairs:
            entailment = entailment.scatter_reduce(0, torch.tensor(owners), self._entailed(pairs), "amax")
        return torch.where(entailment < 0, 0.5, entailment)

    def _entailed(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        tokenizer, model = self.loaded or _loaded(self.model)
        place = _entailment(model.config.id2label)
        order = sorted(range(len(pairs)), key=lambda i: sum(map(len, pairs[i])))  # alike lengths share a batch
        chances = torch.empty(len(pairs))
        for start in range(0, len(order), self.batch_size):
            part = order[start : start + self.batch_size]
            chunks, sentences = zip(*(pairs[i] for i in part), strict=True)
            words = tokenizer(
                list(chunks), list(sentences), truncation="longest_first", max_length=self.longest, padding=True,
                return_tensors="pt",
            )  # fmt: skip
            logits = model(**words).logits
            chance = logits.sigmoid()[:, 0] if place is None else logits.softmax(-1)[:, place]
            chances[part] = chance.float()
        return chances


def _pairs(responses: Sequence[Response]) -> tuple[list[tuple[str, str]], list[int]]:
    """Every sentence with every chunk that it may follow from, and which sentence each pair is about."""
    pairs: list[tuple[str, str]] = []
    owners: list[int] = []
    ends = np.cumsum([0, *(len(response.sentences) for response in responses)])
    for response, (start, end) in zip(responses, pairwise(ends.tolist()), strict=True):
        chunks = chunk_context(response.context) if any(response.context) else (response.query,) * bool(response.query)
        for row, sentence in zip(range(start, end), response.sentences, strict=True):
            pairs += [(chunk, sentence.text) for chunk in chunks]
            owners += [row] * len(chunks)
    return pairs, owners


def _entailment(labels: Mapping[int, str]) -> int | None:
    """Which output means entailment; None for a model of one output."""
    if len(labels) == 1:
        return None
    named = [place for place, label in labels.items() if label.casefold().startswith(("entail", "support"))]
    if len(named) != 1:
        raise BadSpec(f"the model's outputs are {', '.join(labels.values())}: give one with an output 'entailment'")
    return int(named[0])


def _loaded(name: str) -> tuple[Any, Any]:
    try:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError as missing:
        raise MissingExtra("A cross-encoder", "train", "transformers") from missing
    return AutoTokenizer.from_pretrained(name), AutoModelForSequenceClassification.from_pretrained(name).eval()
