"""`read`, for every source, and which reader a source needs: by its type, its ending, else its first bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fractal.errors import BadData
from fractal.readers.base import READERS, Reader
from fractal.readers.labels import Scale
from fractal.readers.rejects import RejectsFile
from fractal.readers.report import ReadReport
from fractal.readers.session import Record, Splitter
from fractal.readers.sources import Pipe, endings, name_of, reopenable, start_of

BY_ENDING = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
}
SNIFFED = 1 << 18  # bytes of a table that are looked at for its delimiter and its encoding
BY_PACKAGE = {"pandas": "frame", "polars": "frame", "pyarrow": "arrow", "datasets": "hub"}


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
    rejects: str | Path | RejectsFile | None = None,
    report: ReadReport | None = None,
    remembered: Mapping[str, str] | None = None,
    label_words: Mapping[str, Any] | None = None,
) -> Iterator[Record]:
    """Yield the responses and preferences of a file, frame, data set, stream or list of rows, checked, one by one.

    `columns` maps fields to columns, as in `{"response": "answer"}`, before well-known names are guessed; a column of
    "" means that the field has none; one that no record has is an error. `remembered` maps likewise, as a scorer's
    training data were, where a record has the column. `label_scale="1..5"` or `levels=4` say what label numbers mean;
    `label_words={"gut": "good", "mittel": 0.5}` what words mean, `sentence_label_scale` what numbers mean for the
    labels of sentences alone. A record that is wrong raises `BadData`; with `on_error="reject"` it goes to the file
    `rejects` with its reason, and reading goes on; several sources share one `RejectsFile`. Give a `ReadReport` to
    learn what was read, refused and guessed.
    """
    source = reopenable(source)
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
        remembered=remembered,
        label_words=label_words,
    )


def guess_reader(source: Any) -> Reader:
    """Return the reader for a source, or an error that says how to name it."""
    return READERS.build(_guess(source))


def _guess(source: Any) -> str:
    if isinstance(source, str) and source.startswith("hub:"):
        return "hub"
    if isinstance(source, str | Path) or hasattr(source, "read"):
        if isinstance(source, str | Path) and Path(source).is_dir():
            return "folder"
        path = source.name if isinstance(source, Pipe) else source
        readers = [BY_ENDING[ending] for ending in reversed(endings(path)) if ending in BY_ENDING]
        if readers and readers[0] in ("csv", "tsv") and isinstance(source, str | Path | Pipe):
            return _table(source, readers[0])
        if readers and readers[0] == "jsonl" and isinstance(source, str | Path) and str(source).endswith(".json"):
            return _annotations(source) or "jsonl"
        return readers[0] if readers else _by_content(source)
    package = type(source).__module__.partition(".")[0]
    if package in BY_PACKAGE:
        return BY_PACKAGE[package]
    if isinstance(source, Iterable):
        return "rows"
    raise BadData(
        f"a {type(source).__name__} cannot be read: give a path, a stream, a frame, a data set or a list of rows"
    )


def _annotations(source: str | Path) -> str:
    """Return the reader of a tool's export, by the names that only it uses; nothing where it is none."""
    try:
        start = start_of(source, SNIFFED)
    except (OSError, EOFError, BadData):
        return ""
    if all(name in start for name in (b'"annotations"', b'"data"', b'"from_name"')):
        return "label_studio"
    return "argilla" if all(name in start for name in (b'"fields"', b'"responses"', b'"suggestions"')) else ""


def _table(source: str | Path | Pipe, reader: str) -> str:
    """Return a reader for a table of text with the delimiter and the encoding that its beginning has."""
    try:
        start = start_of(source, SNIFFED)
    except (OSError, EOFError, BadData):
        return reader  # which says what is wrong
    header = start.partition(b"\n")[0]
    options = []
    if reader == "csv" and b"," not in _unquoted(header):
        delimiter = max(";\t|", key=lambda sign: header.count(sign.encode()))
        if delimiter.encode() in header:
            options.append(f"delimiter={delimiter!r}")
    if _is_windows(start):
        options.append("encoding='cp1252'")
    return f"{reader}({', '.join(options)})" if options else reader


def _unquoted(header: bytes) -> bytes:
    return b"".join(header.split(b'"')[::2])


def _is_windows(text: bytes) -> bool:
    """Whether a text is no UTF-8 and reads well as Windows' western encoding: letters, quotes, dashes."""
    try:
        text[: text.rfind(b"\n") + 1 or None].decode()
        return False
    except UnicodeDecodeError:
        pass
    try:
        beyond = [character for character in text.decode("cp1252") if ord(character) > 127]
    except UnicodeDecodeError:
        return False
    usual = sum(character.isalpha() or character in "€‚„…‘’“”•–—™©®°²³µ§«»¿¡´ " for character in beyond)
    return b"\0" not in text and usual >= 0.9 * len(beyond) and len(beyond) <= 0.2 * len(text)


def _by_content(source: Any) -> str:
    if not isinstance(source, str | Path | Pipe) or str(source) == "-":
        return "jsonl"  # a stream cannot be read twice, and lines of JSON are what commands pass on
    start = start_of(source)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"ARROW1"):
        return "arrow"
    if not start.strip() or start.lstrip()[:1] in b"{[":
        return "jsonl"
    header = start.partition(b"\n")[0]
    if b"\t" in header:
        return _table(source, "tsv")
    if b"," in header or b";" in header:
        return _table(source, "csv")
    raise BadData(
        f"its format cannot be told: name the reader, one of {', '.join(READERS.names())}", source=name_of(source)
    )
