"""What SentenceScorer must beat: every other way to sentence scores, under one interface and one registry."""

from __future__ import annotations

from fractal.scorers.baselines import (  # noqa: F401  (registered so)
    attention,
    belief_propagation,
    certain_labels,
    curriculum,
    dllp,
    implicit_reward,
    label_shift,
    nli,
    noisy_copy,
    pooling,
    prefix_values,
    prototypes,
    variants,
)
from fractal.scorers.baselines.base import BASELINES, Baseline, LearnedBaseline

__all__ = ["BASELINES", "Baseline", "LearnedBaseline"]
