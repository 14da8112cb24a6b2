"""Terms that read no label: what is believed of sentences before anyone rated a response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fractal.mil.bags import Bags, SentencePairs
from fractal.mil.objectives.base import Scores, Term, check_kind, weighted_mean
from fractal.mil.objectives.losses import against_target
from fractal.mil.segments import lift, segment_sum
from fractal.registry import Registry

__all__ = ["PRIORS", "ColumnPrior", "CorrelationPrior", "CosinePrior", "HybridPrior", "pairwise_similarity"]

PRIORS: Registry[Term] = Registry("prior")

TEACHER = "teacher"  # the column of its scores
PAIRS_AT_ONCE = 1 << 18  # bounds the memory of the correlations, which compare whole embedding rows


@PRIORS.register("cosine")
@dataclass(frozen=True)
class CosinePrior(Term):
    """A sentence close to its context is likely good: pulls scores to (1 + cosine to the best chunk) / 2."""

    weight: float = 0.1
    kind: str = "bce"

    def __post_init__(self) -> None:
        check_kind(self.kind, ("bce", "mae", "mse"))

    def __call__(self, scores: Scores, bags: Bags) -> Tensor:
        return against_target("cosine", self.kind, scores, bags)


@PRIORS.register("column")
@dataclass(frozen=True)
class ColumnPrior(Term):
    """A column in [0, 1] of your own, such as an entailment probability, pulls the scores towards itself."""

    column: str
    weight: float = 0.1
    kind: str = "bce"

    def __post_init__(self) -> None:
        check_kind(self.kind, ("bce", "mae", "mse"))

    def __call__(self, scores: Scores, bags: Bags) -> Tensor:
        return against_target(self.column, self.kind, scores, bags)


@PRIORS.register("hybrid")
@dataclass(frozen=True)
class HybridPrior(Term):
    """A teacher that learned the sentence labels of a share of the responses, frozen, guides those of the others."""

    weight: float = 0.2
    share: float = 0.2  # of the responses with sentence labels, whose labels are used
    kind: str = "bce"

    def __post_init__(self) -> None:
        check_kind(self.kind, ("bce", "mae", "mse"))
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share={self.share}: give a share in (0, 1]")

    def __call__(self, scores: Scores, bags: Bags) -> Tensor:
        return against_target(TEACHER, self.kind, scores, bags)


@PRIORS.register("correlation")
@dataclass(frozen=True)
class CorrelationPrior(Term):
    """Sentences of one response that resemble each other likely share a label: the paper's pairwise penalty."""

    weight: float = 0.1

    def __call__(self, scores: Scores, bags: Bags) -> Tensor:
        sentence_pairs = bags.sentence_pairs if bags.sentence_pairs is not None else pairwise_similarity(bags)
        s = scores.sentence  # (sentence, member)
        crossed: Tensor = _Disagreement.apply(s, sentence_pairs)  # (bag, member)
        alone = (1 - (1 - s).square()) * (1 - s.square())  # a sentence with itself: similarity 1
        size = bags.offsets.diff().to(s.dtype).unsqueeze(-1)  # (bag, 1)
        # all ordered pairs of a bag, each sentence with itself included: so repeating its sentences changes nothing
        return weighted_mean((2 * crossed + segment_sum(alone, bags.offsets)) / size.square(), bags.weights)


class _Disagreement(torch.autograd.Function):
    """Sum over the sentence pairs of each bag of |(1 − a)(1 − b) − similarity| · |a b − similarity|: (bag, member).

    Pairs are many more than sentences, so the slopes are worked out on the way forward and nothing else is kept.
    """

    @staticmethod
    def forward(ctx: Any, s: Tensor, sentence_pairs: SentencePairs) -> Tensor:
        """Return the sums; s (sentence, member)."""
        first = s.index_select(0, sentence_pairs.first)  # (pair, member)
        second = s.index_select(0, sentence_pairs.second)
        both = first * second - sentence_pairs.similarity.to(s.dtype).unsqueeze(-1)
        neither = both + (1 - first - second)  # (1 − a)(1 − b) = a b + 1 − a − b
        cost = both * neither
        if ctx.needs_input_grad[0]:
            side, sum_of_both = cost.sign(), both + neither
            ctx.save_for_backward((second * sum_of_both - both) * side, (first * sum_of_both - both) * side)
            ctx.sentence_pairs, ctx.sentences = sentence_pairs, len(s)
        return segment_sum(cost.abs_(), sentence_pairs.offsets)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Give each of the two sentences of a pair its slope."""
        by_first, by_second = ctx.saved_tensors
        sentence_pairs: SentencePairs = ctx.sentence_pairs
        lifted = lift(gradients[0], sentence_pairs.offsets, len(sentence_pairs.first))  # (pair, member)
        slope = lifted.new_zeros(ctx.sentences, lifted.shape[1])
        slope.index_add_(0, sentence_pairs.first, lifted * by_first)
        return slope.index_add_(0, sentence_pairs.second, lifted * by_second), None


def pairwise_similarity(bags: Bags) -> SentencePairs:
    """Compare every two sentences of each bag, once: similarity (1 + Pearson's ρ) / 2 of their embeddings."""
    first, second, offsets = _pairs_inside(bags.offsets)
    vectors = bags.vectors.float()
    centred = torch.nn.functional.normalize(vectors - vectors.mean(1, keepdim=True), dim=1)
    similarity = torch.empty(len(first), dtype=torch.float32, device=vectors.device)
    for start in range(0, len(similarity), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        similarity[part] = (1 + (centred[first[part]] * centred[second[part]]).sum(1)) / 2
    return SentencePairs(first, second, similarity, offsets)


def _pairs_inside(offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every unordered pair of two sentences of one bag, bag by bag, as rows of the block; and each bag's offsets."""
    sizes = offsets.diff()
    sentence = torch.arange(int(offsets[-1]), device=offsets.device)
    ends = torch.repeat_interleave(offsets[1:], sizes)  # (sentence,): where its bag ends
    later = ends - sentence - 1  # how many sentences of the bag come after this one
    first = torch.repeat_interleave(sentence, later)
    before = torch.cumsum(later, 0) - later  # (sentence,): pairs of all earlier sentences
    second = first + 1 + torch.arange(len(first), device=offsets.device) - torch.repeat_interleave(before, later)
    counts = sizes * (sizes - 1) // 2
    return first, second, torch.cat([offsets.new_zeros(1), counts.cumsum(0)])
