"""What every reader shares: its name in the registry, the way from rows to records, and `read` for them all."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from fractal.readers.labels import Scale
from fractal.readers.report import ReadReport
from fractal.readers.schemas import SCHEMAS
from fractal.readers.session import ReadSession, Record, Splitter
from fractal.readers.sources import BadRow, Row
from fractal.registry import Registry

__all__ = ["READERS", "Reader", "read"]


@dataclasses.dataclass(frozen=True)
class Reader(ABC):
    """Where records come from. A format says how its rows look; one shape says what the fields of a row mean."""

    name: ClassVar[str]
    schema: ClassVar[str] = "any"

    @abstractmethod
    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the source's rows one after another, what cannot be read as `Broken`."""

    def records(self, source: Any, door: ReadSession) -> Iterator[Record]:
        """Yield the records that the door lets in."""
        schema = SCHEMAS[self.schema]
        for row in self.rows(source):
            yield from door.accept(row, schema)

    def read(self, source: Any, **options: Any) -> Iterator[Record]:
        """Yield the responses and preferences of a source, one after another; the options are those of `read`."""
        return self._enter(source, ReadSession(source, **options))

    def _enter(self, source: Any, door: ReadSession) -> Iterator[Record]:
        door.report.reader = READERS.spec(self)
        with door.open():
            yield from self.records(source, door)


READERS: Registry[Reader] = Registry("reader")


def read(
    source: Any,
    reader: str | Reader = "auto",
    *,
    columns: Mapping[str, str] | None = None,
    splitter: str | Splitter = "sentences",
    label_scale: str | tuple[float, float] | Scale | None = None,
    levels: int | None = None,
    sentence_label_scale: str | tuple[float, float] | Scale | None = None,
    on_error: str = "raise",
    rejects: str | Path | None = None,
    report: ReadReport | None = None,
) -> Iterator[Record]:
    """Yield the responses and preferences of a file, frame, data set, stream or list of rows, checked, one by one.

    `columns` maps fields to columns, as in `{"response": "answer"}`, before well-known names are guessed; a column of
    "" means that the field has none. `label_scale="1..5"` or `levels=4` say what label numbers mean;
    `sentence_label_scale` says it for the labels of sentences alone. A record that is wrong raises `BadData`;
    with `on_error="reject"` it goes to the file `rejects` with its reason, and reading goes on. Give a `ReadReport` to
    learn what was read, refused and guessed.
    """
    from fractal.readers.sniffing import guess_reader

    chosen = guess_reader(source) if reader == "auto" else READERS.build(reader)
    return chosen.read(
        source,
        columns=columns,
        splitter=splitter,
        label_scale=label_scale,
        levels=levels,
        sentence_label_scale=sentence_label_scale,
        on_error=on_error,
        rejects=rejects,
        report=report,
    )


def numbered(rows: Iterable[Mapping[str, Any]], first: int = 1) -> Iterator[Row]:
    """Number rows that are mappings already."""
    for line, fields in enumerate(rows, first):
        yield Row(line, fields)
