"""Saved scorers: those of earlier formats still load, and re-saving changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from fractal import Response, load_scorer  # noqa: E402
from fractal.scorers.runtime import load_runtime  # noqa: E402

OLD = Path(__file__).parents[1] / "data" / "saved_format_1"  # written before format 2, with the scores of that time
EXPECTED: dict[str, Any] = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))
RESPONSES = [
    Response.from_sentences(r["id"], r["sentences"], query=r["query"], context=tuple(r["context"]))
    for r in EXPECTED["responses"]
]


@pytest.mark.parametrize("name", list(EXPECTED["scores"]))
@pytest.mark.parametrize("load", [load_scorer, load_runtime])
def test_scorers_of_format_1_load_with_equal_scores(name: str, load: Any) -> None:
    tolerance = 1e-6 if load is load_scorer else 1e-5  # sums are taken in another order, by numpy in other steps
    scored = load(OLD / name, cache=False).score_responses(RESPONSES)
    assert len(scored) == len(EXPECTED["scores"][name])
    for record, (aspect, whole, scores, spread) in zip(scored, EXPECTED["scores"][name], strict=True):
        assert record.aspect == aspect
        assert record.response_score == pytest.approx(whole, abs=tolerance)
        assert list(record.sentence_scores) == pytest.approx(scores, abs=tolerance)
        assert list(record.sentence_spread) == pytest.approx(spread, abs=tolerance)
