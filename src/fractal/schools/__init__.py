"""Other schools of thought on the same problem, under one interface, to be compared with the default."""

from __future__ import annotations

from fractal.schools import (  # noqa: F401  (registered so)
    attention,
    belief_propagation,
    curriculum,
    dllp,
    implicit_reward,
    nli,
    noisy_copy,
    prototypes,
)
from fractal.schools.base import SCHOOLS, School

__all__ = ["SCHOOLS", "School"]
