"""What every reader shares: its name in the registry, and the way from rows to records."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from fractal.readers.schemas import SCHEMAS
from fractal.readers.session import ReadSession, Record
from fractal.readers.sources import BadRow, Row
from fractal.registry import Registry

__all__ = ["READERS", "Reader"]


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
