"""What the readers of published data sets share: whole JSON documents, files in folders, spans → sentences."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fractal.errors import BadData, BadSpec
from fractal.readers.sources import DAMAGED, name_of, open_bytes
from fractal.records import Sentence

Span = tuple[int, int]  # first character, and the one after the last
CHECKSUM = ".sha256"  # what `fractal fetch` lays beside each file
MAX_DOCUMENT = 40_000_000  # bytes of a file that is one JSON document, which as objects take twenty times as many
LFS = b"version https://git-lfs"
LETTER = re.compile(r"[^\W_]")


def chosen(value: str, choices: Sequence[str], option: str) -> None:
    """Refuse a value that an option does not have."""
    if value not in choices:
        raise BadSpec(f"{option}={value!r} is unknown: choose {' or '.join(map(repr, choices))}.")


def json_document(source: Any) -> Any:
    """Return what a file holds that is one JSON document from its first to its last byte."""
    with open_bytes(source) as stream, damage_named(source):
        content = stream.read(MAX_DOCUMENT + 1)
    if len(content) > MAX_DOCUMENT:
        problem = f"the document is longer than {MAX_DOCUMENT:,} bytes, more than the official files are"
        raise BadData(problem, source=name_of(source), line=1)
    if content.startswith(LFS):
        raise BadData(
            "this is a pointer of Git LFS, not the file itself: run `git lfs pull` where it came from",
            source=name_of(source),
            line=1,
        )
    try:
        return msgspec.json.decode(content)
    except (ValueError, RecursionError) as error:
        line = content.count(b"\n", 0, _place_of(error, content)) + 1
        raise BadData(
            f"this is no whole JSON document ({error}): fetch it again", source=name_of(source), line=line
        ) from error


def _place_of(error: Exception, content: bytes) -> int:
    """Return the byte where decoding failed, as the error tells it."""
    place = re.search(r"\(byte (\d+)\)", str(error))
    return int(place[1]) if place else len(content)


@contextlib.contextmanager
def damage_named(source: Any, line: int | None = 1) -> Iterator[None]:
    """Say of which file compression is cut short or damaged."""
    try:
        yield
    except DAMAGED as error:
        problem = f"the compressed file is cut short or damaged ({error}): fetch it again"
        raise BadData(problem, source=name_of(source), line=line) from error


def files_in(source: Any, patterns: Iterable[str], what: str) -> list[Any]:
    """Return the source itself, or of a folder the files whose names match, wherever in it they stand."""
    if not isinstance(source, str | Path) or str(source) == "-" or not Path(source).is_dir():
        return [source]
    patterns = tuple(patterns)
    paths = {path for pattern in patterns for path in Path(source).rglob(pattern) if path.is_file()}
    files = sorted(path for path in paths if path.suffix != CHECKSUM)
    if not files:
        raise BadData(
            f"the folder holds no {what} ({', '.join(patterns)}): give the folder of the official files, or a file",
            source=str(source),
        )
    return [*files]


def field(row: Any, name: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
    """Return a field of an official record, or say which one is missing or of another kind than it should be."""
    value = row.get(name) if isinstance(row, Mapping) else None
    if value is None and default is not ...:
        return default
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(one.__name__ for one in kinds)
        raise BadData(
            f"found {repr(value)[:60]} ({type(value).__name__}), the official files have a {wanted} here", field=name
        )
    return value


def joined(texts: Sequence[str], labels: Sequence[float | None], joint: str) -> tuple[str, tuple[Sentence, ...]]:
    """Join texts and say where in the whole each stands; those without a letter, digit or sign are left out."""
    parts, pieces, start = [], [], 0
    for text, label in zip(texts, labels, strict=True):
        if text.strip():
            parts.append(Sentence(text, start, start + len(text), label))
            pieces.append(text)
            start += len(text) + len(joint)
    return joint.join(pieces), tuple(parts)


def overlaps(text: str, sentence: Sentence, span: Span) -> bool:
    """Whether a span holds a letter or digit of the sentence: selections often take a stop or a blank too many."""
    return bool(LETTER.search(text, max(sentence.start, span[0]), min(sentence.end, span[1])))


def text_places(text: str, units: str) -> Sequence[int]:
    """Return for every offset of the annotation the character it means; browsers count an emoji as two."""
    if units == "characters" or text.isascii():
        return range(len(text) + 1)
    places = [number for number, char in enumerate(text) for _ in range(1 + (ord(char) > 0xFFFF))]
    return [*places, len(text)]
