"""FiRA: documents of TREC-DL 2019, read by several people who gave each a level and marked what is relevant."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from fractal.datasets.published.common import Span, chosen, files_in, overlaps, text_places
from fractal.errors import BadData
from fractal.readers.base import READERS, Reader
from fractal.readers.session import ReadSession, Record
from fractal.readers.sources import MAX_HELD, BadRow, Row, numbered_lines, open_bytes
from fractal.records import Response, Sentence

LEVELS = 4
NO_RANGES = "<no ranges selected>"
FOLDERS = (".", "input", "..", "../input")  # where the texts stand, seen from the judgements


@READERS.register("fira")
@dataclasses.dataclass(frozen=True)
class FiRA(Reader):
    """FiRA's raw judgements with documents.tsv and queries.tsv beside them: levels 0–3 of documents and sentences.

    - Source: the repository `fira-trec-19-dataset` of "Fine-Grained Relevance Annotations for Multi-Task Document
      Ranking and Question Answering" (2020): `fira-trec19-raw-judgements.tsv`, `documents.tsv`, `queries.tsv`.
      Licence: MIT for the repository; the documents are MS MARCO's.
    - Task: retrieval. Aggregation: max over levels 0–3, stored as level / 3: `max_levels(levels=4)`.
    - Split by group: the query.
    - Traps: several people judge one document; by vote, the document's level need not be the highest of its sentences'
      (such documents are counted). `extra["judged_levels"]` keeps every judge's level of the document, and
      `extra["judged_sentences"]` those of its sentences, null where a judge marked nothing. A level above 0 without
      ranges says nothing of single sentences. The paper's scripts stop after the first range.
    """

    judges: str = "vote"  # or "max": how several judgements become one; of a drawn vote the higher level wins
    unmarked: str = "unknown"  # or "all": what a level without ranges says of the sentences
    offsets: str = "characters"  # or "utf16", where a browser has counted

    def __post_init__(self) -> None:
        chosen(self.judges, ("vote", "max"), "judges")
        chosen(self.unmarked, ("unknown", "all"), "unmarked")
        chosen(self.offsets, ("characters", "utf16"), "offsets")

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield one row a document and query: their texts and every judgement."""
        for file in files_in(source, ("*raw-judgements*.tsv",), "raw judgements"):
            if not isinstance(file, str | Path):
                raise BadData("FiRA is three files: give the path of the judgements or of their folder")
            documents = _texts(Path(file), "documents.tsv", "doc_id", "doc_text")
            queries = _texts(Path(file), "queries.tsv", "query_id", "query_text")
            by_document: dict[tuple[str, str], list[Mapping[str, str]]] = {}
            lines: dict[tuple[str, str], int] = {}
            for line, judgement in _table(Path(file), ("relevanceLevel", "documentId", "queryId")):
                key = judgement["queryId"], judgement["documentId"]
                lines.setdefault(key, line)
                by_document.setdefault(key, []).append(judgement)
            for key, judgements in by_document.items():
                query, document = key
                yield Row(
                    lines[key],
                    {
                        "query_id": query,
                        "document_id": document,
                        "query": queries.get(query),
                        "document": documents.get(document),
                        "judgements": judgements,
                    },
                )

    def records(self, source: Any, session: ReadSession) -> Iterator[Record]:
        """Yield every judged document with what its judges agree on."""
        outvoted = 0
        for row in self.rows(source):
            for record in session.accept(row, self._document):
                labels = record.sentence_labels if isinstance(record, Response) else ()
                known = [label for label in labels if label is not None]
                if isinstance(record, Response) and record.label and len(known) == len(labels):
                    outvoted += max(known) < record.label
                yield record
        if outvoted:
            session.report.note(
                f"{outvoted:,} documents have a higher level than each of their sentences: their judges marked "
                "different ones; judges='max' keeps the highest level that anyone gave"
            )

    def _document(self, row: Mapping[str, Any], session: ReadSession, line: int) -> Iterable[Record]:
        for name in ("query", "document"):
            if not row[name]:
                raise BadData(f"{name} {row[f'{name}_id']!r} is judged but has no text", field=f"{name}_id")
        text: str = row["document"]
        sentences = session.split(text)
        if not sentences:
            raise BadData("the document is empty", field="doc_text")
        levels = [_level(judgement["relevanceLevel"]) for judgement in row["judgements"]]
        judged = [self._judged(text, sentences, judgement) for judgement in row["judgements"]]
        labels = [self._agreed([one[place] for one in judged]) for place in range(len(sentences))]
        parts = tuple(
            dataclasses.replace(sentence, label=label) for sentence, label in zip(sentences, labels, strict=True)
        )
        yield Response(
            id=f"{row['query_id']}/{row['document_id']}",
            sentences=parts,
            text=text,
            query=row["query"],
            label=self._agreed(levels),
            group=row["query_id"],
            extra={
                "aggregation": "max",
                "levels": LEVELS,
                "judges": len(levels),
                "judged_levels": levels,
                "judged_sentences": judged,
            },
        )

    def _judged(self, text: str, sentences: Sequence[Sentence], judgement: Mapping[str, str]) -> list[int | None]:
        """Return the level that one person gave each sentence: that of the document where a range lies, else 0."""
        level = _level(judgement["relevanceLevel"])
        ranges = judgement.get("relevanceCharacterRanges", "").strip()
        if level == 0:
            return [0] * len(sentences)
        if ranges in ("", NO_RANGES):
            return [level if self.unmarked == "all" else None] * len(sentences)
        places = text_places(text, self.offsets)
        spans = [_span(part, places) for part in ranges.split(";") if part.strip()]
        return [level if any(overlaps(text, sentence, span) for span in spans) else 0 for sentence in sentences]

    def _agreed(self, levels: Sequence[int | None]) -> float | None:
        judged = [level for level in levels if level is not None]
        if not judged:
            return None
        if self.judges == "max":
            return max(judged) / (LEVELS - 1)
        votes = Counter(judged)
        return max(level for level, count in votes.items() if count == max(votes.values())) / (LEVELS - 1)


