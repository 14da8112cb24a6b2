"""`fractal pick` writes a line a query and says what order alone decided."""

from __future__ import annotations

import json

from click.testing import CliRunner

from fractal import write
from fractal.cli import app
from fractal.records import Response, ScoredResponse


def test_a_line_a_query(tmp_path):
    rows = [("a", "q1", 0.2), ("b", "q1", 0.7), ("c", "q2", 0.5), ("d", "q2", 0.5), ("e", "q3", 0.1)]
    items = [
        ScoredResponse(Response.from_sentences(id, [f"Text {id}."], query=query), (score,), score, aggregation="min")
        for id, query, score in rows
    ]
    write(items, tmp_path / "scores.jsonl")
    result = CliRunner().invoke(app, ["pick", str(tmp_path / "scores.jsonl"), "-o", str(tmp_path / "best.jsonl")])
    assert result.exit_code == 0, result.stderr
    assert "3 queries: 1 have one response alone, 1 are decided by order" in result.stderr
    lines = [json.loads(line) for line in (tmp_path / "best.jsonl").read_text().splitlines()]
    assert [(line["chosen"], line["of"], line["tied"]) for line in lines] == [
        ("b", 2, []),
        ("c", 2, ["d"]),
        ("e", 1, []),
    ]
    assert lines[0]["runners_up"] == [{"id": "a", "score": 0.2}]
    assert lines[0]["response"] == "Text b."
    counted = CliRunner().invoke(app, ["pick", str(tmp_path / "scores.jsonl"), "--by", "sentence", "--json"])
    assert json.loads(counted.stderr)["tied"] == 1
    assert len(counted.stdout.splitlines()) == 3
