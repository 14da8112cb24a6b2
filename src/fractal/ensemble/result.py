"""What a fit decided, and what came out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fractal.ensemble.experts import Ensemble
from fractal.ensemble.screening import FormComparison
from fractal.mil.objectives.base import Term
from fractal.mil.training.callbacks import Epoch

__all__ = ["Choice", "FitResult"]


@dataclass(frozen=True)
class Choice:
    """One thing that held-out labels decided: what was tried, what each cost, and what was taken."""

    about: str
    costs: dict[str, float]
    taken: str
    why: str = ""  # for people, where the costs do not say it


@dataclass(frozen=True, eq=False)
class FitResult:
    """An ensemble, the held-out log-odds of every training sentence under it, and how it was chosen."""

    ensemble: Ensemble
    held_out: Tensor  # (sentence, [level − 1,] 1)
    cost: float
    choices: tuple[Choice, ...]
    history: tuple[Epoch, ...]
    weights: NDArray[np.float32]  # (bag, member): 0 where a member held a response out
    priors: tuple[Term, ...] = ()  # that had weight
    directions: Mapping[str, float] = field(default_factory=dict)  # how likely each is, where it had to be chosen
    controlled: Tensor | None = None  # (bag, 1): held-out log-odds of a good label by what is controlled
    screening: FormComparison | None = None  # what small models made of the aggregations, where they were asked
