"""Scored responses as the data of the report's page: compact, each text once, safe inside a script element."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from fractal.jsonable import jsonable
from fractal.records import Response, ScoredResponse
from fractal.reports.summary import finds, label_of

# What could end a script element, open a comment in one, end a line of it, or not be written as UTF-8.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def embeddable_json(value: Any) -> str:
    """Return JSON that may stand inside a script element, whatever the texts in it hold."""
    plain = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", plain)


def pieces(response: Response) -> list[str]:
    """Cut the text into gap, sentence, gap, sentence, …, gap: no offsets, which browsers count in other units."""
    cuts, end = [], 0
    for sentence in response.sentences:
        cuts += [response.text[end : sentence.start], sentence.text]
        end = sentence.end
    return [*cuts, response.text[end:]]


def report_data(scored: Sequence[ScoredResponse], threshold: float) -> dict[str, Any]:
    """Return what the page shows of each response; queries and contexts that several share are written once."""
    queries, contexts, aspects = _Table(), _Table(), _Table()
    items = [
        {
            "id": item.response.id,
            "query": queries.place(item.response.query),
            "context": contexts.place(item.response.context),
            "aspect": aspects.place(item.aspect),
            "finds": finds(item),
            "pieces": pieces(item.response),
            "scores": _rounded(item.sentence_scores),
            "spread": _rounded(item.sentence_spread),
            "labels": _rounded(item.response.sentence_labels) if any_known(item.response.sentence_labels) else [],
            "guesses": _rounded(item.sentence_labels),
            "score": _rounded([item.response_score])[0],
            "label": _rounded([label_of(item)])[0],
        }
        for item in scored
    ]
    return {
        "threshold": threshold,
        "queries": queries.rows,
        "contexts": contexts.rows,
        "aspects": aspects.rows,
        "items": items,
    }


def any_known(labels: Iterable[float | None]) -> bool:
    """Whether there is a label at all."""
    return any(label is not None for label in labels)


class _Table:
    """Values in the order of their first appearance, each once."""

    def __init__(self) -> None:
        self._places: dict[Any, int] = {}

    def place(self, value: Any) -> int:
        return self._places.setdefault(value, len(self._places))

    @property
    def rows(self) -> list[Any]:
        return list(self._places)


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    return [None if value is None else round(value, 4) for value in jsonable(list(values))]
