"""The head: columns of a sentence → its log-odds, for a whole ensemble at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fractal.mil.bags import Bags
from fractal.mil.fused_mlp import ForwardPass, FusedMLP, Workspace

__all__ = ["Head", "HeadShape", "pick_members"]


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

        The precision is that of the products; what comes out has that of the weights.
        """
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
        shape = self.shape
        if len(shared) != len(shape.shared):
            raise ValueError(f"{len(shared)} blocks of shared vectors for a head of {len(shape.shared)}")
        run = ForwardPass(
            members=shape.members,
            shared=shared,
            precision=precision or self.enter.dtype,
            learning=torch.is_grad_enabled(),
            dropout=shape.dropout if self.training else 0.0,
            generator=generator,
            workspace=self.workspace,
        )
        parameters = (self.enter, self.enter_bias, *self.enter_shared, *self.weights, *self.biases)
        residual: Tensor = FusedMLP.apply(run, features, *parameters)  # (sentence, member · (level − 1))
        residual = residual.view(-1, shape.members, shape.thresholds).transpose(1, 2)  # (sentence, level − 1, member)
        logits = residual + self.shift
        if shape.from_initial:
            logits = logits + initial_logits.view(-1, 1, 1) * self.scale
        return logits.squeeze(1) if shape.thresholds == 1 else logits

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


def _uniform(size: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    bound = 1.0 / math.sqrt(max(fan_in, 1))
    return torch.empty(size).uniform_(-bound, bound, generator=generator)
