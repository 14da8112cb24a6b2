"""Scores learned under a maximum find something: colours, order, counts and words follow that, and nothing alarms."""

from __future__ import annotations

import dataclasses
import io
import json
import re

from fractal.records import Response, ScoredResponse
from fractal.reports.html import render_report
from fractal.reports.palette import MIDDLE, step
from fractal.reports.summary import summarise
from fractal.reports.terminal import worst_first


def item(name: str, *scores: float, rule: str = "max") -> ScoredResponse:
    response = Response.from_sentences(name, [f"Sentence {place} of {name}." for place in range(len(scores))])
    return ScoredResponse(response, scores, max(scores), aggregation=rule)


ITEMS = [item("noise", 0.02, 0.1, 0.05), item("found", 0.03, 0.9, 0.2), item("weak", 0.6, 0.1)]


def test_what_is_found_is_counted_and_what_is_not_is_no_fault() -> None:
    summary = summarise(ITEMS)
    assert (summary.finds, summary.flagged, summary.touched) == (True, 2, 2)
    turned = summarise([dataclasses.replace(one, aggregation="min") for one in ITEMS])
    assert (turned.finds, turned.flagged, turned.touched) == (False, 6, 3)
    assert not summarise([*ITEMS, item("other", 0.5, rule="min")]).finds


def test_the_page_speaks_of_what_was_found() -> None:
    page = render_report(ITEMS)
    assert "sentences found" in page
    assert "sentences flagged" not in page
    assert "Best sentence first" in page
    data = json.loads(re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    assert [one["aim"] for one in data["items"]] == ["find"] * 3
    other = render_report([dataclasses.replace(one, aggregation="mean") for one in ITEMS])
    assert "sentences flagged" in other
    assert "Worst sentence first" in other


def test_colours_stay_calm_below_the_threshold_and_the_best_comes_first() -> None:
    assert {step(score / 100, finds=True) for score in range(50)} == {MIDDLE}
    assert all(step(score / 100, finds=True) > MIDDLE for score in range(50, 101))
    assert [step(score, finds=False) for score in (0.0, 0.3, 0.5, 1.0)] == [0, 2, 4, 8]
    assert [one.response.id for one in worst_first(ITEMS, 2)] == ["found", "weak"]


def test_the_terminal_marks_what_was_found() -> None:
    from rich.console import Console

    from fractal.reports import show

    stream = io.StringIO()
    show(ITEMS, Console(file=stream, width=100))
    assert stream.getvalue().count("▲") == 2
    assert "▼" not in stream.getvalue()
