"""Scores of steps on their way back to the traces that they came from: OpenTelemetry events, Langfuse scores."""

from __future__ import annotations

import dataclasses
import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple

from fractal.errors import BadData
from fractal.records import ScoredResponse
from fractal.writers.base import WRITERS, Writer
from fractal.writers.jsonl import encoded
from fractal.writers.native import Writable
from fractal.writers.spans import scored_only

__all__ = ["LangfuseScores", "OpenTelemetryEvaluations"]


class Evaluation(NamedTuple):
    """What is said of one span, or of the whole trace where it names none."""

    trace: str
    span: str
    name: str
    score: float
    label: str


@dataclasses.dataclass(frozen=True)
class Evaluations(Writer):
    """One object a step, and one for the whole run."""

    evaluation: str = "fractal"  # the name of the evaluation; that of the whole run ends in `.run`
    threshold: float = 0.5  # a score below it is labelled as a failure

    @abstractmethod
    def event(self, evaluation: Evaluation) -> dict[str, Any]:
        """Return the object of one evaluation."""

    def write_to(self, stream: IO[bytes], records: Iterable[Writable]) -> None:
        """Write an object a line."""
        for scored in scored_only(records, self.name):
            for evaluation in self._evaluations(scored):
                stream.write(encoded(self.event(evaluation)) + b"\n")

    def _evaluations(self, scored: ScoredResponse) -> Iterator[Evaluation]:
        for span, score in zip(spans_of(scored), scored.sentence_scores, strict=True):
            yield self._of(scored.response.id, span, self.evaluation, score)
        yield self._of(scored.response.id, "", f"{self.evaluation}.run", scored.response_score)

    def _of(self, trace: str, span: str, name: str, score: float) -> Evaluation:
        return Evaluation(trace, span, name, score, "fail" if score < self.threshold else "pass")


def spans_of(scored: ScoredResponse) -> list[str]:
    """Return the span of each step, as the reader of the trace noted it."""
    meta = scored.response.extra.get("meta")
    steps = meta.get("steps") if isinstance(meta, dict) else None
    spans = [step.get("span") for step in steps or () if isinstance(step, dict)]
    if len(spans) != len(scored.sentence_scores) or not all(spans):
        raise BadData(
            f"the steps of {scored.response.id!r} carry no ids of spans: read the run from its trace, or write jsonl",
            field="meta.steps",
        )
    return [str(span) for span in spans]


@WRITERS.register("opentelemetry")
@dataclasses.dataclass(frozen=True)
class OpenTelemetryEvaluations(Evaluations):
    """OpenTelemetry events `gen_ai.evaluation.result`, one a step's span, and one for the whole trace."""

    def event(self, evaluation: Evaluation) -> dict[str, Any]:
        """Return an event, which belongs to its span by id."""
        where = {"trace_id": evaluation.trace} | ({"span_id": evaluation.span} if evaluation.span else {})
        attributes = {
            "gen_ai.evaluation.name": evaluation.name,
            "gen_ai.evaluation.score.value": evaluation.score,
            "gen_ai.evaluation.score.label": evaluation.label,
        }
        return {"event_name": "gen_ai.evaluation.result", **where, "attributes": attributes}


@WRITERS.register("langfuse")
@dataclasses.dataclass(frozen=True)
class LangfuseScores(Evaluations):
    """Scores for Langfuse, one an observation and one for the whole trace; sent twice they are one."""

    def event(self, evaluation: Evaluation) -> dict[str, Any]:
        """Return the body of one score; its id depends on what it is about alone."""
        about = "\0".join((evaluation.trace, evaluation.span, evaluation.name))
        where = {"traceId": evaluation.trace} | ({"observationId": evaluation.span} if evaluation.span else {})
        score = {"name": evaluation.name, "value": evaluation.score, "dataType": "NUMERIC", "comment": evaluation.label}
        return {"id": hashlib.blake2b(about.encode(), digest_size=16).hexdigest(), **where, **score}
