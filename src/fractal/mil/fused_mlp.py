"""The layers of the head, forward and backward by hand: the products of the hardware, and little beside them.

Automatic differentiation would write every intermediate into fresh memory, whose pages cost as much as the products of
a small network. Here a step works in the memory of the step before, and gradients take the place of what they are of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["Fetcher", "ForwardPass", "FusedMLP", "Workspace", "products"]

NARROW = 16  # up to so many outputs of a layer, one product with a block-diagonal matrix beats one product a member
DRAWS = 256  # a byte decides whether a value is dropped, so the dropped share is a whole number of 256ths
KEPT = 16  # pieces of memory
ROWS_AT_ONCE = 256


class Workspace:
    """Memory that a pass borrows and gives back; a copy of it starts empty."""

    def __init__(self) -> None:
        self.free: list[Tensor] = []

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        return Workspace, ()

    def take(self, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return uninitialised memory of at least so many values, the smallest piece that fits."""
        fitting = [
            (piece.numel(), place)
            for place, piece in enumerate(self.free)
            if piece.numel() >= size and piece.dtype == dtype and piece.device == device
        ]
        if fitting:
            return self.free.pop(min(fitting)[1])
        with torch.inference_mode(mode=False):  # memory of an inference may serve a training step later
            return torch.empty(size + size // 8, dtype=dtype, device=device)

    def give(self, pieces: Sequence[Tensor]) -> None:
        """Take memory back; of too many pieces the smallest, which have been outgrown, go."""
        self.free = sorted([*self.free, *pieces], key=Tensor.numel)[-KEPT:]


@dataclass(eq=False)
class Fetcher:
    """Fetches rows in the precision of the products, always into the same memory: good until the next call."""

    precision: torch.dtype
    memory: Tensor = field(default_factory=lambda: torch.empty(0))

    def __call__(self, block: Tensor, rows: Tensor) -> Tensor:
        """Return these rows of a block: (row, column)."""
        size = len(rows) * block.shape[1]
        if self.memory.numel() < size or self.memory.device != block.device:
            self.memory = torch.empty(size + size // 8, dtype=self.precision, device=block.device)
        fetched = self.memory[:size].view(len(rows), block.shape[1])
        if block.dtype == self.precision:
            return torch.index_select(block, 0, rows, out=fetched)
        for start in range(0, len(rows), ROWS_AT_ONCE):  # few enough to be converted while they are in the cache
            part = slice(start, start + ROWS_AT_ONCE)
            fetched[part] = block.index_select(0, rows[part])
        return fetched


@dataclass(eq=False)
class ForwardPass:
    """One way through the layers: what goes in, and what it keeps for the way back."""

    members: int
    shared: tuple[tuple[Tensor, Tensor], ...]  # rows (row, dim) that sentences share, and the row of each (sentence,)
    precision: torch.dtype
    learning: bool
    dropout: float
    generator: torch.Generator | None
    workspace: Workspace
    features: Tensor = field(init=False)  # (sentence, column), in the precision of the products
    raw: list[Tensor] = field(default_factory=list)  # (sentence, member · width) before each activation
    active: list[Tensor] = field(default_factory=list)  # and after it
    masks: list[Tensor] = field(default_factory=list)  # (sentence, member · width), 0 where a value is dropped, else 1
    borrowed: list[Tensor] = field(default_factory=list)

    @property
    def dropped_share(self) -> int:
        """How many of 256 values are dropped."""
        return round(self.dropout * DRAWS)

    def gained(self, weight: Tensor) -> Tensor:
        """Return weights that make up for the values that are dropped before them."""
        return weight * (DRAWS / (DRAWS - self.dropped_share)) if self.dropped_share else weight

    def borrow(self, rows: int, columns: int, dtype: torch.dtype | None = None) -> Tensor:
        """Return uninitialised memory (rows, columns) until the pass is over."""
        size = rows * columns
        piece = self.workspace.take(size, dtype or self.precision, self.features.device)
        self.borrowed.append(piece)
        return piece[:size].view(rows, columns)

    def accept(self, features: Tensor) -> None:
        """Take the sentence columns in, in the precision of the products."""
        self.features = features
        if features.dtype != self.precision:
            self.features = self.borrow(*features.shape).copy_(features)

    def activate(self, raw: Tensor) -> Tensor:
        """Return GELU of the values, some of them dropped; while learning both are kept."""
        active = self.borrow(len(raw), raw.shape[1]) if self.learning else raw
        torch.ops.aten.gelu.out(raw, out=active)
        if self.dropped_share:
            self.masks.append(self._draw(active))
            active.mul_(self.masks[-1])  # several times as fast as filling where a mask of booleans says
        if self.learning:
            self.raw.append(raw)
            self.active.append(active)
        return active

    def deactivate(self, gradient: Tensor) -> Tensor:
        """Turn the gradient of the latest kept activation into that of what went in, in place."""
        raw = self.raw.pop()
        if self.masks:
            gradient.mul_(self.masks.pop())
        torch.ops.aten.gelu_backward.grad_input(gradient, raw, grad_input=gradient)
        return gradient

    def _draw(self, like: Tensor) -> Tensor:
        mask = self.borrow(*like.shape)
        if like.device.type != "cpu":
            drawn = torch.rand(like.shape, generator=self.generator, device=like.device)
            return torch.ge(drawn, self.dropped_share / DRAWS, out=mask)
        size = like.numel()  # eight bytes a draw: one draw a value would cost more than the products
        draws = self.borrow(1, -(-size // 8), torch.int64)[0].random_(-(2**63), None, generator=self.generator)
        return torch.ge(draws.view(torch.uint8)[:size].view(like.shape), self.dropped_share, out=mask)

    def finish(self) -> None:
        """Give all memory back."""
        self.workspace.give(self.borrowed)
        self.borrowed, self.raw, self.active, self.masks = [], [], [], []


class FusedMLP(torch.autograd.Function):
    """Sentence columns → residual log-odds (sentence, member · output), through GELU layers with a split first one.

    Arguments: the pass, the columns, then the first layer's weights (column, member · width) and bias, a matrix for
    each block of shared vectors, the later layers' weights (member, in, out), and their biases (member, 1, out).
    """

    @staticmethod
    def forward(ctx: Any, run: ForwardPass, features: Tensor, *parameters: Tensor) -> Tensor:
        """Return the residual in the precision of the parameters."""
        enter, bias, shared, weights, biases = _parts(run, parameters)
        run.accept(features)
        hidden = _enter(run, enter, bias, shared)
        for weight, offset in zip(weights, biases, strict=True):
            hidden = run.activate(hidden)
            size = len(hidden), weight.shape[0] * weight.shape[2]
            hidden = products(hidden, run.gained(weight), offset, run.borrow(*size))
        residual = hidden.to(parameters[0].dtype, copy=True)
        if run.learning:
            ctx.run, ctx.later = run, tuple(map(run.gained, weights))
        else:
            run.finish()
        return residual

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the gradients of the parameters; columns are data and have none."""
        run: ForwardPass = ctx.run
        if not run.borrowed:
            raise RuntimeError("the backward pass through the layers runs once: run the head again")
        gradient = gradients[0].to(run.precision).contiguous()
        later: list[tuple[Tensor, Tensor]] = []
        for weight in reversed(ctx.later):
            active = run.active.pop()
            slopes = run.gained(_outer(active, gradient, weight.shape))
            later.insert(0, (slopes, gradient.sum(0).view(weight.shape[0], 1, weight.shape[2])))
            _products_back(gradient, weight, out=active)  # its memory is free now
            gradient = run.deactivate(active)
        enter = run.features.T @ gradient
        sums = [gradient.new_zeros(len(rows), gradient.shape[1]) for rows, _ in run.shared]
        for total, (_, index) in zip(sums, run.shared, strict=True):
            total.index_add_(0, index, gradient)
        bias = (sums[0] if sums else gradient).sum(0)  # each sentence has one row of every block
        projections = [rows.to(run.precision).T @ total for total, (rows, _) in zip(sums, run.shared, strict=True)]
        run.finish()
        slopes_by_parameter = (enter, bias, *projections, *(w for w, _ in later), *(b for _, b in later))
        return (None, None, *(value.to(gradients[0].dtype) for value in slopes_by_parameter))


def _parts(
    run: ForwardPass, parameters: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
    """Tell the parameters apart, in the precision of the products."""
    enter, bias, *others = (parameter.to(run.precision) for parameter in parameters)
    shares = len(run.shared)
    depth = (len(others) - shares) // 2
    return enter, bias, others[:shares], others[shares : shares + depth], others[shares + depth :]


def _enter(run: ForwardPass, enter: Tensor, bias: Tensor, shared: Sequence[Tensor]) -> Tensor:
    """Return the first layer before its activation; what sentences share is multiplied once."""
    hidden = run.borrow(len(run.features), enter.shape[1])
    if not shared:
        return torch.addmm(bias, run.features, enter, out=hidden)
    for place, (weight, (rows, index)) in enumerate(zip(shared, run.shared, strict=True)):
        projected = rows.to(run.precision) @ weight  # (row, member · width)
        if place == 0:
            torch.index_select(projected.add_(bias), 0, index, out=hidden)
        else:
            hidden.add_(projected.index_select(0, index))
    return hidden.addmm_(run.features, enter)


def _blocks(weight: Tensor) -> Iterator[tuple[int, slice, slice]]:
    """Which columns go in and come out for each member."""
    members, fan_in, fan_out = weight.shape
    for member in range(members):
        yield (
            member,
            slice(member * fan_in, (member + 1) * fan_in),
            slice(member * fan_out, (member + 1) * fan_out),
        )


def _joined(weight: Tensor) -> Tensor:
    """Return all members' weights as one matrix (member · in, member · out)."""
    return torch.block_diag(*weight) if len(weight) > 1 else weight[0]


def _apart(shape: Sequence[int]) -> bool:
    """Whether members are multiplied one by one."""
    return shape[0] > 1 and shape[0] * shape[2] > NARROW


def products(values: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> Tensor:
    """Multiply each member's values (sentence, member · in) by its weights: (sentence, member · out)."""
    if not _apart(weight.shape):
        return torch.addmm(bias.flatten(), values, _joined(weight), out=out)
    for member, source, target in _blocks(weight):
        torch.addmm(bias[member, 0], values[:, source], weight[member], out=out[:, target])
    return out


def _products_back(gradient: Tensor, weight: Tensor, out: Tensor) -> None:
    """Return what `products` multiplied its gradient back to: (sentence, member · in)."""
    if not _apart(weight.shape):
        torch.mm(gradient, _joined(weight).T, out=out)
        return
    for member, source, target in _blocks(weight):
        torch.mm(gradient[:, target], weight[member].T, out=out[:, source])


def _outer(values: Tensor, gradient: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the gradient of the weights (member, in, out)."""
    members, fan_in, fan_out = shape
    if not _apart(shape):
        every = (values.T @ gradient).view(members, fan_in, members, fan_out)
        return every.diagonal(dim1=0, dim2=2).movedim(-1, 0)
    parts = zip(values.split(fan_in, 1), gradient.split(fan_out, 1), strict=True)
    return torch.stack([part.T @ slope for part, slope in parts])
