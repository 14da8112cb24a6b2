"""Whatever holds responses (records, rows, a frame, a data set, a path, texts) → the records that scorers take."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from fractal.errors import BadData
from fractal.readers import ReadReport, read
from fractal.readers.labels import LabelForm, Scale, read_label
from fractal.records import Preference, Response
from fractal.records.splitting import SPLITTERS
from fractal.records.stored import StoredRecords

__all__ = ["labels_of", "reading_of", "records_of", "response_of"]

Record = Response | Preference


def records_of(
    X: Any, splitter: str, options: Mapping[str, Any], memory: Mapping[str, Any] | None = None
) -> tuple[Iterable[Record], ReadReport | None]:
    """Return the records in `X`, and what reading found where something had to be read.

    `options` are those of `read`: columns, label_scale, levels, label_words; where they are not given, those that a
    scorer remembers (`memory`) are taken. A text that is no path is refused: give a list of texts.
    """
    if isinstance(X, StoredRecords) or (
        isinstance(X, Sequence)
        and not isinstance(X, str | bytes)
        and all(isinstance(x, Response | Preference) for x in X)
    ):
        return X, None
    if isinstance(X, str | PathLike) or hasattr(X, "read") or not _of_items(X):
        return _read(fspath(X) if isinstance(X, PathLike) else X, splitter, options, memory or {})
    items = iter(X)
    first = next(items, None)
    if first is None:
        return [], None
    whole = itertools.chain([first], items)
    if isinstance(first, Response | Preference):
        return whole, None
    if isinstance(first, str):
        return _of_texts(whole, splitter), None
    return _read(whole, splitter, options, memory or {})


def _of_items(X: Any) -> bool:
    """Whether X gives items one by one, and is no frame, table or data set, which its own reader takes apart."""
    package = type(X).__module__.partition(".")[0]
    return isinstance(X, Iterable) and package not in ("pandas", "polars", "pyarrow", "datasets")


def _read(
    X: Any, splitter: str, options: Mapping[str, Any], memory: Mapping[str, Any]
) -> tuple[Iterator[Record], ReadReport]:
    report = ReadReport()
    chosen = {name: value for name, value in options.items() if value is not None}
    if not {"label_scale", "levels"} & {*chosen}:
        chosen |= {
            name: memory[key] for name, key in (("label_scale", "scale"), ("levels", "levels")) if memory.get(key)
        }
    return read(X, splitter=splitter, report=report, remembered=memory.get("columns"), **chosen), report


def response_of(text: str, splitter: str, *, query: str = "", context: Sequence[str] = (), id: str = "") -> Response:
    """Cut a raw text into a response; without an id it is named by its text."""
    sentences = SPLITTERS.build(splitter)(text)
    if not sentences:
        raise BadData("the response is empty: give a text of at least one word", field="response")
    return Response(
        id or hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), sentences, text, query, tuple(context)
    )


def _of_texts(texts: Iterable[Any], splitter: str) -> Iterator[Response]:
    cut = SPLITTERS.build(splitter)
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str) or not (sentences := cut(text)):
            raise BadData(
                f"text {number} is {str(text)[:60]!r}: give texts of at least one word, without gaps", field="response"
            )
        yield Response(f"text:{number}", sentences, text)


def labels_of(
    y: Any, label_scale: str | tuple[float, float] | Scale | None, levels: int | None, words: Mapping[str, Any] | None
) -> list[float | None] | None:
    """Return labels that stand beside the responses, read as those of a column: words, stars, numbers on a scale."""
    if y is None:
        return None
    form = LabelForm.of(label_scale, levels, words)
    labels: list[float | None] = []
    for number, value in enumerate(y, 1):
        missing = value is None or value != value or type(value).__name__ in ("NAType", "NaTType")
        try:
            labels.append(None if missing else read_label(value, form)[0])
        except BadData as error:
            raise BadData(f"label {number}: {error.problem}", field="y") from None
    return labels


def reading_of(report: ReadReport | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a scorer is to remember of how its training data were read."""
    scale = options.get("label_scale")
    facts: dict[str, Any] = {
        "columns": dict(report.columns) if report else {},
        "scale": None if scale is None else str(Scale.parse(scale)),
        "levels": options.get("levels"),
        "label_words": [f"{meaning}={word}" for word, meaning in (options.get("label_words") or {}).items()],
    }
    return {name: value for name, value in facts.items() if value}
