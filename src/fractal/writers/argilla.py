"""Scored sentences as records of Argilla with suggested spans, for people to confirm or correct."""

from __future__ import annotations

import dataclasses
from typing import Any

from fractal.records import ScoredResponse
from fractal.writers.base import WRITERS
from fractal.writers.spans import Annotations, labelled_spans


def argilla_record(
    scored: ScoredResponse, threshold: float = 0.5, agent: str = "fractal", only_bad: bool = False
) -> dict[str, Any]:
    """Return a record as `Dataset.records.from_json` reads it: fields, metadata, and suggested spans.

    The data set needs the text fields `response`, `query` and `context` and a span question `sentences` on `response`
    with the labels `bad` and `good`.
    """
    response = scored.response
    spans = list(labelled_spans(scored, threshold, only_bad))
    value = [{"start": span.start, "end": span.end, "label": span.label} for span in spans]
    suggestion = {"value": value, "score": [span.sureness for span in spans], "agent": agent, "type": "model"}
    fields = {"response": response.text, "query": response.query, "context": "\n\n".join(response.context)}
    return {
        "id": f"{response.id}/{scored.aspect}" if scored.aspect else response.id,
        "fields": {name: text for name, text in fields.items() if text},
        "metadata": {
            "response_score": scored.response_score,
            "lowest_sentence_score": min(scored.sentence_scores),
            **({"aspect": scored.aspect} if scored.aspect else {}),
        },
        "suggestions": {"sentences": suggestion} if spans else {},
        "responses": {},
        "vectors": {},
    }


@WRITERS.register("argilla")
@dataclasses.dataclass(frozen=True)
class Argilla(Annotations):
    """Argilla: an array of records with a suggested span, bad or good, for each sentence."""

    agent: str = "fractal"

    def task(self, scored: ScoredResponse) -> dict[str, Any]:
        return argilla_record(scored, self.threshold, self.agent, self.only_bad)
