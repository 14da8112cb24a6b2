"""JSON lines in the native schema: everything that a record holds, ready to be read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import IO, Any, ClassVar

import msgspec

from fractal.errors import BadData
from fractal.writers.base import WRITERS, Writer
from fractal.writers.native import Writable, to_native

ENCODER = msgspec.json.Encoder(enc_hook=str)


@WRITERS.register("jsonl")
@dataclasses.dataclass(frozen=True)
class JsonLines(Writer):
    """JSON lines in the native schema: sentences, offsets, scores, spread, labels and everything carried."""

    endings: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".json")

    def write_to(self, stream: IO[bytes], records: Iterable[Writable]) -> None:
        """Write one object a line."""
        for record in records:
            stream.write(encode_line(record))


def encode_line(record: Writable) -> bytes:
    """Return the line that stands for a record."""
    return encoded(to_native(record)) + b"\n"


def encoded(fields: dict[str, Any]) -> bytes:
    """Return an object as JSON."""
    try:
        return ENCODER.encode(fields)
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        named = str(fields.get("id", ""))[:80]
        raise BadData(f"the record {named!r} cannot be written as JSON: {error}") from error
