"""What the messages of an Arrow file will take in memory, read from their heads before anything is unpacked."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import IO

__all__ = ["count_batches", "is_file"]

Message = tuple[int, int, int]  # its kind, how many rows it claims, what it takes unpacked
MAGIC = b"ARROW1"  # at both ends of a file
CONTINUED = 0xFFFFFFFF  # stands before the length of a message since version 0.15 of the format
DICTIONARY, BATCH = 2, 3  # kinds of messages
MAX_BATCH = 500_000_000  # bytes of the columns of one batch, and of all dictionaries together
MAX_HEAD = 10_000_000  # bytes of what describes one message
SPARE_ROWS = 100_000  # columns of nothing but nulls take no bytes, however many rows they claim


def is_file(file: IO[bytes]) -> bool:
    """Whether this is Arrow's format of files, and no stream; the file stands at its beginning afterwards."""
    file.seek(0)
    start = file.read(len(MAGIC))
    file.seek(0)
    return start == MAGIC


def count_batches(file: IO[bytes]) -> tuple[int, str]:
    """Return how many whole batches of rows a file or stream begins with, and what is wrong behind them, if anything.

    What would not fit into memory is such a fault: a few kB that are compressed may unpack to any size.
    """
    end = file.seek(0, os.SEEK_END)
    messages = _listed(file, end) if is_file(file) else _following(file, end)
    batches = dictionaries = 0
    try:
        for kind, rows, size in messages:
            dictionaries += size if kind == DICTIONARY else 0
            fault = _fault(dictionaries, 0, "what rows share") if kind == DICTIONARY else ""
            if kind == BATCH:
                fault = _fault(size, rows, f"batch {batches + 1:,}")
            if fault:
                return batches, fault
            batches += kind == BATCH
    except (struct.error, IndexError):
        return batches, "a message in it is cut short or altered"
    return batches, ""


def _fault(size: int, rows: int, what: str) -> str:
    """Return why something cannot be unpacked: it would not fit into memory, or claims what it cannot hold."""
    if size > MAX_BATCH:
        return f"{what} takes {size:,} bytes unpacked, at most {MAX_BATCH:,} are read at once: put fewer rows in it"
    if rows > 8 * size + SPARE_ROWS:
        return f"{what} claims {rows:,} rows and holds {size:,} bytes"
    return ""


def _following(file: IO[bytes], end: int) -> Iterator[Message]:
    """Yield the messages of a stream, one behind the other."""
    place = 0
    while place < end:
        file.seek(place)
        head, start = _head(file)
        if not head:
            return
        message = _Table(head, _offset(head, 0))
        length = message.number(3, "<q")
        if not 0 <= length <= end - start:
            raise struct.error("cut short")
        yield _message(file, message, start)
        place = start + length


def _listed(file: IO[bytes], end: int) -> Iterator[Message]:
    """Yield the messages that the last part of a file lists, dictionaries first; nothing else in it is ever read."""
    file.seek(max(0, end - len(MAGIC) - 4))
    (length,) = struct.unpack("<I", file.read(4))
    if length > min(MAX_HEAD, end):
        raise struct.error("outside the file")
    file.seek(max(0, end - len(MAGIC) - 4 - length))
    content = file.read(length)
    footer = _Table(content, _offset(content, 0))
    for number in (2, 3):
        for offset, size, _ in footer.structs(number, "<qi4xq"):
            file.seek(max(0, offset))
            head, _ = _head(file)
            yield _message(file, _Table(head, _offset(head, 0)), offset + size)


def _head(file: IO[bytes]) -> tuple[bytes, int]:
    """Return what describes the message that begins here, and where its body begins; nothing at the end of a stream."""
    (length,) = struct.unpack("<I", file.read(4))
    if length == CONTINUED:
        (length,) = struct.unpack("<I", file.read(4))
    head = file.read(length) if length <= MAX_HEAD else b""
    if len(head) < length:
        raise struct.error("cut short")
    return head, file.tell()


def _message(file: IO[bytes], message: _Table, body: int) -> Message:
    kind = message.number(1, "<B")
    content = message.table(2) if kind in (DICTIONARY, BATCH) else None
    if content is not None and kind == DICTIONARY:
        content = content.table(1)
    if content is None:
        return kind, 0, 0
    return kind, content.number(0, "<q"), _unpacked(file, content, body)


def _unpacked(file: IO[bytes], content: _Table, body: int) -> int:
    """Return the bytes of all buffers of a batch; one that is compressed begins with what it unpacks to."""
    packed = content.table(3) is not None
    total = 0
    for offset, length in content.structs(2, "<qq"):
        size = length
        if packed and length >= 8:
            file.seek(max(0, body + offset))
            (unpacked,) = struct.unpack("<q", file.read(8))
            size = max(unpacked, length)
        total += size
    return total


class _Table:
    """A table of a flatbuffer: an offset to a list of where its fields stand, which may be left out."""

    def __init__(self, content: bytes, place: int) -> None:
        self.content, self.place = content, place
        self.fields = place - int(struct.unpack_from("<i", content, place)[0])
        if self.fields < 0:
            raise struct.error("outside the message")
        self.size = int(struct.unpack_from("<H", content, self.fields)[0])

    def _of(self, number: int) -> int:
        """Return where a field stands, 0 where it is left out."""
        slot = 4 + 2 * number
        if slot + 2 > self.size:
            return 0
        offset = int(struct.unpack_from("<H", self.content, self.fields + slot)[0])
        return self.place + offset if offset else 0

    def number(self, number: int, form: str) -> int:
        """Return a number, 0 where it is left out."""
        place = self._of(number)
        return int(struct.unpack_from(form, self.content, place)[0]) if place else 0

    def table(self, number: int) -> _Table | None:
        """Return an inner table."""
        place = self._of(number)
        return _Table(self.content, _offset(self.content, place)) if place else None

    def structs(self, number: int, form: str) -> list[tuple[int, ...]]:
        """Return a list of structures of numbers."""
        place = self._of(number)
        if not place:
            return []
        first, size = _offset(self.content, place), struct.calcsize(form)
        (count,) = struct.unpack_from("<I", self.content, first)
        listed = self.content[first + 4 : first + 4 + size * count]
        if len(listed) < size * count:
            raise struct.error("outside the message")
        return list(struct.iter_unpack(form, listed))


def _offset(content: bytes, place: int) -> int:
    """Return the place that an offset points to."""
    return place + int(struct.unpack_from("<I", content, place)[0])
