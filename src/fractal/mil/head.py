"""The head: columns of a sentence → its log-odds, for a whole ensemble at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal.mil.bags import Bags, ChunkPairs
from fractal.mil.fused_mlp import ForwardPass, FusedMLP, Workspace, products
from fractal.mil.segments import segment_max

__all__ = ["Head", "HeadShape", "filled_up", "pick_members"]

PAIRS_AT_ONCE = 512  # sentences beside chunks in a tile: what they take stays in the processor's cache
TILES_OF_GPU = 32  # in one, as a GPU wants more at once


@dataclass(frozen=True)
class HeadShape:
    """All that is needed to build a head of the same form again; it goes into `config.json`."""

    columns: int
    shared: tuple[int, ...] = ()  # width of each block of vectors that many sentences share
    members: int = 1
    hidden: tuple[int, ...] = (64,)
    thresholds: int = 1
    dropout: float = 0.0
    from_initial: bool = True  # start at the initial logits: a residual whose last layer is zero

    def __post_init__(self) -> None:
        if self.members < 1 or self.thresholds < 1 or any(width < 1 for width in self.hidden):
            raise ValueError(f"{self}: members, thresholds and every hidden width must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout={self.dropout}: give a share in [0, 1)")


class Head(nn.Module):
    """Log-odds = scale · initial logits + bias + residual, the residual a small network on the columns.

    Weights carry the member as an axis, so an ensemble costs a few large products instead of many small ones. The
    first layer is split: what many sentences share (the query, a chunk of context) is projected once, then added to
    each sentence of its own. With no hidden layer the residual is linear.
    """

    def __init__(self, shape: HeadShape, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.shape = shape
        generator = generator or torch.Generator().manual_seed(0)
        widths = (*shape.hidden, shape.thresholds)
        inputs = shape.columns + sum(shape.shared)
        first = shape.members * widths[0]
        self.enter = nn.Parameter(_uniform((shape.columns, first), inputs, generator))
        self.enter_shared = nn.ParameterList(_uniform((width, first), inputs, generator) for width in shape.shared)
        self.enter_bias = nn.Parameter(_uniform((first,), inputs, generator))
        self.weights = nn.ParameterList(
            _uniform((shape.members, fan_in, fan_out), fan_in, generator)
            for fan_in, fan_out in itertools.pairwise(widths)
        )
        self.biases = nn.ParameterList(
            _uniform((shape.members, 1, fan_out), fan_in, generator) for fan_in, fan_out in itertools.pairwise(widths)
        )
        self.scale = nn.Parameter(torch.ones(shape.members))
        # all thresholds start at even odds; aggregations over levels keep them in order themselves
        self.shift = nn.Parameter(torch.zeros(shape.thresholds, shape.members))
        self.workspace = Workspace()
        if shape.from_initial:
            self._silence_residual()

    def _silence_residual(self) -> None:
        with torch.no_grad():
            if self.weights:
                self.weights[-1].zero_()
                self.biases[-1].zero_()
            else:
                for parameter in (self.enter, *self.enter_shared, self.enter_bias):
                    parameter.zero_()

    def forward(
        self, bags: Bags, generator: torch.Generator | None = None, precision: torch.dtype | None = None
    ) -> Tensor:
        """Return the log-odds (sentence, [level − 1,] member); dropout draws from the generator while training.

        The precision is that of the products; what comes out has that of the weights. Where each sentence stands
        beside every chunk of its context, the largest residual over the chunks counts, of each output.
        """
        if bags.chunks is not None:
            return self._logits(self._largest_residual(bags, generator, precision), bags.initial_logits)
        shared = tuple((block.rows, block.index) for block in bags.shared)
        return self.of_rows(bags.features, shared, bags.initial_logits, generator, precision)

    def of_rows(
        self,
        features: Tensor,
        shared: tuple[tuple[Tensor, Tensor], ...],
        initial_logits: Tensor,
        generator: torch.Generator | None = None,
        precision: torch.dtype | None = None,
    ) -> Tensor:
        """Return the log-odds of sentences by their columns, of what they share the rows and the row of each."""
        first = (self.enter, self.enter_bias, *self.enter_shared)
        return self._logits(self._residual(features, shared, first, generator, precision), initial_logits)

    def _residual(
        self,
        features: Tensor,
        shared: tuple[tuple[Tensor, Tensor], ...],
        first: tuple[Tensor, ...],
        generator: torch.Generator | None,
        precision: torch.dtype | None,
    ) -> Tensor:
        """Return what the network says of rows: (row, member · (level − 1)); `first` has its first layer's weights."""
        shape = self.shape
        if len(shared) != len(first) - 2:
            raise ValueError(f"{len(shared)} blocks of shared vectors for a head of {len(first) - 2}")
        run = ForwardPass(
            members=shape.members,
            shared=shared,
            precision=precision or self.enter.dtype,
            learning=torch.is_grad_enabled(),
            dropout=shape.dropout if self.training else 0.0,
            generator=generator,
            workspace=self.workspace,
        )
        residual: Tensor = FusedMLP.apply(run, features, *first, *self.weights, *self.biases)
        return residual

    def _logits(self, residual: Tensor, initial_logits: Tensor) -> Tensor:
        """Add where sentences start to what the network says of them."""
        shape = self.shape
        residual = residual.view(-1, shape.members, shape.thresholds).transpose(1, 2)  # (sentence, level − 1, member)
        logits = residual + self.shift
        if shape.from_initial:
            logits = logits + initial_logits.view(-1, 1, 1) * self.scale
        return logits.squeeze(1) if shape.thresholds == 1 else logits

    def _largest_residual(self, bags: Bags, generator: torch.Generator | None, precision: torch.dtype | None) -> Tensor:
        """Return the largest residual over the chunks of each sentence: (sentence, member · (level − 1)).

        Only the largest have a gradient, so only these pairs of sentence and chunk are run to learn from. Which they
        are is seen without dropout.
        """
        if bags.chunks is None or len(bags.shared) != len(self.shape.shared):
            raise ValueError(f"{len(bags.shared)} blocks of shared vectors for a head of {len(self.shape.shared)}")
        pairs = ChunkPairs.of(bags, bags.chunks)
        with torch.no_grad():
            residuals = self._pair_residuals(bags, pairs, precision or self.enter.dtype)
        if torch.is_grad_enabled():
            pairs = pairs.largest(residuals)
            rows = [pairs.chunk if block.every else block.index[pairs.sentence] for block in bags.shared]
            shared = tuple((block.rows, index) for block, index in zip(bags.shared, rows, strict=True))
            # a sentence's own columns are one more block of rows that its pairs share
            first = (self.enter[:0].detach(), self.enter_bias, self.enter, *self.enter_shared)
            shared = ((bags.features, pairs.sentence), *shared)
            none = self.enter.new_zeros(len(pairs.sentence), 0)
            residuals = self._residual(none, shared, first, generator, precision)
        return segment_max(residuals, pairs.offsets)

    def _pair_residuals(self, bags: Bags, pairs: ChunkPairs, precision: torch.dtype) -> Tensor:
        """Return the residuals of all pairs, in tiles of one shape, so that bits do not depend on the company."""
        tile = PAIRS_AT_ONCE * (1 if self.enter.device.type == "cpu" else TILES_OF_GPU)
        by_sentence = _tiled(bags.features, self.enter, precision, tile).add_(self.enter_bias.to(precision))
        by_chunk = by_sentence[:0]
        for block, weight in zip(bags.shared, self.enter_shared, strict=True):
            projected = _tiled(block.rows, weight, precision, tile)
            if block.every:
                by_chunk = projected
            else:
                by_sentence.add_(projected.index_select(0, block.index))
        layers = [(w.to(precision), b.to(precision)) for w, b in zip(self.weights, self.biases, strict=True)]
        residuals = self.enter.new_empty(len(pairs.sentence), self.shape.members * self.shape.thresholds)
        for start in range(0, len(residuals), tile):
            part = slice(start, start + tile)
            hidden = by_sentence.index_select(0, pairs.sentence[part]) + by_chunk.index_select(0, pairs.chunk[part])
            count, hidden = len(hidden), filled_up(hidden, tile)
            for weight, bias in layers:
                out = hidden.new_empty(tile, weight.shape[0] * weight.shape[2])
                hidden = products(F.gelu(hidden), weight, bias, out)
            residuals[part] = hidden[:count]
        return residuals

    def member_states(self) -> dict[str, Tensor]:
        """Every parameter with the member as its first axis, so that members can be kept and swapped one by one."""
        return {name: self._by_member(name, value) for name, value in self.state_dict().items()}

    def load_member_states(self, states: dict[str, Tensor]) -> None:
        """Take parameters in the form of `member_states`."""
        self.load_state_dict({name: self._from_member(name, value) for name, value in states.items()})

    def _by_member(self, name: str, value: Tensor) -> Tensor:
        if name.startswith("enter"):
            return value.view(*value.shape[:-1], self.shape.members, -1).movedim(-2, 0)
        return value.movedim(-1, 0) if name in ("scale", "shift") else value

    def _from_member(self, name: str, value: Tensor) -> Tensor:
        if name.startswith("enter"):
            return value.movedim(0, -2).flatten(-2)
        return value.movedim(0, -1) if name in ("scale", "shift") else value


def pick_members(head: Head, members: Sequence[int]) -> Head:
    """Return a head of some members of this one, with copies of their weights."""
    shape = head.shape
    smaller = Head(HeadShape(**{**shape.__dict__, "members": len(members)})).to(head.enter.device, head.enter.dtype)
    smaller.load_member_states({name: value[list(members)].clone() for name, value in head.member_states().items()})
    return smaller.train(head.training)


def _tiled(rows: Tensor, weight: Tensor, precision: torch.dtype, tile: int) -> Tensor:
    """Return rows @ weight, `tile` rows at a time, the last tile filled up with zeros."""
    matrix = weight.to(precision)
    parts = [filled_up(part.to(precision), tile) @ matrix for part in rows.split(tile)]
    return torch.cat(parts)[: len(rows)] if parts else matrix.new_zeros(0, matrix.shape[1])


def filled_up(rows: Tensor, count: int) -> Tensor:
    """Return so many rows, zeros after those that there are."""
    return rows if len(rows) == count else torch.cat([rows, rows.new_zeros(count - len(rows), *rows.shape[1:])])


def _uniform(size: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    bound = 1.0 / math.sqrt(max(fan_in, 1))
    return torch.empty(size).uniform_(-bound, bound, generator=generator)
