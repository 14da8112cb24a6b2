"""Steps with a label each, `prompt`, `completions`, `labels`: what trainers of process reward models read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import IO, Any, ClassVar

from fractal.errors import BadData
from fractal.records import Preference, ScoredResponse
from fractal.writers.base import WRITERS, Writer
from fractal.writers.jsonl import encoded
from fractal.writers.native import Writable, carried


@WRITERS.register("stepwise")
@dataclasses.dataclass(frozen=True)
class Stepwise(Writer):
    """JSON lines of `prompt`, `completions`, `labels` (true: a good step) and, where there are any, float `scores`."""

    endings: ClassVar[tuple[str, ...]] = ()
    flags: ClassVar[bool] = True
    threshold: float = 0.5  # a step with at least this score or label is good

    def write_to(self, stream: IO[bytes], records: Iterable[Writable]) -> None:
        """Write one object a line."""
        for record in records:
            stream.write(encoded(self._fields(record)) + b"\n")

    def _fields(self, record: Writable) -> dict[str, Any]:
        if isinstance(record, Preference):
            raise BadData("a preference is no list of steps: write its responses, or write jsonl")
        response = record.response if isinstance(record, ScoredResponse) else record
        labels: tuple[float | None, ...] = response.sentence_labels
        if isinstance(record, ScoredResponse):
            labels = record.sentence_labels or record.sentence_scores
        hard = [None if label is None else label >= self.threshold for label in labels]
        scores = {"scores": record.sentence_scores} if isinstance(record, ScoredResponse) else {}
        fields = {"id": response.id, "prompt": response.query, "completions": [s.text for s in response.sentences]}
        shared = {"label": response.label, "group": response.group, "context": response.context}
        return fields | {"labels": hard} | scores | shared | carried(response.extra)
