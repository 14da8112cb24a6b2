"""What a head says of bags, and what the labels that its members did not learn from cost it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from fractal.mil.aggregations import Aggregation
from fractal.mil.bags import Bags
from fractal.mil.head import Head, filled_up, pick_members
from fractal.mil.objectives.base import Scores, Term
from fractal.mil.objectives.losses import PreferenceLoss, SentenceLoss
from fractal.mil.outputs import by_member

__all__ = ["ValidationFold", "held_out_logits", "predict_logits", "steady_logits", "validate", "validation_folds"]

SENTENCES_AT_ONCE = 16_384  # bounds the memory of scoring; larger blocks gain nothing
SHARED_AT_ONCE = (
    131_072  # values of the widest layer in a tile: memory stays in the caches, halves and quarters are whole lanes
)
MOST_ROWS = 512  # of a tile
MOST_PAIRS = 4_000  # of held-out responses, compared after every epoch; of more, so many are drawn


def predict_logits(head: Head, bags: Bags, precision: torch.dtype | None = None, only: Tensor | None = None) -> Tensor:
    """Return the log-odds of every sentence, or of the given bags', without training: (sentence, [level − 1,] member).

    The bags may be on another device than the head; the log-odds come to where the bags are.
    """
    head.eval()
    device = head.enter.device
    with torch.inference_mode():
        parts = [head(block.to(device), precision=precision) for block in _blocks(bags, only)]
        return torch.cat(parts).to(bags.offsets.device)


def steady_logits(head: Head, bags: Bags) -> Tensor:
    """Return the log-odds of every sentence to the same bits alone and in any company: (sentence, [level − 1,] member).

    All products have one shape, tiles of rows filled up with zeros, as the shape decides how sums are taken. Tiles have
    a power of two of rows, so that two, four or eight threads share them without a rest. Of sentences beside every
    chunk the head cuts such tiles itself.
    """
    if bags.chunks is not None:
        return predict_logits(head, bags)
    head.eval()
    shape = head.shape
    widest = max(shape.members * max((*shape.hidden, shape.thresholds)), 1)
    rows = 1 << max(min(SHARED_AT_ONCE // widest, MOST_ROWS).bit_length() - 1, 4)
    parts = []
    with torch.inference_mode():
        for first in range(0, max(len(bags.features), 1), rows):
            part, count = slice(first, first + rows), min(rows, len(bags.features) - first)
            features, initial = filled_up(bags.features[part], rows), filled_up(bags.initial_logits[part], rows)
            every = torch.arange(rows, device=features.device)
            shared = tuple((filled_up(s.rows[s.index[part]], rows), every) for s in bags.shared)
            moved = [(block.to(head.enter.device), index.to(head.enter.device)) for block, index in shared]
            logits = head.of_rows(features.to(head.enter.device), tuple(moved), initial.to(head.enter.device))
            parts.append(logits[:count].to(bags.offsets.device))
    return torch.cat(parts)


def held_out_logits(head: Head, bags: Bags) -> Tensor:
    """Return each sentence's log-odds by the members that did not learn from its bag: (sentence, [level − 1,] 1).

    A bag that every member learned from, or none did, is scored by all of them.
    """
    head.eval()
    device = head.enter.device
    with torch.inference_mode():
        parts = [_by_unseen(head(block.to(device)).to(bags.offsets.device), block) for block in _blocks(bags, None)]
    return torch.cat(parts)


def _by_unseen(logits: Tensor, bags: Bags) -> Tensor:
    unseen = (bags.weights == 0).expand(-1, logits.shape[-1])  # (bag, member)
    by = torch.where(unseen.any(1, keepdim=True), unseen, True).to(logits.dtype)
    share = (by / by.sum(1, keepdim=True))[bags.sentence_bag]  # (sentence, member)
    return (logits * share.view(len(logits), *(1,) * (logits.dim() - 2), -1)).sum(-1, keepdim=True)


def _blocks(bags: Bags, only: Tensor | None) -> Iterator[Bags]:
    """Cut into consecutive blocks of bounded size, each made when it is asked for; a block holds whole bags."""
    largest = max(len(bags.features), 0 if bags.chunks is None else len(bags.chunks.rows))
    if only is None and largest <= SENTENCES_AT_ONCE:
        yield bags
        return
    chosen = torch.arange(len(bags), device=bags.offsets.device) if only is None else only
    sizes = bags.offsets.diff().index_select(0, chosen)
    if bags.chunks is not None:
        sizes = torch.maximum(sizes, bags.chunks.row_offsets.diff().index_select(0, chosen))
    number = torch.div(sizes.cumsum(0) - sizes, SENTENCES_AT_ONCE, rounding_mode="floor")
    counts = torch.unique_consecutive(number, return_counts=True)[1].tolist()
    columns = _columns_only(bags)
    for part in chosen.split(counts):
        yield columns.take(part)


@dataclass(frozen=True, eq=False)
class ValidationFold:
    """What some members may not see, and are judged by: which bags, and all of them but their columns."""

    members: tuple[int, ...]
    bags: Tensor  # (held-out bag,)
    labels: Bags
    pairs: Tensor  # (pair, 2): the first is labelled higher than the second, or preferred


def validation_folds(bags: Bags, members: int) -> tuple[ValidationFold, ...]:
    """Gather what is held out, each bag once for all members that hold out the same."""
    hidden = (bags.weights == 0).expand(-1, members).T.cpu()  # (member, bag)
    by_held_out: dict[bytes, list[int]] = {}
    for member, row in enumerate(hidden):
        by_held_out.setdefault(row.numpy().tobytes(), []).append(member)
    bare = _without_columns(bags)
    folds = []
    for same in by_held_out.values():
        held_out = hidden[same[0]].nonzero().squeeze(1).to(bags.offsets.device)
        if len(held_out):
            labels = bare.take(held_out).with_offsets(partial(_column, number=same[0]))
            folds.append(ValidationFold(tuple(same), held_out, labels, _pairs(labels)))
    return tuple(folds)


def _column(offset: Tensor, number: int) -> Tensor:
    """Return what one member sees: all that hold the same out learned the same of what is controlled."""
    return offset[..., number : number + 1] if offset.shape[-1] > 1 else offset


def _pairs(bags: Bags) -> Tensor:
    """Return strict preferences, or else pairs of unlike labels, the higher one first: (pair, 2).

    By rising label every response is above the first so many; all pairs counted through, each has a number.
    """
    if bags.pairs is not None and len(bags.pairs):
        return bags.pairs[bags.pairs[:, 2] == 0, :2]
    if bags.labels.dim() > 1:  # several labels of a response: there is no one order
        return bags.offsets.new_empty(0, 2)
    labels = bags.labels.cpu()
    order = labels.argsort()[: int((~labels.isnan()).sum())]  # unknown ones are sorted to the end
    below = torch.searchsorted(labels[order], labels[order])
    passed = below.cumsum(0)
    count = int(below.sum())
    some = torch.Generator().manual_seed(0)
    number = torch.arange(count) if count <= MOST_PAIRS else torch.randint(count, (MOST_PAIRS,), generator=some)
    higher = torch.searchsorted(passed, number, right=True)
    lower = number - (passed - below)[higher]
    return torch.stack([order[higher], order[lower]], 1).to(bags.offsets.device)


def validate(
    head: Head,
    bags: Bags,
    folds: Sequence[ValidationFold],
    term: Term,
    aggregation: Aggregation,
    precision: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Return what the labels that a member may not see cost it, and the share of pairs that it puts in order.

    Both (member,), nan where a member holds nothing out that tells of it.
    """
    cost, order = torch.full((2, head.shape.members), torch.nan, device=bags.offsets.device)
    for fold in folds:
        if not _has_labels(fold.labels, term):
            continue
        logits = predict_logits(pick_members(head, fold.members), bags, precision, fold.bags)
        with torch.inference_mode():
            scores = Scores(logits, fold.labels.offsets, aggregation)
            cost[list(fold.members)] = term(scores, fold.labels).to(cost.dtype)
            order[list(fold.members)] = _in_order(scores, fold.pairs).to(order.dtype)
    return cost, order


