"""A small linear model under any aggregation, all folds at once: held-out scores for checks, at little cost."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal.encoders.block import EncodedBlock, ragged_rows
from fractal.ensemble.weighting import refined_log_loss
from fractal.evaluation.folds import deal_folds
from fractal.evaluation.intervals import percentile_interval
from fractal.evaluation.metrics import resampled_weights
from fractal.evaluation.outcomes import CONFIDENCE, FOLDS, RESAMPLES
from fractal.features import RECIPES
from fractal.features.pipeline import FeaturePipeline
from fractal.mil.aggregations import AGGREGATIONS, Aggregation
from fractal.mil.optimise import minimise
from fractal.records.corpus import Corpus

__all__ = ["MIN_GAIN_NATS", "FormComparison", "LinearProbe", "sampled_ratings"]

MIN_GAIN_NATS = 0.01  # a response: what one form must save on another to be called better

MAX_RESPONSES = 1500  # rated responses that a check reads
DIRECTIONS = 24  # of the sentence vectors, the widest ones
STEPS = 40
RIDGE = 3e-3
# In place of vectors; nothing that learns from all labels, as the small models must not have seen those held out.
TEXT_COLUMNS = tuple(dict.fromkeys(spec for spec in (*RECIPES["own"], *RECIPES["steps"]) if spec != "passed_runs"))


@dataclasses.dataclass(frozen=True, eq=False)
class FormComparison:
    """What each rated response's held-out label costs under several forms of aggregation, by one small model each."""

    costs: dict[str, NDArray[np.float64]]  # (case,) by name
    groups: NDArray[np.int64]  # (case,)
    seed: int

    @classmethod
    def of(cls, probe: LinearProbe, forms: Mapping[str, str]) -> FormComparison:
        """Fit a small model under each form: name → form as it is written."""
        offset = None if probe.controlled is None else probe.controlled.squeeze(-1)
        costs = {
            name: refined_log_loss(probe.held_out(form), probe.labels, offset=offset) for name, form in forms.items()
        }
        return cls(costs, np.unique(probe.groups, return_inverse=True)[1].astype(np.int64), probe.seed)

    def best(self, names: Iterable[str]) -> str:
        """Return which of these explains held-out labels best."""
        return min(names, key=lambda name: float(self.costs[name].mean()))

    def possible(self, names: Sequence[str], *, graded: bool) -> list[str]:
        """Return those that are not clearly worse than the best; of graded labels the first, or the best instead."""
        best = self.best(names)
        if graded:
            return [best if self.clearly_worse(names[0], best) else names[0]]
        return [name for name in names if name == best or not self.clearly_worse(name, best)]

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


@dataclasses.dataclass(frozen=True, eq=False)
class LinearProbe:
    """What a small linear model reads of rated responses, and how it does on those that it did not see."""

    columns: Tensor  # (sentence, column), a constant last
    offsets: NDArray[np.int64]  # (bag + 1,)
    labels: Tensor  # (bag,)
    groups: NDArray[np.str_]  # (bag,)
    seed: int
    controlled: Tensor | None = None  # (bag, 1): held-out log-odds of a good label by what is controlled

    @classmethod
    def of(
        cls,
        block: EncodedBlock,
        corpus: Corpus,
        seed: int,
        rated: NDArray[np.int64] | None = None,
        features: tuple[str, ...] | None = None,
        controlled: Tensor | None = None,
    ) -> LinearProbe:
        """Lay out these rated responses, else a sample of all, by these features.

        Without features: those of words, and the widest directions of the vectors; what the steps are, where there are
        no vectors. What is `controlled` (response, 1) is added to the log-odds of responses.
        """
        rated = sampled_ratings(corpus, seed) if rated is None else rated
        block = block.take(rated)
        columns = _columns_of_words(block) if features is None else _columns_of(block, features)
        columns = torch.cat([columns, torch.ones(len(columns), 1)], 1)
        labels = torch.from_numpy(corpus.labels[rated].astype(np.float32))
        controlled = controlled if controlled is None else controlled[torch.from_numpy(rated)]
        return cls(columns, block.offsets, labels, np.array(corpus.groups)[rated], seed, controlled)

    def take(self, bags: NDArray[np.int64]) -> LinearProbe:
        """Return the same of some responses alone."""
        sentences, offsets = ragged_rows(self.offsets, bags)
        controlled = self.controlled if self.controlled is None else self.controlled[bags]
        return LinearProbe(
            self.columns[sentences], offsets, self.labels[bags], self.groups[bags], self.seed, controlled
        )

    @functools.cached_property
    def folds(self) -> Tensor:
        """Which fold each response is in, the same under every form: (bag,)."""
        return torch.from_numpy(deal_folds(self.groups.tolist(), self.labels.numpy(), FOLDS, self.seed))

    def held_out(self, form: str) -> Tensor:
        """Fit all folds at once; return every response's log-odds by the model that did not see its fold: (bag,)."""
        aggregation: Aggregation = AGGREGATIONS.build(form)
        offsets = torch.from_numpy(self.offsets)
        members = int(self.folds.max()) + 1
        seen = (self.folds.unsqueeze(1) != torch.arange(members)).float()  # (bag, member)
        ridge = torch.full((self.columns.shape[1], 1), RIDGE)
        ridge[-1] = 0.0  # the constant is free

        def cost(weights: Tensor) -> Tensor:
            likelihood = aggregation.log_likelihood(
                self.columns @ weights, offsets, self.labels, self.controlled
            )  # (bag, member)
            return -(likelihood * seen).sum() / seen.sum(0).mean() + (ridge * weights.square()).sum()

        (weights,) = minimise([torch.zeros(self.columns.shape[1], members)], cost, steps=STEPS)
        with torch.inference_mode():
            logits = aggregation.from_logits(self.columns @ weights, offsets)
            return logits.gather(1, self.folds.unsqueeze(1)).squeeze(1).double()


def sampled_ratings(corpus: Corpus, seed: int) -> NDArray[np.int64]:
    """Return which rated responses are read: all, or so many that a check stays cheap."""
    rated = np.flatnonzero(~np.isnan(corpus.labels))
    if len(rated) <= MAX_RESPONSES:
        return rated
    return np.sort(np.random.default_rng(seed).choice(rated, MAX_RESPONSES, replace=False))


def _columns_of_words(block: EncodedBlock) -> Tensor:
    """Return the scalar columns of sentences and the widest directions of their vectors: (sentence, column)."""
    if not block.has_vectors:
        return _columns_of(block, TEXT_COLUMNS)
    centred = torch.from_numpy(block.sentences - block.sentences.mean(0))
    rank = min(DIRECTIONS, *centred.shape)
    spread, axes = torch.linalg.eigh(centred.T @ centred)
    widest = centred @ axes[:, -rank:] / spread[-rank:].clamp(min=1e-6).sqrt() * len(centred) ** 0.5
    return torch.cat([_columns_of(block, RECIPES["own"]), widest.clamp(-5, 5) / 4], 1)


def _columns_of(block: EncodedBlock, features: tuple[str, ...]) -> Tensor:
    """Return the columns of features, those that learn fitted to the block: (sentence, column)."""
    table = FeaturePipeline.fit(block, features, 0)[1]
    return torch.from_numpy(np.asarray(table.dense, dtype=np.float32)).clamp(-5, 5)
