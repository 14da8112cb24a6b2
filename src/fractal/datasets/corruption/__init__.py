"""Negatives made of good summaries: sentences that no longer agree with the source, and it is known which."""

from fractal.datasets.corruption import corruptors, local, openai, rules
from fractal.datasets.corruption.base import CORRUPTORS, GENERATORS, Case, Corruptor, Generator, GeneratorFailed
from fractal.datasets.corruption.corrupting import CorruptionReport, corrupt

__all__ = [
    "CORRUPTORS",
    "GENERATORS",
    "Case",
    "CorruptionReport",
    "Corruptor",
    "Generator",
    "GeneratorFailed",
    "corrupt",
    "corruptors",
    "local",
    "openai",
    "rules",
]