def _level(written: str) -> int:
    """Read `2_GOOD_ANSWER`."""
    number = written.partition("_")[0]
    if number not in ("0", "1", "2", "3"):
        raise BadData(f"found {written[:60]!r}: a level begins with 0, 1, 2 or 3", field="relevanceLevel")
    return int(number)


def _span(written: str, places: Sequence[int]) -> Span:
    start, sign, end = written.strip().partition("-")
    if not sign or not start.isdecimal() or not end.isdecimal():
        raise BadData(f"found {written[:60]!r}: a range is written start-end", field="relevanceCharacterRanges")
    first, last = sorted((int(start), int(end)))
    most = len(places) - 1
    return places[min(first, most)], places[min(last, most)]


def _texts(judgements: Path, name: str, key: str, value: str) -> dict[str, str]:
    for folder in FOLDERS:
        path = judgements.parent / folder / name
        if path.is_file():
            texts: dict[str, str] = {}
            size = 0
            for line, row in _table(path, (key, value)):
                size += len(row[value])
                if size > MAX_HELD:
                    raise BadData(f"the texts are longer than {MAX_HELD:,} characters", source=str(path), line=line)
                texts[row[key]] = row[value]
            return texts
    raise BadData(f"there is no {name} beside it, nor in a folder 'input'", source=str(judgements))


def _table(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    with open_bytes(path) as stream:
        lines = csv.DictReader(_decoded(stream, str(path)), delimiter="\t")
        try:
            for name in needed:
                if name not in (lines.fieldnames or ()):
                    raise BadData(f"there is no column {name!r}", source=str(path), line=1, field=name)
            for row in lines:
                yield lines.line_num, {name: value or "" for name, value in row.items() if isinstance(name, str)}
        except csv.Error as error:
            raise BadData(f"the table cannot be read: {error}", source=str(path), line=lines.line_num) from error


def _decoded(stream: IO[bytes], name: str) -> Iterator[str]:
    """Yield the lines as text, each no longer than a line may be."""
    for number, line in numbered_lines(stream, name):
        if isinstance(line, BadRow):
            raise line.error
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise BadData(f"the table cannot be read: {error}", source=name, line=number) from error
