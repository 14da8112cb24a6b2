"""The block that training reads: the sentences of all responses flat in one tensor, cut into ragged bags by offsets."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fractal.errors import BadData
from fractal.mil.segments import bag_index, ragged_rows, segment_max

__all__ = ["Bags", "ChunkPairs", "Fetch", "SentencePairs", "Shared"]

OFFSETS = ("preference_offset", "rating_offset")
Fetch = Callable[[Tensor, Tensor], Tensor]  # (rows of a block, which) → those rows


@dataclasses.dataclass(frozen=True, eq=False)
class Shared:
    """Vectors that many sentences share, such as the query of their response: stored once, projected once."""

    rows: Tensor  # (row, dim)
    row_offsets: Tensor  # (bag + 1,): the rows of a bag stand together; a bag may have none
    index: Tensor  # (sentence,): the row of each sentence
    every: bool = False  # each sentence stands beside every row of its bag, and the largest log-odds count

    def take(self, bags: Tensor, sentences: Tensor, offsets: Tensor, size: int | None = None) -> Shared:
        """Return the rows of these bags, and where these sentences (cut at the new offsets) find theirs."""
        rows, row_offsets = ragged_rows(self.row_offsets, bags, size)
        moved = row_offsets[:-1] - self.row_offsets.index_select(0, bags)  # (bag,)
        shift = torch.repeat_interleave(moved, offsets.diff(), output_size=len(sentences))
        index = self.index.index_select(0, sentences) + shift
        return Shared(self.rows.index_select(0, rows), row_offsets, index, self.every)


@dataclasses.dataclass(frozen=True, eq=False)
class SentencePairs:
    """How alike two sentences of one bag are, for every pair of them: compared once, read in every epoch."""

    first: Tensor  # (pair,): a row of the block
    second: Tensor  # (pair,): a later row of the same bag
    similarity: Tensor  # (pair,) in [0, 1]
    offsets: Tensor  # (bag + 1,): a bag of one sentence has no pair

    def take(self, bags: Tensor, moved: Tensor, size: int | None = None) -> SentencePairs:
        """Return the pairs of these bags; `moved` (bag,) says how far each bag's sentences are shifted."""
        pairs, offsets = ragged_rows(self.offsets, bags, size)
        shift = torch.repeat_interleave(moved, offsets.diff(), output_size=len(pairs))
        first, second = self.first.index_select(0, pairs) + shift, self.second.index_select(0, pairs) + shift
        return SentencePairs(first, second, self.similarity.index_select(0, pairs), offsets)


@dataclasses.dataclass(frozen=True, eq=False)
class ChunkPairs:
    """Every sentence beside every row of its bag in a block of chunks; those of a sentence stand together."""

    sentence: Tensor  # (pair,)
    chunk: Tensor  # (pair,): a row of the block
    offsets: Tensor  # (sentence + 1,)

    @classmethod
    def of(cls, bags: Bags, chunks: Shared) -> ChunkPairs:
        """Return all pairs of these bags."""
        rows, offsets = ragged_rows(chunks.row_offsets, bags.sentence_bag)
        return cls(bag_index(offsets, len(rows)), rows, offsets)

    def largest(self, values: Tensor) -> ChunkPairs:
        """Return the pairs that are the largest of their sentence in some column of values (pair, column)."""
        best = segment_max(values, self.offsets).index_select(0, self.sentence)
        chosen = (values == best).any(1)
        passed = torch.cat([self.offsets.new_zeros(1), chosen.cumsum(0)])
        return ChunkPairs(self.sentence[chosen], self.chunk[chosen], passed.index_select(0, self.offsets))


