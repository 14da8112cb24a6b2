"""Records → the plain fields of the native schema, so that what is read back is the same record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fractal.records import NATIVE_FIELDS, SCORE_FIELDS, Preference, Response, ScoredResponse, join_sentences

Writable = Response | Preference | ScoredResponse

RESERVED = {*NATIVE_FIELDS, *SCORE_FIELDS}


def to_native(record: Writable) -> dict[str, Any]:
    """Return a record as a native object: ready for JSON."""
    if isinstance(record, ScoredResponse):
        return response_fields(record.response, whole=True) | score_fields(record)
    if isinstance(record, Preference):
        return preference_fields(record)
    return response_fields(record)


def response_fields(response: Response, *, whole: bool = False) -> dict[str, Any]:
    """Return a response's fields; the text and the offsets are left out where the sentences joined say the same."""
    fields: dict[str, Any] = {"id": response.id, "query": response.query, "context": response.context}
    texts = [sentence.text for sentence in response.sentences]
    text, parts = join_sentences(texts)
    spans = [(sentence.start, sentence.end) for sentence in response.sentences]
    if whole or text != response.text or spans != [(part.start, part.end) for part in parts]:
        fields |= {"response": response.text, "offsets": spans}
    labels = response.sentence_labels
    fields["sentences"] = texts
    fields["label"] = response.label
    fields["sentence_labels"] = None if labels.count(None) == len(labels) else labels
    fields["group"] = response.group
    if response.aspects:
        fields["aspects"] = dict(response.aspects)
    if response.columns:
        fields["columns"] = dict(response.columns)
    return fields | carried(response.extra)


def carried(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return unknown fields beside ours; those that are called like one of ours stand in a field `extra`."""
    clash = {name: value for name, value in extra.items() if name.casefold() in RESERVED}
    rest = {name: value for name, value in extra.items() if name not in clash}
    return rest | {"extra": clash} if clash else rest


def score_fields(scored: ScoredResponse) -> dict[str, Any]:
    """Return what the scores add to a response."""
    fields: dict[str, Any] = {
        "sentence_scores": scored.sentence_scores,
        "response_score": scored.response_score,
    }
    if scored.sentence_spread:
        fields["sentence_spread"] = scored.sentence_spread
    if scored.sentence_labels:
        fields["disaggregated_labels"] = scored.sentence_labels
    if scored.aspect:
        fields["aspect"] = scored.aspect
    if scored.aggregation:
        fields["score_aggregation"] = scored.aggregation
    if scored.relative:
        fields["score_relative"] = True
    return fields | ({"unlike_training": ", ".join(scored.unlike)} if scored.unlike else {})


def preference_fields(record: Preference) -> dict[str, Any]:
    """Return a preference: what its responses share stands once, the better one is `a`."""
    better, worse = record.better, record.worse
    fields: dict[str, Any] = {"id": record.id, "query": None, "context": None, "group": None}
    bare: dict[str, Any] = {}
    shared: list[str] = []
    if (better.query, better.context, better.group) == (worse.query, worse.context, worse.group):
        fields |= {"query": better.query, "context": better.context, "group": better.group}
        shared += ["query", "context", "group"]
    if better.extra == worse.extra and {*carried(better.extra)}.isdisjoint({"id", "preference"}):
        fields |= carried(better.extra)
        bare = {"extra": {}}
    for name, response in (("a", better), ("b", worse)):
        inner = response_fields(dataclasses.replace(response, **bare))
        fields[name] = {key: value for key, value in inner.items() if key not in shared}
    return fields | {"preference": "tie" if record.tie else "a"}
