"""Data in: files, frames, data sets and streams → checked responses and preferences."""

from fractal.readers import (
    aquamuse,
    columnar,
    fira,
    hub,
    jsonl,
    multispanqa,
    prm800k,
    qa_feedback,
    shaped,
    table,
    wikicatsum,
)
from fractal.readers.base import READERS, Reader, read
from fractal.readers.report import ReadReport
from fractal.readers.scored import read_scored
from fractal.readers.sources import Broken, Row

__all__ = [
    "READERS",
    "Broken",
    "ReadReport",
    "Reader",
    "Row",
    "aquamuse",
    "columnar",
    "fira",
    "hub",
    "jsonl",
    "multispanqa",
    "prm800k",
    "qa_feedback",
    "read",
    "read_scored",
    "shaped",
    "table",
    "wikicatsum",
]
