"""Readers for one schema in whatever file it stands: they refuse rows of every other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from fractal.readers.base import READERS, Reader
from fractal.readers.sniffing import guess_reader
from fractal.readers.sources import BadRow, Row


@dataclasses.dataclass(frozen=True)
class BySchema(Reader):
    """A reader that says what its rows mean and leaves to another how they are stored."""

    form: str = "auto"  # the reader that opens the file: jsonl, csv, parquet, …

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the rows as the reader of the form gives them."""
        opened = guess_reader(source) if self.form == "auto" else READERS.build(self.form)
        return opened.rows(source)


@READERS.register("stepwise")
@dataclasses.dataclass(frozen=True)
class Stepwise(BySchema):
    """Steps with a label each: `prompt`, `completions`, `labels`."""

    schema: ClassVar[str] = "stepwise"


@READERS.register("preference")
@dataclasses.dataclass(frozen=True)
class Preferences(BySchema):
    """Preferences: `chosen` and `rejected`, or `a`, `b`, `preference`, or `responses` with a `ranking` or `pairs`."""

    schema: ClassVar[str] = "preference"


@READERS.register("chat")
@dataclasses.dataclass(frozen=True)
class Chat(BySchema):
    """Chats: `messages` with role and content, the last of which is the response."""

    schema: ClassVar[str] = "chat"
