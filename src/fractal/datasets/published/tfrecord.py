"""TFRecord files of `tf.train.Example`, read without TensorFlow: texts and lists of texts by name."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, Any

from fractal.errors import BadData
from fractal.readers.sources import DAMAGED, MAX_LINE, BadRow

LONGEST = MAX_LINE  # bytes of one record
MOST = 100_000  # fields of one message
LENGTH_DELIMITED, VARINT = 2, 0
FIXED = {1: 8, 5: 4}  # wire type → bytes


def examples(stream: IO[bytes], name: str) -> Iterator[dict[str, Any] | BadRow]:
    """Yield the text features of every example: one value as text, several as a list."""
    number = 0
    while True:
        number += 1
        content = _next_record(stream)
        if content == b"":
            return
        if content is None:
            problem = "the TFRecord file is cut short or damaged: nothing after this record can be read"
            yield BadRow(number, BadData(problem, source=name, line=number))
            return
        try:
            yield _features(content)
        except (IndexError, ValueError) as error:
            yield BadRow(number, BadData(f"this is no tf.train.Example: {error}", source=name, line=number))


def _next_record(stream: IO[bytes]) -> bytes | None:
    """Return the content of the next record, nothing at the end, None where the file is damaged."""
    try:
        head = stream.read(12)
        if not head:
            return b""
        length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else LONGEST + 1
        content = stream.read(length) if 0 < length <= LONGEST else b""
        return content if content and len(content) == length and len(stream.read(4)) == 4 else None
    except DAMAGED:
        return None


def _features(example: bytes) -> dict[str, Any]:
    by_name: dict[str, Any] = {}
    for features in _parts(example, 1):
        for entry in _parts(features, 1):
            key = _one(entry, 1).decode()
            lists = _parts(_one(entry, 2), 1)  # a feature's list of bytes; numbers are of no use here
            values = [value.decode() for listed in lists for value in _parts(listed, 1)]
            by_name[key] = values if key.endswith("s") else " ".join(values)
    return by_name


def _one(message: bytes, number: int) -> bytes:
    return next(iter(_parts(message, number)), b"")


def _parts(message: bytes, wanted: int) -> list[bytes]:
    """Return the fields of a message that have this number and a length."""
    fields: list[bytes] = []
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == LENGTH_DELIMITED:
            length, place = _varint(message, place)
            if place + length > len(message):
                raise ValueError("a field runs past the end of the record")
            if len(fields) > MOST:
                raise ValueError(f"more than {MOST:,} fields")
            if number == wanted:
                fields.append(message[place : place + length])
            place += length
        elif wire == VARINT:
            _, place = _varint(message, place)
        elif wire in FIXED:
            place += FIXED[wire]
        else:
            raise ValueError(f"a field of wire type {wire}")
    return fields


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
