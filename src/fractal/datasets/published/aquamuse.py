"""AQuaMuSe: a question of Natural Questions, pages of Common Crawl, and the long answer as their summary."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import IO, Any, cast

import msgspec

from fractal.datasets.published import tfrecord
from fractal.datasets.published.common import damage_named, field, files_in
from fractal.errors import BadData
from fractal.readers.base import READERS, Reader
from fractal.readers.session import ReadSession, Record
from fractal.readers.sources import MAX_HELD, BadRow, Row, Unpacked, name_of, numbered_lines, open_bytes
from fractal.records import Response

PATTERNS = ("*.jsonl", "*.jsonl.gz", "*tf-examples*", "*.tfrecord")
ARCHIVE = "*.zip"  # as the release of version 3 has its shards
BETWEEN_PAGES = "<EOD>"  # one string of the official shards names several pages


@READERS.register("aquamuse")
@dataclasses.dataclass(frozen=True)
class AQuaMuSe(Reader):
    """AQuaMuSe's shards (TFRecords or JSON lines of query, input_urls, target); `documents` adds the pages' texts.

    - Source: the repository `google-research-datasets/aquamuse`, versions 2 and 3, `abstractive/{train,dev,test}`.
      Licence: none known; the pages are not part of it.
    - Task: summarisation for a query. Aggregation: min. Every reference counts as supported (label 1, each
      sentence 1); the unsupported ones are made by `fractal corrupt`.
    - Split by group: the query.
    - Traps: the release names the pages by address only. Give their texts with `documents=FILE`, JSON lines of `url`
      and `text`; pages that are missing there are counted, and a summary without any page has no context.
      Shards are TFRecords of `tf.train.Example`, read here without TensorFlow; so are JSON lines of the same fields,
      and either inside a zip archive. An entry of `input_urls` names several pages, joined by `<EOD>`.
    """

    documents: str = ""  # JSON lines of url and text

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the summaries with what stands beside them."""
        for file, stem in _shards(source):
            with open_bytes(file) as stream, damage_named(file):
                read = _json_rows if stream.peek(1)[:1] in (b"{", b"\n", b" ") else tfrecord.examples  # type: ignore[attr-defined]
                for number, fields in enumerate(read(stream, stem), 1):
                    if isinstance(fields, BadRow):
                        yield fields
                    else:
                        yield Row(number, {**fields, "id": fields.get("id") or f"{stem}-{number}"})

    def records(self, source: Any, session: ReadSession) -> Iterator[Record]:
        """Yield every reference summary."""
        pages = _pages(self.documents) if self.documents else {}
        missing = 0

        def schema(row: Mapping[str, Any], session: ReadSession, line: int) -> Iterable[Record]:
            nonlocal missing
            summary, absent = _summary(row, session, pages)
            missing += absent
            yield summary

        for row in self.rows(source):
            yield from session.accept(row, schema)
        if missing:
            session.report.note(f"{missing:,} pages are named but their texts are not given: see documents=FILE")


def _shards(source: Any) -> Iterator[tuple[Any, str]]:
    """Yield every shard with its name, those inside archives too."""
    for file in files_in(source, (*PATTERNS, ARCHIVE), "shards"):
        if isinstance(file, str | Path) and zipfile.is_zipfile(file):
            yield from _packed_shards(file)
        else:
            yield file, PurePath(name_of(file)).name


def _packed_shards(file: str | Path) -> Iterator[tuple[IO[bytes], str]]:
    with damage_named(file), zipfile.ZipFile(file) as archive:
        names = [n for n in sorted(archive.namelist()) if any(PurePath(n).match(pattern) for pattern in PATTERNS)]
        if not names:
            raise BadData(f"the archive holds no shards ({', '.join(PATTERNS)})", source=str(file))
        for name in names:
            try:
                shard = cast(zipfile.ZipExtFile, archive.open(name))
            except (NotImplementedError, RuntimeError) as error:  # an unknown compression, a password
                raise BadData(f"{name!r} in the archive cannot be unpacked: {error}", source=str(file)) from error
            with shard:
                yield io.BufferedReader(Unpacked(shard, f"{file}/{name}")), PurePath(name).name


def _summary(row: Mapping[str, Any], session: ReadSession, pages: Mapping[str, str]) -> tuple[Response, int]:
    target = field(row, "target", (str, list))
    text = target if isinstance(target, str) else " ".join(map(str, target))
    query = field(row, "query", str)
    sentences = tuple(dataclasses.replace(sentence, label=1.0) for sentence in session.split(text))
    if not sentences:
        raise BadData("the summary is empty", field="target")
    named = field(row, "input_urls", (list, str), [])
    urls = [
        url.strip()
        for entry in ([named] if isinstance(named, str) else map(str, named))
        for url in entry.split(BETWEEN_PAGES)
        if url.strip()
    ]
    documents = field(row, "documents", list, None)
    context = documents if documents is not None else [pages[url] for url in urls if url in pages]
    context = tuple(part for part in map(str, context) if part.strip())
    extra = {"aggregation": "min", "input_urls": urls}
    response = Response(str(row["id"]), sentences, text, query, context, 1.0, query, extra=extra)
    return response, 0 if documents is not None else sum(url not in pages for url in urls)


def _pages(path: str) -> dict[str, str]:
    pages: dict[str, str] = {}
    size = 0
    with open_bytes(path) as stream:
        for row in _json_rows(stream, path):
            if isinstance(row, BadRow):
                raise row.error
            text = field(row, "text", str)
            size += len(text)
            if size > MAX_HELD:
                raise BadData(f"the pages hold more than {MAX_HELD:,} characters: give those of one shard", source=path)
            pages[field(row, "url", str)] = text
    return pages


def _json_rows(stream: IO[bytes], name: str) -> Iterator[dict[str, Any] | BadRow]:
    for number, line in numbered_lines(stream, name):
        if isinstance(line, BadRow):
            yield line
        elif line.strip():
            try:
                yield msgspec.json.decode(line, type=dict[str, Any])
            except (ValueError, RecursionError) as error:
                yield BadRow(number, BadData(f"this is no JSON object: {error}", source=name, line=number))