def _in_order(scores: Scores, pairs: Tensor) -> Tensor:
    """Share of pairs whose first has the higher score, ties half: (member,)."""
    logits = by_member(scores.response_logits)  # (bag, member)
    lead = logits[pairs[:, 0]] - logits[pairs[:, 1]]  # (pair, member)
    return (0.5 + 0.5 * lead.sign()).mean(0)


def _has_labels(bags: Bags, term: Term) -> bool:
    """Whether there is something that the term can read."""
    if isinstance(term, PreferenceLoss):
        return bags.pairs is not None and len(bags.pairs) > 0
    labels = bags.targets[term.target] if isinstance(term, SentenceLoss) else bags.labels
    return not bool(labels.isnan().all())


def _without_columns(bags: Bags) -> Bags:
    """Return the labels, targets and pairs alone, every bag of weight 1."""
    nothing = bags.features.new_zeros(len(bags.features), 0)
    even = torch.ones_like(bags.weights[:, :1])
    return replace(bags, features=nothing, shared=(), vectors=nothing, sentence_pairs=None, weights=even)


def _columns_only(bags: Bags) -> Bags:
    """Return what a head reads, so that cutting moves nothing else."""
    return replace(bags, targets={}, vectors=bags.vectors[:, :0], sentence_pairs=None, pairs=None)
