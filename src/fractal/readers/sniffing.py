"""Which reader a source needs: by its type, its ending, else its first bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fractal.errors import BadData
from fractal.readers.base import READERS, Reader
from fractal.readers.sources import endings, name_of, open_bytes, peeked

__all__ = ["guess_reader"]

BY_ENDING = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
BY_PACKAGE = {"pandas": "frame", "polars": "frame", "pyarrow": "arrow", "datasets": "hub"}


def guess_reader(source: Any) -> Reader:
    """Return the reader for a source, or an error that says how to name it."""
    return READERS.build(_guess(source))


def _guess(source: Any) -> str:
    if isinstance(source, str) and source.startswith("hub:"):
        return "hub"
    if isinstance(source, str | Path) or hasattr(source, "read"):
        known = [BY_ENDING[ending] for ending in reversed(endings(source)) if ending in BY_ENDING]
        return known[0] if known else _by_content(source)
    package = type(source).__module__.partition(".")[0]
    if package in BY_PACKAGE:
        return BY_PACKAGE[package]
    if isinstance(source, Iterable):
        return "rows"
    raise BadData(
        f"a {type(source).__name__} cannot be read: give a path, a stream, a frame, a data set or a list of rows"
    )


def _by_content(source: Any) -> str:
    if not isinstance(source, str | Path) or str(source) == "-":
        return "jsonl"  # a stream cannot be read twice, and lines of JSON are what commands pass on
    with open_bytes(source) as stream:
        start = peeked(stream)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"ARROW1"):
        return "arrow"
    if not start.strip() or start.lstrip()[:1] in b"{[":
        return "jsonl"
    header = start.partition(b"\n")[0]
    if b"\t" in header:
        return "tsv"
    if b"," in header:
        return "csv"
    raise BadData(
        f"its format cannot be told: name the reader, one of {', '.join(READERS.names())}", source=name_of(source)
    )