@dataclasses.dataclass(frozen=True, eq=False)
class Bags:
    """Responses as tensors: one row a sentence, one bag a response, no padding anywhere.

    The features may be a view of a memory-mapped file: `take` and `batches` read only the rows that they give.
    """

    features: Tensor  # (sentence, column)
    offsets: Tensor  # (bag + 1,)
    labels: Tensor  # (bag,) in [0, 1], nan where unknown; of several aspects (bag, aspect)
    shared: tuple[Shared, ...]
    targets: Mapping[str, Tensor]  # (sentence,) each, nan where unknown
    vectors: Tensor  # (sentence, dim): unit sentence vectors
    initial_logits: Tensor  # (sentence,): the logit at which the head starts
    pairs: Tensor | None  # (pair, 3): better bag, worse bag, tie
    weights: Tensor  # (bag, member | 1): how much each member learns from each bag
    sentence_pairs: SentencePairs | None = None
    preference_offset: Tensor | None = None  # (bag, 1 | member): log-odds by which length and the like are preferred
    rating_offset: Tensor | None = None  # (bag, [aspect,] 1 | member): log-odds of a good label by covariates alone

    @classmethod
    def make(
        cls,
        features: Tensor,
        offsets: Tensor,
        labels: Tensor | None = None,
        *,
        shared: tuple[Shared, ...] = (),
        targets: Mapping[str, Tensor] | None = None,
        vectors: Tensor | None = None,
        initial_logits: Tensor | None = None,
        pairs: Tensor | None = None,
        weights: Tensor | None = None,
        sentence_pairs: SentencePairs | None = None,
        preference_offset: Tensor | None = None,
        rating_offset: Tensor | None = None,
    ) -> Bags:
        """Build bags, what is left out filled in, after checking that everything fits together."""
        sentences, count, device = len(features), max(len(offsets) - 1, 0), features.device
        bags = cls(
            features=features,
            offsets=offsets,
            labels=torch.full((count,), torch.nan, device=device) if labels is None else labels,
            shared=tuple(shared),
            targets=dict(targets or {}),
            vectors=features.new_zeros(sentences, 0) if vectors is None else vectors,
            initial_logits=torch.zeros(sentences, device=device) if initial_logits is None else initial_logits,
            pairs=pairs,
            weights=torch.ones(count, 1, device=device) if weights is None else weights,
            sentence_pairs=sentence_pairs,
            preference_offset=preference_offset,
            rating_offset=rating_offset,
        )
        _check(bags)
        return bags

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @functools.cached_property
    def sentence_bag(self) -> Tensor:
        """Which bag each sentence is in: (sentence,)."""
        return bag_index(self.offsets, len(self.features))

    def of_aspect(self, column: int) -> Bags:
        """Return the bags as one who rates only this of several aspects sees them."""
        offset = self.rating_offset
        offset = offset if offset is None else offset[:, column]
        return dataclasses.replace(self, labels=self.labels[:, column], rating_offset=offset)

    def with_offsets(self, of: Callable[[Tensor], Tensor]) -> Bags:
        """Return the same bags with other offsets, made of those that there are."""
        preferred, rated = self.preference_offset, self.rating_offset
        return dataclasses.replace(
            self,
            preference_offset=preferred if preferred is None else of(preferred),
            rating_offset=rated if rated is None else of(rated),
        )

    @property
    def chunks(self) -> Shared | None:
        """The block of which each sentence stands beside every row of its bag, where there is one."""
        return next((shared for shared in self.shared if shared.every), None)

    def with_targets(self, **targets: Tensor) -> Bags:
        """Return the same bags with further columns of targets, or other values in known ones."""
        return dataclasses.replace(self, targets={**self.targets, **targets})

    def take(self, bags: Tensor) -> Bags:
        """Return these bags, in this order, re-based; of the pairs those whose two bags are both taken."""
        return self._gather(bags, _pairs_inside(self.pairs, bags, len(self)), _Sizes(), _fetch)

    def batches(
        self, size: int, generator: torch.Generator | None = None, fetch: Fetch | None = None
    ) -> Iterator[Bags]:
        """Cut the shuffled bags into batches of about `size`.

        With pairs, each pair comes once, both of its bags in one batch; a bag of several pairs may come several times.
        `fetch`, where given, gets the feature rows: it may use the same memory for every batch.
        """
        counts = _Counts.of(self)
        for bags, pairs in _shuffled(self, size, generator):
            yield self._gather(bags.to(self.offsets.device), pairs, counts.sizes(bags), fetch or _fetch)

    def to(self, device: torch.device | str) -> Bags:
        """Return the same bags on a device."""
        moved = {f.name: _moved(getattr(self, f.name), torch.device(device)) for f in dataclasses.fields(self)}
        return Bags(**moved)

    def _gather(self, bags: Tensor, pairs: Tensor | None, sizes: _Sizes, fetch: Fetch) -> Bags:
        rows, offsets = ragged_rows(self.offsets, bags, sizes.sentences)
        sentence_pairs = self.sentence_pairs
        if sentence_pairs is not None:
            sentence_pairs = sentence_pairs.take(
                bags, offsets[:-1] - self.offsets.index_select(0, bags), sizes.sentence_pairs
            )
        rows_of = sizes.rows or (None,) * len(self.shared)
        return Bags(
            features=fetch(self.features, rows),
            offsets=offsets,
            labels=self.labels.index_select(0, bags),
            shared=tuple(s.take(bags, rows, offsets, n) for s, n in zip(self.shared, rows_of, strict=True)),
            targets={name: values.index_select(0, rows) for name, values in self.targets.items()},
            vectors=self.vectors.index_select(0, rows),
            initial_logits=self.initial_logits.index_select(0, rows),
            pairs=pairs,
            weights=self.weights.index_select(0, bags),
            sentence_pairs=sentence_pairs,
            preference_offset=_rows(self.preference_offset, bags),
            rating_offset=_rows(self.rating_offset, bags),
        )


