"""Scored responses as the data of the report's page: compact, each text once, safe inside a script element."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from fractal.jsonable import jsonable
from fractal.records import Response, ScoredResponse
from fractal.reports.fields import Field
from fractal.reports.rivals import MARGIN, Standing, standings
from fractal.reports.summary import aim_of, label_of

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


def anchor(item: ScoredResponse, place: int, several: bool) -> str:
    """Return the fragment of a response's address in the page: its id, and its aspect where there are several.

    An id that cannot stand in an address gives way to the response's place in the file.
    """
    try:
        parts = [quote(part, safe="") for part in ((item.response.id, item.aspect) if several else (item.response.id,))]
    except UnicodeEncodeError:
        return f"#r/@{place}"
    return "#r/" + "/".join(parts)


def report_data(
    scored: Sequence[ScoredResponse],
    threshold: float,
    standing: Sequence[Standing | None] | None = None,
    filters: Sequence[Field] = (),
) -> dict[str, Any]:
    """Return what the page shows of each response; queries and contexts that several share are written once."""
    queries, contexts, aspects = _Table(), _Table(), _Table()
    held_against = standings(scored) if standing is None else standing
    items = []
    for number, (item, rivals) in enumerate(zip(scored, held_against, strict=True)):
        labels = item.response.sentence_labels
        fields = {
            "id": item.response.id,
            "query": queries.place(item.response.query),
            "context": contexts.place(item.response.context),
            "aspect": aspects.place(item.aspect),
            "aim": aim_of(item),
            "pieces": pieces(item.response),
            "scores": _rounded(item.sentence_scores),
            "spread": _rounded(item.sentence_spread),
            "labels": _rounded(labels) if any_known(labels) else [],
            "guesses": _rounded(item.sentence_labels),
            "score": _rounded([item.response_score])[0],
            "label": _rounded([label_of(item)])[0],
        }
        if rivals is not None:
            fields |= {"rivals": rivals.rivals, "middle": round(rivals.middle, 4), "level": round(rivals.level, 4)}
        if filters:
            fields["fields"] = [field.places[number] for field in filters]
        items.append(fields)
    return {
        "threshold": threshold,
        "margin": MARGIN,
        "queries": queries.rows,
        "contexts": contexts.rows,
        "aspects": aspects.rows,
        "fields": [{"name": field.name, "values": field.values} for field in filters],
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
