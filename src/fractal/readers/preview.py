"""How most labels of a source are written, seen before its first record is judged: an odd one does not decide."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from fractal.errors import BadData
from fractal.readers.sources import DAMAGED, BadRow, Row

if TYPE_CHECKING:
    from fractal.readers.session import ReadSession, RowSchema

Item = TypeVar("Item")
RECORDS, BYTES = 256, 16_000_000  # the most that is looked at, and so held, at once


def previewed(
    items: Iterable[Item], session: ReadSession, row_of: Callable[[Item], tuple[Row | BadRow, RowSchema]]
) -> Iterator[Item]:
    """Yield every item; where wrong records are left out, settle first by the majority how labels are written."""
    waiting = iter(items)
    if not session.rejecting:
        yield from waiting
        return
    shadow = session.shadow()
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    seen: list[Item] = []
    size = 0
    fault: Exception | None = None
    try:
        for item in waiting:
            seen.append(item)
            row, schema = row_of(item)
            if isinstance(row, Row):
                size += _size(row.fields)
                _count_kinds(row, schema, shadow, kinds)
            if len(seen) >= RECORDS or size > BYTES:
                break
    except (BadData, *DAMAGED) as error:  # it comes after what stands before it
        fault = error
    for name, counts in kinds.items():
        column, kind = session.labels(name), counts.most_common(1)[0][0]
        column.kind = column.kind or kind
        if len(counts) > 1:
            written = ", ".join(f"{count:,} as {kind}" for kind, count in counts.most_common())
            session.report.note(f"{name}: of the first {len(seen):,} records {written}; taken as {column.kind}")
    yield from chain(seen, waiting)
    if fault is not None:
        raise fault


def _count_kinds(row: Row, schema: RowSchema, shadow: ReadSession, kinds: dict[str, Counter[str]]) -> None:
    """Count in which way a record alone writes its labels; one that is wrong in itself has no vote."""
    try:
        for _ in schema(row.fields, shadow, row.line):
            pass
    except BadData:
        for column in shadow.label_columns.values():
            column.forget()
        return
    for name, column in shadow.label_columns.items():
        column.keep()
        if column.kind:
            kinds[name][column.kind] += 1
        column.kind = ""


def _size(fields: Mapping[str, Any]) -> int:
    try:
        return len(msgspec.json.encode(fields, enc_hook=str))
    except (ValueError, OverflowError, TypeError, RecursionError):
        return len(repr(fields))