def _fetch(block: Tensor, rows: Tensor) -> Tensor:
    return block.index_select(0, rows)


def _rows(values: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if values is None else values.index_select(0, rows)


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """How many rows a batch has, known on the host so that a GPU need not be asked; None: ask."""

    sentences: int | None = None
    rows: tuple[int | None, ...] = ()
    sentence_pairs: int | None = None


@dataclasses.dataclass(frozen=True)
class _Counts:
    """How many sentences, shared rows and sentence pairs every bag has: (bag,) each, on the host."""

    sentences: Tensor
    rows: tuple[Tensor, ...]
    sentence_pairs: Tensor | None

    @classmethod
    def of(cls, bags: Bags) -> _Counts:
        sentence_pairs = bags.sentence_pairs
        return cls(
            bags.offsets.diff().cpu(),
            tuple(shared.row_offsets.diff().cpu() for shared in bags.shared),
            None if sentence_pairs is None else sentence_pairs.offsets.diff().cpu(),
        )

    def sizes(self, bags: Tensor) -> _Sizes:
        return _Sizes(
            int(self.sentences[bags].sum()),
            tuple(int(rows[bags].sum()) for rows in self.rows),
            None if self.sentence_pairs is None else int(self.sentence_pairs[bags].sum()),
        )


def _pairs_inside(pairs: Tensor | None, bags: Tensor, count: int) -> Tensor | None:
    """Pairs of which both bags are among these, with their new places."""
    if pairs is None:
        return None
    place = torch.full((count,), -1, dtype=torch.long, device=bags.device)
    place[bags] = torch.arange(len(bags), device=bags.device)
    better, worse = place[pairs[:, 0]], place[pairs[:, 1]]
    both_taken = (better >= 0) & (worse >= 0)
    return torch.stack([better, worse, pairs[:, 2]], dim=1)[both_taken]


def _shuffled(bags: Bags, size: int, generator: torch.Generator | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Bags of each batch, on the host, with the batch's pairs in the batch's own numbers."""
    if size < 1:
        raise ValueError(f"a batch of {size} bags: give at least 1")
    device = generator.device if generator is not None else torch.device("cpu")
    if bags.pairs is None or len(bags.pairs) == 0:
        for part in torch.randperm(len(bags), generator=generator, device=device).cpu().split(size):
            yield part, None if bags.pairs is None else bags.pairs[:0]
        return
    pairs = bags.pairs.cpu()
    alone = torch.ones(len(bags), dtype=torch.bool)
    alone[pairs[:, :2].flatten()] = False
    single = alone.nonzero().squeeze(1)
    # a unit is a pair, which fills two places of a batch, or a bag of no pair, which fills one
    units = torch.randperm(len(pairs) + len(single), generator=generator, device=device).cpu()
    places = torch.where(units < len(pairs), 2, 1)
    batch = (places.cumsum(0) - places) // size
    for part in units.split(torch.unique_consecutive(batch, return_counts=True)[1].tolist()):
        chosen = pairs[part[part < len(pairs)]]
        members, place = torch.unique(chosen[:, :2], return_inverse=True)
        taken = torch.cat([members, single[part[part >= len(pairs)] - len(pairs)]])
        yield taken, torch.cat([place, chosen[:, 2:]], dim=1).to(bags.offsets.device)


def _moved(value: Any, device: torch.device) -> Any:
    """Move every tensor inside a value."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: _moved(part, device) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_moved(part, device) for part in value)
    if isinstance(value, Shared | SentencePairs):
        return type(value)(*(_moved(getattr(value, f.name), device) for f in dataclasses.fields(value)))
    return value


def _check(bags: Bags) -> None:
    """Refuse blocks that do not fit together, before a wrong row trains silently."""
    sentences = len(bags.features)
    _check_offsets(bags.offsets, sentences, "offsets", smallest=1)
    count = len(bags)
    by_sentence = {"vectors": bags.vectors, "initial_logits": bags.initial_logits}
    by_sentence |= {f"targets[{name!r}]": values for name, values in bags.targets.items()}
    by_sentence |= {f"shared[{i}].index": shared.index for i, shared in enumerate(bags.shared)}
    for name, values in by_sentence.items():
        _check_length(name, values, sentences, "sentences")
    by_bag = {"labels": bags.labels, "weights": bags.weights}
    by_bag |= {name: values for name in OFFSETS if (values := getattr(bags, name)) is not None}
    for name, values in by_bag.items():
        _check_length(name, values, count, "bags")
    labels = bags.labels[~bags.labels.isnan()]
    if bool(((labels < 0) | (labels > 1)).any()):
        raise BadData(f"labels from {float(labels.min()):g} to {float(labels.max()):g}: a label lies in [0, 1]")
    for i, shared in enumerate(bags.shared):
        _check_offsets(shared.row_offsets, len(shared.rows), f"shared[{i}].row_offsets", smallest=0)
        _check_length(f"shared[{i}].row_offsets[1:]", shared.row_offsets[1:], count, "bags")
        start, end = shared.row_offsets[bags.sentence_bag], shared.row_offsets[bags.sentence_bag + 1]
        if shared.every and len(bags) and int(shared.row_offsets.diff().min()) < 1:
            raise BadData(f"shared[{i}] has no row for some bag: a sentence needs one to stand beside")
        if bool(((shared.index < start) | (shared.index >= end)).any()):
            raise BadData(f"shared[{i}].index points outside the rows of the sentence's own bag")
    if bags.pairs is not None:
        _check_pairs(bags.pairs, count)
    if bags.sentence_pairs is not None:
        _check_offsets(
            bags.sentence_pairs.offsets, len(bags.sentence_pairs.first), "sentence_pairs.offsets", smallest=0
        )


def _check_length(name: str, values: Tensor, expected: int, what: str) -> None:
    if len(values) != expected:
        raise BadData(f"{name} has {len(values)} rows for {expected} {what}: give one a {what.rstrip('s')}")


def _check_offsets(offsets: Tensor, rows: int, name: str, smallest: int) -> None:
    if offsets.dtype != torch.int64 or offsets.ndim != 1 or len(offsets) < 1:
        raise BadData(f"{name} is {offsets.dtype} of shape {tuple(offsets.shape)}: give int64 of shape (bag + 1,)")
    if int(offsets[0]) != 0 or int(offsets[-1]) != rows:
        raise BadData(f"{name} runs from {int(offsets[0])} to {int(offsets[-1])} for {rows} rows: cut all of them")
    if len(offsets) > 1 and int(offsets.diff().min()) < smallest:
        bag = int(offsets.diff().argmin())
        raise BadData(f"{name}: bag {bag} has {int(offsets.diff()[bag])} rows; every bag needs at least {smallest}")


def _check_pairs(pairs: Tensor, count: int) -> None:
    if pairs.ndim != 2 or pairs.shape[1] != 3:
        raise BadData(f"pairs have the shape {tuple(pairs.shape)}: give (pair, 3): better bag, worse bag, tie")
    if len(pairs) and (int(pairs[:, :2].min()) < 0 or int(pairs[:, :2].max()) >= count):
        raise BadData(f"pairs name the bag {int(pairs[:, :2].max())}, but there are {count} bags, from 0")
