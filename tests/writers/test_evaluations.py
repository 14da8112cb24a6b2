"""Scores of steps go back to the spans that they came from."""

from __future__ import annotations

import io
import json

import pytest

from fractal.errors import BadData
from fractal.readers import ReadReport, read
from fractal.records import Response, ScoredResponse
from fractal.writers import write


def run():
    steps = [{"span": "s1"}, {"span": "s2"}]
    return Response.from_sentences("t1", ["Call: f()", "Agent: Done."], extra={"meta": {"steps": steps}})


def written(scored, writer):
    stream = io.BytesIO()
    write([scored], stream, writer)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_events_name_their_spans_and_are_no_outcome_when_read_again():
    events = written(ScoredResponse(run(), (0.25, 0.75), 0.25), "opentelemetry(evaluation='step')")
    assert [event.get("span_id") for event in events] == ["s1", "s2", None]
    assert all(event["event_name"] == "gen_ai.evaluation.result" and event["trace_id"] == "t1" for event in events)
    values = [event["attributes"]["gen_ai.evaluation.score.value"] for event in events]
    labels = [event["attributes"]["gen_ai.evaluation.score.label"] for event in events]
    assert (values, labels) == ([0.25, 0.75, 0.25], ["fail", "pass", "fail"])
    said = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "Done."}]}])
    spans = [
        {
            "trace_id": "t1",
            "span_id": id,
            "parent_id": "root",
            "start_time": start,
            "attributes": {"gen_ai.operation.name": "chat", "gen_ai.output.messages": said},
        }
        for start, id in enumerate(("s1", "s2"))
    ]
    report = ReadReport()
    (again,) = read([*events, *spans], "opentelemetry", report=report)
    assert again.label == 0.25  # of the run alone
    assert report.counts["evaluations of single steps, not read"] == 2


def test_scores_for_langfuse_name_their_observations_and_keep_their_ids():
    first = written(ScoredResponse(run(), (0.25, 0.75), 0.25), "langfuse")
    again = written(ScoredResponse(run(), (0.5, 0.5), 0.5), "langfuse")
    assert [score.get("observationId") for score in first] == ["s1", "s2", None]
    assert [score["value"] for score in first] == [0.25, 0.75, 0.25]
    assert [score["id"] for score in first] == [score["id"] for score in again]
    assert len({score["id"] for score in first}) == 3


@pytest.mark.parametrize("writer", ["opentelemetry", "langfuse"])
def test_steps_without_spans_are_refused(writer):
    bare = Response.from_sentences("x", ["Agent: Done."])
    with pytest.raises(BadData, match="carry no ids of spans"):
        written(ScoredResponse(bare, (0.5,), 0.5), writer)
