"""Data in: files, frames, data sets and streams → checked responses and preferences."""

from fractal.readers import annotations, by_schema, columnar, folders, hub, jsonl, table, traces
from fractal.readers.base import READERS, Reader
from fractal.readers.rejects import RejectsFile
from fractal.readers.report import ReadReport
from fractal.readers.scored import read_scored
from fractal.readers.sniffing import read
from fractal.readers.sources import BadRow, Row

__all__ = [
    "READERS",
    "BadRow",
    "ReadReport",
    "Reader",
    "RejectsFile",
    "Row",
    "annotations",
    "by_schema",
    "columnar",
    "folders",
    "hub",
    "jsonl",
    "read",
    "read_scored",
    "table",
    "traces",
]
