"""The head: columns of a sentence → its log-odds, for a whole ensemble at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal.bags import Bags

__all__ = ["Head", "HeadShape"]


@dataclass(frozen=True)
class HeadShape:
    """All that is needed to build a head of the same form again; it goes into `config.json`."""

    columns: int
    shared: tuple[int, ...] = ()  # width of each block of vectors that many sentences share
    members: int = 1
    hidden: tuple[int, ...] = (64,)
    thresholds: int = 1
    dropout: float = 0.0
    from_prior: bool = True  # start at the prior: a residual whose last layer is zero

    def __post_init__(self) -> None:
        if self.members < 1 or self.thresholds < 1 or any(width < 1 for width in self.hidden):
            raise ValueError(f"{self}: members, thresholds and every hidden width must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout={self.dropout}: give a share in [0, 1)")


class Head(nn.Module):
    """Log-odds = scale · prior + bias + residual, where the residual is a small network on the sentence's columns.

    Weights carry the member as an axis, so an ensemble costs a few large products instead of many small ones. The
    first layer is split: what many sentences share (the query, a chunk of context) is projected once, then added to
    each sentence of its own. With no hidden layer the residual is linear.
    """

    def __init__(self, shape: HeadShape, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.shape = shape
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
        self.shift = nn.Parameter(_spread_thresholds(shape))  # (level − 1, member)
        if shape.from_prior:
            self._silence_residual()

    def _silence_residual(self) -> None:
        with torch.no_grad():
            if self.weights:
                self.weights[-1].zero_()
                self.biases[-1].zero_()
            else:
                for parameter in (self.enter, *self.enter_shared, self.enter_bias):
                    parameter.zero_()

    def forward(self, bags: Bags, generator: torch.Generator | None = None) -> Tensor:
        """Return the log-odds (sentence, [level − 1,] member); dropout draws from the generator while training."""
        shape = self.shape
        hidden = torch.addmm(
            self.enter_bias, bags.features.to(self.enter.dtype), self.enter
        )  # (sentence, member · width)
        for weight, shared in zip(self.enter_shared, bags.shared, strict=True):
            hidden = hidden + (shared.rows.to(weight.dtype) @ weight).index_select(0, shared.index)
        last = len(self.weights)
        if last:  # activated before the member becomes the first axis: it is fast on contiguous memory only
            hidden = self._activate(hidden, generator)
        hidden = hidden.view(len(hidden), shape.members, -1).transpose(0, 1)  # (member, sentence, width)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < last:
                hidden = self._activate(hidden, generator)
        residual = hidden.permute(1, 2, 0).float()  # (sentence, level − 1, member)
        start = bags.prior.view(-1, 1, 1) * self.scale + self.shift if shape.from_prior else self.shift
        logits = residual + start
        return logits.squeeze(1) if shape.thresholds == 1 else logits

    def _activate(self, hidden: Tensor, generator: torch.Generator | None) -> Tensor:
        hidden = F.gelu(hidden, approximate="tanh")
        keep = 1.0 - self.shape.dropout
        if not self.training or keep == 1.0:
            return hidden
        return hidden * torch.empty_like(hidden).bernoulli_(keep, generator=generator).div_(keep)

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
    smaller = Head(HeadShape(**{**shape.__dict__, "members": len(members)}))
    smaller.load_member_states({name: value[list(members)].clone() for name, value in head.member_states().items()})
    return smaller


def _uniform(size: tuple[int, ...], fan_in: int, generator: torch.Generator | None) -> Tensor:
    bound = 1.0 / math.sqrt(max(fan_in, 1))
    return torch.empty(size).uniform_(-bound, bound, generator=generator)


def _spread_thresholds(shape: HeadShape) -> Tensor:
    """All thresholds start at even odds; aggregations over levels keep them in order themselves."""
    return torch.zeros(shape.thresholds, shape.members)
