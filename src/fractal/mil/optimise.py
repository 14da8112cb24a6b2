"""A smooth cost of a few tensors made as small as it can be, by quasi-Newton steps with automatic gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["minimise"]


def minimise(start: Sequence[Tensor], cost: Callable[..., Tensor], steps: int) -> tuple[Tensor, ...]:
    """Return the tensors at which the cost of them is least, after at most so many steps of L-BFGS from the start.

    The line search obeys the strong Wolfe conditions (Nocedal and Wright 2006, chapters 3 and 7). The cost is a scalar.
    Where it has no least value and the search leaves the range of numbers, the best tensors that it met are returned.
    """
    parameters = [tensor.detach().clone().requires_grad_() for tensor in start]
    optimiser = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

    best, least = tuple(tensor.detach().clone() for tensor in start), math.inf

    def closure() -> Tensor:
        nonlocal best, least
        optimiser.zero_grad()
        value = cost(*parameters)
        value.backward()
        reached = float(value.detach())
        if math.isfinite(reached) and reached < least:
            best, least = tuple(parameter.detach().clone() for parameter in parameters), reached
        return value

    try:
        optimiser.step(closure)
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        return best
    last = tuple(parameter.detach() for parameter in parameters)
    return last if all(bool(tensor.isfinite().all()) for tensor in last) else best
