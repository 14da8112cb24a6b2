"""Scores and records out: whole files or none, in forms that people and trainers read."""

from fractal.files import open_target
from fractal.writers import argilla, evaluations, jsonl, label_studio, preferences, stepwise, table
from fractal.writers.base import WRITERS, Writer, write
from fractal.writers.native import Writable, to_native

__all__ = [
    "WRITERS",
    "Writable",
    "Writer",
    "argilla",
    "evaluations",
    "jsonl",
    "label_studio",
    "open_target",
    "preferences",
    "stepwise",
    "table",
    "to_native",
    "write",
]
