"""What every reader shares: its name in the registry, and the way from rows to records."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from fractal.readers.preview import previewed
from fractal.readers.schemas import SCHEMAS
from fractal.readers.session import ReadSession, Record
from fractal.readers.sources import BadRow, Row
from fractal.registry import Registry


@dataclasses.dataclass(frozen=True)
class Reader(ABC):
    """Where records come from. A format says how its rows look; one schema says what the fields of a row mean."""

    name: ClassVar[str]
    schema: ClassVar[str] = "any"

    @abstractmethod
    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the source's rows one after another, what cannot be read as `BadRow`."""

    def records(self, source: Any, session: ReadSession) -> Iterator[Record]:
        """Yield the records that the session accepts."""
        schema = SCHEMAS[self.schema]
        for row in previewed(self.rows(source), session, lambda row: (row, schema)):
            yield from session.accept(row, schema)

    def read(self, source: Any, **options: Any) -> Iterator[Record]:
        """Yield the responses and preferences of a source, one after another; the options are those of `read`."""
        return self._records_of(source, ReadSession(source, **options))

    def _records_of(self, source: Any, session: ReadSession) -> Iterator[Record]:
        session.report.reader = READERS.spec(self)
        with session.open():
            yield from self.records(source, session)


READERS: Registry[Reader] = Registry("reader")
