"""A small linear model under any aggregation, all folds at once: held-out scores for checks, at little cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.encoders.block import EncodedBlock
from fractal.ensemble.weighting import refined_log_loss
from fractal.evaluation.folds import deal_folds
from fractal.evaluation.intervals import percentile_interval
from fractal.evaluation.metrics import resampled_weights
from fractal.evaluation.outcomes import CONFIDENCE, FOLDS, RESAMPLES
from fractal.features import RECIPES, Standardiser, compute
from fractal.mil.aggregations import AGGREGATIONS, Aggregation
from fractal.mil.optimise import minimise
from fractal.records.corpus import Corpus

__all__ = ["MIN_GAIN_NATS", "FormComparison", "held_out_responses"]

MIN_GAIN_NATS = 0.01  # a response: what one form must save on another to be called better

MAX_RESPONSES = 1500  # rated responses that a check reads
DIRECTIONS = 24  # of the sentence vectors, the widest ones
STEPS = 40
RIDGE = 3e-3


@dataclasses.dataclass(frozen=True, eq=False)
class FormComparison:
    """What each rated response's held-out label costs under several forms of aggregation, by one small model each."""

    costs: dict[str, NDArray[np.float64]]  # (case,) by name
    groups: NDArray[np.int64]  # (case,)
    seed: int

    @classmethod
    def of(cls, block: EncodedBlock, corpus: Corpus, forms: Mapping[str, str], seed: int) -> FormComparison:
        """Fit a small model under each form: name → form as it is written."""
        rated = _sampled(corpus, seed)
        columns, offsets, labels, fold, groups = _design(block, corpus, rated, seed)
        costs = {}
        for name, form in forms.items():
            logits = _held_out(columns, offsets, labels, fold, AGGREGATIONS.build(form))
            costs[name] = refined_log_loss(logits, labels)
        return cls(costs, groups, seed)

    def best(self, names: Iterable[str]) -> str:
        """Return which of these explains held-out labels best."""
        return min(names, key=lambda name: float(self.costs[name].mean()))

    def saved(self, name: str, rival: str) -> tuple[float, float, float]:
        """Return the nats a response that a rival saves, with the interval, groups drawn anew."""
        gap = self.costs[name] - self.costs[rival]
        weights = resampled_weights(len(gap), RESAMPLES, self.seed, self.groups)
        resampled = np.concatenate([gap @ part / part.sum(0) for part in weights])
        return float(gap.mean()), *percentile_interval(resampled, CONFIDENCE)

    def clearly_worse(self, name: str, rival: str) -> bool:
        """Whether a rival surely saves something, and enough to be worth a word."""
        value, low, _ = self.saved(name, rival)
        return low > 0 and value >= MIN_GAIN_NATS


def held_out_responses(block: EncodedBlock, corpus: Corpus, form: str, seed: int) -> NDArray[np.float64]:
    """Return the held-out log-odds of every response under a form: (response,); 0 where none was computed."""
    rated = np.flatnonzero(~np.isnan(corpus.labels))
    columns, offsets, labels, fold, _ = _design(block, corpus, rated, seed)
    logits = np.zeros(len(corpus.responses))
    logits[rated] = _held_out(columns, offsets, labels, fold, AGGREGATIONS.build(form)).numpy()
    return logits


def _sampled(corpus: Corpus, seed: int) -> NDArray[np.int64]:
    rated = np.flatnonzero(~np.isnan(corpus.labels))
    if len(rated) <= MAX_RESPONSES:
        return rated
    return np.sort(np.random.default_rng(seed).choice(rated, MAX_RESPONSES, replace=False))


def _design(
    block: EncodedBlock, corpus: Corpus, rated: NDArray[np.int64], seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, NDArray[np.int64]]:
    """Columns (sentence, column) with a constant last, offsets, labels, folds and groups (bag,) of these responses."""
    block = block.take(rated)
    table = compute(block, RECIPES["own"])
    table = Standardiser.fit(table)(table)
    centred = torch.from_numpy(block.sentences - block.sentences.mean(0))
    rank = min(DIRECTIONS, *centred.shape)
    spread, axes = torch.linalg.eigh(centred.T @ centred)
    widest = centred @ axes[:, -rank:] / spread[-rank:].clamp(min=1e-6).sqrt() * len(centred) ** 0.5
    dense = torch.from_numpy(np.asarray(table.dense, dtype=np.float32)).clamp(-5, 5)
    columns = torch.cat([dense, widest.clamp(-5, 5) / 4, torch.ones(len(dense), 1)], 1)
    groups = np.array(corpus.groups)[rated]
    labels = corpus.labels[rated]
    fold = deal_folds(groups.tolist(), labels, FOLDS, seed)
    codes = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    return (
        columns,
        torch.from_numpy(block.offsets),
        torch.from_numpy(labels.astype(np.float32)),
        torch.from_numpy(fold),
        codes,
    )


def _held_out(columns: Tensor, offsets: Tensor, labels: Tensor, fold: Tensor, form: Aggregation) -> Tensor:
    """Log-odds of every response by the model that did not see its fold: (bag,)."""
    members = int(fold.max()) + 1
    seen = (fold.unsqueeze(1) != torch.arange(members)).float()  # (bag, member)
    ridge = torch.full((columns.shape[1], 1), RIDGE)
    ridge[-1] = 0.0  # the constant is free

    def cost(weights: Tensor) -> Tensor:
        likelihood = form.log_likelihood(columns @ weights, offsets, labels)  # (bag, member)
        return -(likelihood * seen).sum() / seen.sum(0).mean() + (ridge * weights.square()).sum()

    (weights,) = minimise([torch.zeros(columns.shape[1], members)], cost, steps=STEPS)
    with torch.inference_mode():
        logits = form.from_logits(columns @ weights, offsets)
        return logits.gather(1, fold.unsqueeze(1)).squeeze(1).double()
