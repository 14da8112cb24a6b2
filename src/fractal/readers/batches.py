"""Batches of Arrow → rows, a bounded number of bytes at a time: small files may hold rows that are very large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np

from fractal.errors import BadData
from fractal.readers.sources import MAX_LINE, BadRow, Row

ROWS_AT_ONCE = 1024  # what is in memory as Python objects while a file of any size is read
LARGE = 128_000_000  # bytes of a row group whose rows are not read so many at once
LEAST = 2  # bytes that a number takes at least as JSON: `0,`


def rows_of(batches: Iterable[Any], first: int = 1) -> Iterator[Row | BadRow]:
    """Yield the rows of batches; one that is longer than a line of JSON may be comes as `BadRow`."""
    line = first
    for batch in batches:
        for piece in _pieces(batch):
            if isinstance(piece, BadData):
                yield BadRow(line, piece)
                line += 1
                continue
            for fields in _plain(piece).to_pylist():
                yield Row(line, fields)
                line += 1


def parquet_batches(file: IO[bytes], parquet: Any) -> Iterator[Any]:
    """Yield the batches of a Parquet file, one row group after another.

    What is stored as a dictionary comes as one: a file of a few kB may name a text of some MB in every row.
    """
    opened = parquet.ParquetFile(file)
    groups = [opened.metadata.row_group(number) for number in range(opened.metadata.num_row_groups)]
    for number in range(len(groups)):  # damaged metadata end the process where `column` meets them, an error here
        next(opened.iter_batches(batch_size=1, row_groups=[number]), None)
    columns = {
        column.path_in_schema
        for column in (group.column(number) for group in groups for number in range(group.num_columns))
        if column.physical_type == "BYTE_ARRAY" and any("DICTIONARY" in name for name in column.encodings)
    }
    if columns:
        opened = parquet.ParquetFile(file, read_dictionary=sorted(columns))
    for number, group in enumerate(groups):
        yield from opened.iter_batches(batch_size=_rows_at_once(group), row_groups=[number])


def _rows_at_once(group: Any) -> int:
    """Return how many rows of a group are read at once, by the bytes that the file says it holds."""
    columns = [group.column(number) for number in range(group.num_columns)]
    size: int = sum(column.total_uncompressed_size for column in columns)
    if any("DELTA_BYTE_ARRAY" in column.encodings for column in columns):  # each text may repeat the one before it
        return max(1, min(LARGE // max(size, 1), ROWS_AT_ONCE))
    if size <= LARGE:
        return ROWS_AT_ONCE
    return 64 if size / max(group.num_rows, 1) < LARGE / 2_000 else 4


def _pieces(batch: Any) -> Iterator[Any]:
    """Cut a batch until a piece is no longer than one row may be; a longer row becomes an error."""
    weight = sum(map(_weight, batch.columns))
    if weight <= MAX_LINE:
        yield batch
    elif batch.num_rows > 1:
        half = batch.num_rows // 2
        yield from _pieces(batch.slice(0, half))
        yield from _pieces(batch.slice(half))
    else:
        yield BadData(f"the row is about {weight:,} bytes long, at most {MAX_LINE:,} are read: one record a row")


def _weight(column: Any) -> int:
    """Return about how many bytes a column's values would take as JSON."""
    import pyarrow.compute as compute
    import pyarrow.types as types

    kind, weight = column.type, LEAST * len(column)
    if types.is_dictionary(kind):
        values = column.dictionary
        if not (types.is_string(values.type) or types.is_binary(values.type) or types.is_large_string(values.type)):
            used = compute.unique(column.indices.drop_null()).to_pylist()
            return weight + len(column) * max((_weight(values.slice(place, 1)) for place in used), default=0)
        lengths = compute.binary_length(values).take(column.indices)
        return weight + (compute.sum(lengths).as_py() or 0)
    if _is_a(kind, "run_end_encoded"):
        runs = column.values.slice(column.find_physical_offset(), column.find_physical_length())
        heaviest = max((_weight(runs.slice(place, 1)) for place in range(len(runs))), default=0)
        return weight + len(column) * heaviest
    if _is_a(kind, "string_view", "binary_view"):
        return weight + _viewed(column)
    if _is_a(kind, "list_view", "large_list_view"):
        raise BadData(f"columns of the type {kind} are not read: write them as lists")
    if types.is_map(kind):
        first, last = column.offsets[0].as_py(), column.offsets[-1].as_py()
        return weight + sum(_weight(part.slice(first, last - first)) for part in (column.keys, column.items))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return weight + _weight(column.flatten())
    if types.is_struct(kind):
        return weight + sum(map(_weight, column.flatten()))
    return weight + int(column.nbytes)


def _is_a(kind: Any, *names: str) -> bool:
    """Whether a type is one of these, some of which older versions of pyarrow do not have."""
    import pyarrow.types as types

    return any(hasattr(types, f"is_{name}") and getattr(types, f"is_{name}")(kind) for name in names)


def _viewed(column: Any) -> int:
    """Return how long the texts of a column of views are: each view begins with the length of its text."""
    views = column.buffers()[1]
    lengths = np.frombuffer(views, "<i4")[4 * column.offset : 4 * (column.offset + len(column)) : 4]
    return int(lengths.astype(np.int64).sum())


def _plain(batch: Any) -> Any:
    """Return the batch with its dictionaries written out, which is quick where rows are made of it."""
    import pyarrow

    kinds = [_plain_type(column.type) for column in batch.columns]
    if kinds == [column.type for column in batch.columns]:
        return batch
    try:
        columns = [column.cast(kind) for column, kind in zip(batch.columns, kinds, strict=True)]
    except pyarrow.ArrowException:  # slower, and the same
        return batch
    return pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _plain_type(kind: Any) -> Any:
    import pyarrow
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return kind.value_type
    if types.is_list(kind):
        return pyarrow.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    if types.is_struct(kind):
        return pyarrow.struct([field.with_type(_plain_type(field.type)) for field in kind])
    return kind
