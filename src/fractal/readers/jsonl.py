"""JSON lines, plain or gzipped: one record a line, native records by a fast way that refuses exactly the same."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import IO, Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from fractal.errors import BadData
from fractal.readers.base import READERS, Reader
from fractal.readers.preview import previewed
from fractal.readers.schemas import SCHEMAS
from fractal.readers.session import ESCAPED_NUL, ReadSession, Record
from fractal.readers.sources import BadRow, Row, name_of, numbered_lines, open_bytes, peeked, read_document, text_of
from fractal.records import NOTHING, Response, checked_response

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
PATIENCE = 64  # lines in a row that are not native, after which the fast way is no longer tried


class Native(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A record of the native schema, cut into sentences and labelled in [0, 1]; all else goes the thorough way."""

    id: str
    sentences: list[str]
    query: str | None = None
    context: list[str] | None = None
    label: Share | None = None
    sentence_labels: list[Share | None] | None = None
    group: str | UnsetType | None = UNSET
    aggregation: Any = UNSET
    meta: Any = UNSET

    def fits(self, session: ReadSession) -> bool:
        """Whether the record is right in every way that one sees fast; what is not is for the thorough way to judge."""
        labels = self.sentence_labels
        if not self.id or (labels is not None and len(labels) != len(self.sentences)):
            return False
        if not any(map(str.strip, self.sentences)):
            return False
        if self.group is UNSET and self.meta is not UNSET:
            group = self.meta.get("group") if isinstance(self.meta, dict) else None
            if not (group is None or isinstance(group, str)):
                return False
            self.group = group
        rated = labels is not None and labels.count(None) != len(labels)
        return session.takes_numbers(label=self.label is not None, sentence_labels=rated) and session.is_new(self.id)

    def response(self) -> Response:
        """Return the response of a record that fits."""
        extra = {} if self.aggregation is UNSET else {"aggregation": self.aggregation}
        if self.meta is not UNSET:
            extra["meta"] = self.meta
        return checked_response(
            self.id,
            self.sentences,
            self.sentence_labels,
            self.query or "",
            tuple(self.context) if self.context else (),
            self.label,
            None if self.group is UNSET else self.group,
            extra or NOTHING,
        )


decode_native = msgspec.json.Decoder(Native).decode
decode_any = msgspec.json.Decoder().decode


@READERS.register("jsonl")
@dataclasses.dataclass(frozen=True)
class JsonLines(Reader):
    """JSON lines (.jsonl, .jsonl.gz, standard input): one object a line, in the native schema or any other."""

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the object of every line."""
        with open_bytes(source) as opened:
            stream, whole = whole_json(opened, name_of(source))
            if whole is not None:
                yield from map(_row, range(1, len(whole) + 1), whole)
                return
            for line, content in numbered_lines(stream, name_of(source)):
                if isinstance(content, BadRow):
                    yield content
                elif not content.isspace():
                    yield decode_line(line, content)

    def records(self, source: Any, session: ReadSession) -> Iterator[Record]:
        """Yield the records that the session accepts."""
        schema = SCHEMAS[self.schema]
        tries = PATIENCE if session.plain else 0
        with open_bytes(source) as opened:
            stream, whole = whole_json(opened, session.name)
            if whole is not None:
                session.report.note("the file is one JSON document: it was read as a whole, a record an object")
                rows = map(_row, range(1, len(whole) + 1), whole)
                for row in previewed(rows, session, lambda row: (row, schema)):
                    yield from session.accept(row, schema)
                return
            lines = numbered_lines(stream, session.name)
            for line, content in previewed(lines, session, lambda line: (_row_of(*line), schema)):
                if isinstance(content, BadRow):
                    session.accept(content, schema)
                    continue
                if tries and (native := _native(content, session)) is not None:
                    tries = PATIENCE
                    session.count_response(native)
                    session.line = line
                    yield native
                elif content.isspace():
                    session.report.blank += 1
                else:
                    tries = max(0, tries - 1)
                    yield from session.accept(decode_line(line, content), schema)


def _row_of(line: int, content: bytes | BadRow) -> Row | BadRow:
    return content if isinstance(content, BadRow) else decode_line(line, content)


def whole_json(stream: IO[bytes], name: str) -> tuple[IO[bytes], list[Any] | None]:
    """Return the records of a file that is one JSON document: an array, or an object written over several lines.

    An object that holds one list of objects stands for these. Of all else the stream comes back as it was.
    """
    start = peeked(stream).lstrip()
    first_line = start.partition(b"\n")[0].strip()
    if not (start[:1] == b"[" or (start[:1] == b"{" and first_line in (b"{", b'{"data": [', b'{"data":['))):
        return stream, None
    content = read_document(stream, name)
    try:
        document = decode_any(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError, OverflowError):
        return io.BytesIO(content), None  # line by line it will be said where it fails
    if isinstance(document, dict):
        lists = [value for value in document.values() if _of_objects(value)]
        return stream, lists[0] if len(lists) == 1 and "response" not in document else [document]
    return (stream, document) if _of_objects(document) or not document else (io.BytesIO(content), None)


def _of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _row(line: int, fields: dict[str, Any]) -> Row:
    return Row(line, fields)


def _native(content: bytes, session: ReadSession) -> Response | None:
    """Return the response of a native line, or nothing where the thorough way must look at it."""
    if ESCAPED_NUL in content:
        return None
    try:
        native = decode_native(content)
        return native.response() if native.fits(session) else None
    except (ValueError, RecursionError):  # msgspec's own errors are ValueErrors, too
        return None


def decode_line(line: int, content: bytes) -> Row | BadRow:
    """Return the object that a line holds, or what is wrong with the line."""
    try:
        fields = decode_any(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError, OverflowError) as error:
        return BadRow(line, BadData(_why_not(content, error)), text_of(content))
    if isinstance(fields, dict):
        return Row(line, fields)
    hint = "; a file that is one JSON array becomes lines by `jq -c '.[]'`" if content.lstrip()[:1] == b"[" else ""
    problem = f"found {type(fields).__name__} where an object should be: write one record a line{hint}"
    return BadRow(line, BadData(problem), text_of(content))


def _why_not(content: bytes, error: Exception) -> str:
    if b"\0" in content:
        return "found a NUL byte: remove it, as in `tr -d '\\000'`"
    try:
        content.decode()
    except UnicodeDecodeError as bad:
        byte = content[bad.start : bad.start + 1].hex()
        return f"found the byte 0x{byte} at place {bad.start}, which is not UTF-8: convert the file to UTF-8"
    for word in (b"NaN", b"Infinity"):
        if word in content:
            return f"found {word.decode()}, which JSON does not have: write null where a value is unknown"
    if content.lstrip() in (b"[\n", b"[\r\n", b"["):
        return "the file is one JSON array: write one record a line, as `jq -c '.[]'` does"
    return f"no JSON ({error}): write one object a line"
