"""What every writer shares: its name in the registry, files that are whole or absent, and `write` for them all."""

from __future__ import annotations

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

from fractal.errors import BadData
from fractal.files import open_target
from fractal.records import Preference, Response, ScoredResponse
from fractal.registry import Registry
from fractal.writers.native import Writable


@dataclasses.dataclass(frozen=True)
class Written:
    """How many rows were written, and how many records were not, by the reason."""

    rows: int
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Writer(ABC):
    """How records are written to a stream of bytes, one after another."""

    name: ClassVar[str]
    endings: ClassVar[tuple[str, ...]] = ()  # the endings of files that `auto` writes in this way
    flags: ClassVar[bool] = False  # whether its option `threshold` says which sentences are called bad

    @abstractmethod
    def write_to(self, stream: IO[bytes], records: Iterable[Writable]) -> Written | None:
        """Write records, and say how many rows that makes and what was left out; None: every record is one row."""


WRITERS: Registry[Writer] = Registry("writer")


def write(
    records: Iterable[Writable] | Writable,
    target: str | Path | IO[Any],
    writer: str | Writer = "auto",
    *,
    on_left_out: Callable[[str, int], None] | None = None,
) -> int:
    """Write responses, preferences or scored responses and return how many were written.

    A file appears whole under its name or not at all; `-` is standard output; an ending of .gz compresses. The writer
    is guessed by the ending: .jsonl (and anything unknown), .csv, .tsv, .parquet. Some writers leave records out, as
    `dpo` does those that pair with none: `on_left_out` is told every reason and how many, else a warning says them.
    """
    chosen = writer_of(target) if writer == "auto" else WRITERS.build(writer)
    items = [records] if isinstance(records, Response | Preference | ScoredResponse) else records
    counted = _Counted(items)
    written = None  # as it stays where the reader of a pipe goes away
    with open_target(target) as stream:
        written = chosen.write_to(stream, counted)
    written = written or Written(counted.count)
    for reason, count in written.left_out.items():
        (on_left_out or _warn)(reason, count)
    return written.rows


def _warn(reason: str, count: int) -> None:
    warnings.warn(f"left out: {count:,} {reason}", stacklevel=3)


class _Counted:
    """Counts what passes and refuses what is no record."""

    def __init__(self, records: Iterable[Any]) -> None:
        self._records, self.count = records, 0

    def __iter__(self) -> Iterator[Writable]:
        for record in self._records:
            if not isinstance(record, Response | Preference | ScoredResponse):
                raise BadData(
                    f"record {self.count + 1} is a {type(record).__name__}: write responses, preferences or scored ones"
                )
            yield record
            self.count += 1


def writer_of(target: Any) -> Writer:
    """Return the writer that the ending of a file asks for."""
    suffixes = Path(target).suffixes if isinstance(target, str | Path) else []
    for ending in reversed([suffix.lower() for suffix in suffixes]):
        for name in WRITERS:
            if ending in getattr(WRITERS[name], "endings", ()):
                return WRITERS.build(name)
    return WRITERS.build("jsonl")
