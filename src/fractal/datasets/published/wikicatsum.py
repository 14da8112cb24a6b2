"""WikiCatSum: lead sections of Wikipedia as summaries of paragraphs from the web, in three domains."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from fractal.datasets.published.common import chosen, files_in, joined
from fractal.errors import BadData
from fractal.readers.base import READERS, Reader
from fractal.readers.session import ReadSession, Record
from fractal.readers.sources import BadRow, Row, numbered_lines, open_bytes
from fractal.records import Response

SPLITS = ("all", "train", "valid", "test")


@READERS.register("wikicatsum")
@dataclasses.dataclass(frozen=True)
class WikiCatSum(Reader):
    """WikiCatSum's .src and .tgt: paragraphs and the summary of one article a line, from a file, a domain or all.

    - Source: Edinburgh DataShare 10283/3368, "Generating Summaries with Topic Templates and Structured Convolutional
      Decoders" (ACL 2019); folders `film`, `company`, `animal` with `train|valid|test.src` and `.tgt`.
      Licence: CC BY-SA 3.0.
    - Task: summarisation. Aggregation: min. Every reference counts as supported (label 1, each sentence 1); the
      unsupported ones are made by `fractal corrupt`.
    - Split by group: the article (one line of both files), so that a corrupted summary stays with its original.
    - Traps: the texts are tokenised and in lower case. Titles stand before `<EOT>`, paragraphs end with `<EOP>`, the
      sentences of a summary with `<SNT>`; a source can be empty. References say things that no paragraph says.
    """

    split: str = "all"  # of a folder: train, valid or test alone

    def __post_init__(self) -> None:
        chosen(self.split, SPLITS, "split")

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the lines of source and target side by side."""
        pattern = "*.tgt" if self.split == "all" else f"{self.split}.tgt"
        files = files_in(source, (pattern,), "summaries")
        for file in files:
            if not isinstance(file, str | Path) or Path(file).suffix not in (".tgt", ".src"):
                raise BadData("WikiCatSum is pairs of files: give a folder, or the path of a .tgt or .src")
            if ".bow." not in Path(file).name:  # words of the summaries once more, for topic models
                yield from _side_by_side(Path(file))

    def records(self, source: Any, session: ReadSession) -> Iterator[Record]:
        """Yield every reference summary."""
        for row in self.rows(source):
            yield from session.accept(row, _summary)


def _side_by_side(file: Path) -> Iterator[Row | BadRow]:
    name = f"{file.parent.name}-{file.stem}"
    with open_bytes(file.with_suffix(".src")) as above, open_bytes(file.with_suffix(".tgt")) as below:
        lines = zip_longest(numbered_lines(above, name), numbered_lines(below, name))
        for number, (source, target) in enumerate(lines, 1):
            if source is None or target is None:
                short = file.with_suffix(".src" if source is None else ".tgt")
                raise BadData(
                    f"{short.name} ends before the other file: fetch both again", source=str(file), line=number
                )
            pair = source[1], target[1]
            broken = next((part for part in pair if isinstance(part, BadRow)), None)
            if broken is not None:
                yield broken
                continue
            try:
                texts = [part.decode().strip() for part in pair if isinstance(part, bytes)]
            except UnicodeDecodeError as error:
                yield BadRow(number, BadData(f"this is no UTF-8: {error}"))
                continue
            yield Row(number, {"id": f"{name}-{number}", "source": texts[0], "target": texts[1]})


def _summary(row: Mapping[str, Any], session: ReadSession, line: int) -> Iterable[Record]:
    sentences = [part.strip() for part in row["target"].split("<SNT>")]
    text, parts = joined(sentences, [1.0] * len(sentences), " ")
    if not parts:
        raise BadData("the summary is empty", field="target")
    title, mark, body = row["source"].partition("<EOT>")
    if not mark:
        title, body = "", title
    paragraphs = tuple(filter(None, (part.strip() for part in body.split("<EOP>"))))
    extra = {"aggregation": "min"}
    yield Response(row["id"], parts, text, title.strip(), paragraphs, 1.0, row["id"], extra=extra)
