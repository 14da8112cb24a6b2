"""A smooth cost of a few tensors made as small as it can be, by quasi-Newton steps with automatic gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["minimise"]


def minimise(start: Sequence[Tensor], cost: Callable[..., Tensor], steps: int) -> tuple[Tensor, ...]:
    """Return the tensors at which the cost of them is least, after at most so many steps of L-BFGS from the start.

    The line search obeys the strong Wolfe conditions (Nocedal and Wright 2006, chapters 3 and 7). The cost is a scalar.
    """
    parameters = [tensor.detach().clone().requires_grad_() for tensor in start]
    optimiser = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = cost(*parameters)
        value.backward()
        return value

    optimiser.step(closure)
    return tuple(parameter.detach() for parameter in parameters)
