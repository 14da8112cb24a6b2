"""Annotations back from Label Studio and Argilla: spans that people marked become labelled sentences."""

from __future__ import annotations

import dataclasses
import statistics
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fractal.errors import BadData
from fractal.readers.base import READERS, Reader
from fractal.readers.jsonl import JsonLines
from fractal.readers.labels import read_label
from fractal.readers.schemas import SCHEMAS
from fractal.readers.session import ReadSession, Record
from fractal.readers.sources import BadRow, Row

__all__ = ["Argilla", "LabelStudio"]

Span = tuple[Any, Any, Any]  # start, end, the label as it was written


@dataclasses.dataclass(frozen=True)
class _Annotated(Reader):
    """Texts in which people marked spans; each span is a sentence with a label, what several marked has their mean."""

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield one record a text: the text, the marked spans, their labels."""
        for row, _ in self._read(source):
            yield row

    def records(self, source: Any, session: ReadSession) -> Iterator[Record]:
        """Yield the records that the session accepts; what could not be used is counted."""
        for row, dropped in self._read(source):
            if dropped:
                session.report.tally("spans left out: they overlap another one", dropped)
            yield from session.accept(row, SCHEMAS["any"])

    def _read(self, source: Any) -> Iterator[tuple[Row | BadRow, int]]:
        for row in JsonLines().rows(source):
            if isinstance(row, BadRow):
                yield row, 0
                continue
            try:
                fields, spans = self.task(row.fields)
                cut, dropped = _cut(str(fields.get("response") or ""), spans)
            except BadData as error:
                yield BadRow(row.line, error, str(row.fields)[:2000]), 0
                continue
            yield (
                Row(row.line, {name: value for name, value in {**fields, **cut}.items() if value is not None}),
                dropped,
            )

    @abstractmethod
    def task(self, fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[Span]]:
        """Return what a text is and the spans that people marked in it."""


@READERS.register("label_studio")
@dataclasses.dataclass(frozen=True)
class LabelStudio(_Annotated):
    """Label Studio's export (JSON): regions with labels, and choices or ratings of the whole text."""

    def task(self, fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[Span]]:
        """Read the results of all annotations that were not cancelled."""
        data = _mapping(fields.get("data"), "data")
        results = [
            result
            for annotation in _objects(fields.get("annotations"), "annotations")
            if not annotation.get("was_cancelled")
            for result in _objects(annotation.get("result"), "result")
        ]
        spans: list[Span] = []
        wholes: list[Any] = []
        for result in results:
            value = _mapping(result.get("value"), "result")
            names = value.get("labels") or value.get("choices") or [value.get("rating")]
            if not isinstance(names, list | tuple):
                raise BadData(f"found {str(names)[:60]!r}: a list of labels or choices stands here", field="result")
            if "start" in value and "end" in value:
                spans += [(value["start"], value["end"], name) for name in names]
            else:
                wholes += [name for name in names if name is not None]
        record = {name: value for name, value in data.items() if not name.endswith("_score")}
        if wholes:
            record["label"] = wholes[0] if len(wholes) == 1 else _mean(wholes, "label")
        return record, spans


@READERS.register("argilla")
@dataclasses.dataclass(frozen=True)
class Argilla(_Annotated):
    """Argilla's records (JSON): spans that people submitted as answers to a span question."""

    question: str = "sentences"

    def task(self, fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[Span]]:
        """Read the answers that were submitted."""
        answers = _mapping(fields.get("responses"), "responses").get(self.question) or ()
        listed = _objects(answers if isinstance(answers, list | tuple) else [answers], "responses")
        submitted = [one for one in listed if one.get("status", "submitted") == "submitted"]
        marked = [span for one in submitted for span in _objects(one.get("value"), "value")]
        spans = [(span.get("start"), span.get("end"), span.get("label")) for span in marked]
        return {"id": fields.get("id"), **_mapping(fields.get("fields"), "fields")}, spans


def _mapping(value: Any, field: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadData(f"found {str(value)[:60]!r}: an object stands here in an export", field=field)
    return value


def _objects(value: Any, field: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list | tuple | None):
        raise BadData(f"found {str(value)[:60]!r}: a list of objects stands here in an export", field=field)
    return [_mapping(item, field) for item in value or ()]


def _mean(names: Iterable[Any], field: str) -> float | None:
    labels = [read_label(name)[0] for name in names]
    known = [label for label in labels if label is not None]
    return statistics.fmean(known) if known else None


def _cut(text: str, spans: Iterable[Span]) -> tuple[dict[str, Any], int]:
    """Return the marked spans as sentences in their order, and how many were left out as they overlap another."""
    by_place: defaultdict[tuple[int, int], list[Any]] = defaultdict(list)
    for start, end, name in spans:
        if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text)):
            raise BadData(f"a span runs from {start} to {end} of {len(text)} characters", field="sentences")
        by_place[start, end].append(name)
    places: list[tuple[int, int]] = []
    for place in sorted(by_place):
        if not places or place[0] >= places[-1][1]:
            places.append(place)
    if not places:
        return {}, 0
    return {
        "sentences": [text[start:end] for start, end in places],
        "offsets": [list(place) for place in places],
        "sentence_labels": [_mean(by_place[place], "sentence_labels") for place in places],
    }, len(by_place) - len(places)
