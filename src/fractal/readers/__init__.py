"""Data in: files, frames, data sets and streams → checked responses and preferences."""

from fractal.readers import jsonl
from fractal.readers.base import READERS, Reader, read
from fractal.readers.report import ReadReport

__all__ = ["READERS", "ReadReport", "Reader", "jsonl", "read"]
