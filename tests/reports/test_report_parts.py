"""Parts of the page: slices, filters, links, curves of a training, what metrics say; and how large a page is."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from fractal.evaluation import evaluate
from fractal.evaluation.metrics import METRICS
from fractal.evaluation.slices import slices
from fractal.records import Response, ScoredResponse
from fractal.reports import render_report
from fractal.reports.explain import explain
from fractal.reports.fields import MOST_VALUES, carried_fields
from fractal.reports.payload import anchor
from fractal.reports.training import MOST_HEADS, training_curves
from support.scored_samples import HOSTILE, make_scored


def with_extra(items: list[ScoredResponse], *extras: dict[str, Any]) -> list[ScoredResponse]:
    return [
        dataclasses.replace(one, response=dataclasses.replace(one.response, extra=extras[n % len(extras)]))
        for n, one in enumerate(items)
    ]


MODELS = with_extra(make_scored(12), {"model": "a", "n": 1}, {"model": "a"}, {"model": HOSTILE[0]})


def data_of(page: str) -> dict[str, Any]:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_fields_of_few_values_are_filters_and_the_others_are_named() -> None:
    items = [
        dataclasses.replace(
            one,
            response=dataclasses.replace(
                one.response,
                extra={"model": f"m{n % 3}", "url": f"u{n}", "same": 1, "meta": {"topic": n % 2, "steps": [{"a": 1}]}},
            ),
        )
        for n, one in enumerate(make_scored(MOST_VALUES + 2))
    ]
    fields = carried_fields(items)
    assert [(field.name, field.values) for field in fields.filters] == [
        ("model", ("m0", "m1", "m2")),
        ("meta.topic", ("0", "1")),
    ]
    assert fields.filters[0].places[:4] == (0, 1, 2, 0)
    assert fields.left_out == ("url", "same", "meta.steps")
    page = render_report(items)
    assert "url, same, meta.steps" in page
    assert [field["name"] for field in data_of(page)["fields"]] == ["model", "meta.topic"]
    assert data_of(page)["items"][4]["fields"] == [1, 0]


def test_the_field_of_the_slices_is_the_first_filter_and_keeps_its_slices() -> None:
    items = with_extra(make_scored(60), *({"n": n, "model": n % 2} for n in range(60)))
    fields = carried_fields(items, by="n")
    assert fields.filters[0].name == "n"
    assert fields.filters[0].values == tuple(slices(items, "n"))
    assert sum(place == len(fields.filters[0].values) - 1 for place in fields.filters[0].places) == 40


def test_slices_stand_in_a_table_with_their_metrics() -> None:
    measured = {"": {value: evaluate(part, "mae", bootstrap=10) for value, part in slices(MODELS, "model").items()}}
    page = render_report(MODELS, by="model", by_evaluation=measured)
    table = page[page.index('id="slices"') : page.index('id="sentences"')]
    assert table.count("<tr data-slice=") == 2
    assert f"{measured['']['a']['mae'].value:.3f}" in table
    assert "<script>window" not in table
    assert 'id="slices"' not in render_report(MODELS)
    bare = render_report(MODELS, by="model")
    assert "nothing is measured" in bare


def test_every_response_has_an_address_of_its_own() -> None:
    items = make_scored(40)
    assert len({anchor(one, place, False) for place, one in enumerate(items)}) == 40
    odd = ScoredResponse(Response.from_sentences("a/b c#?é", ["A."]), (0.5,), 0.5, aspect="x/y")
    assert anchor(odd, 3, True) == "#r/a%2Fb%20c%23%3F%C3%A9/x%2Fy"
    half = dataclasses.replace(odd, response=dataclasses.replace(odd.response, id="\ud83d"))
    assert anchor(half, 3, True) == "#r/@3"


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_says_what_it_is(name: str) -> None:
    assert re.fullmatch(r".{20,}\. ?(Higher|Lower) is better\.", explain(name), re.DOTALL)


def test_metrics_are_explained_on_the_page_and_unknown_ones_stay_bare() -> None:
    scored = make_scored(12)
    table = evaluate(scored, ["roc_auc(neutral='bad')"], bootstrap=0)
    page = render_report(scored, evaluation=table)
    assert page.count(explain("roc_auc")) == 2  # on hover, and where it is opened
    assert '<details class="help"><summary' in page
    assert explain("no_such_metric") == ""
    other = dataclasses.replace(table, rows=(dataclasses.replace(table.rows[0], metric="mine"),))
    assert '<details class="help">' not in render_report(scored, evaluation=other)


def epoch(number: int, stage: str, **more: Any) -> dict[str, Any]:
    return {"epoch": number, "stage": stage, "parts": {"response": 1.0 / number}, "held_out": 0.5, "auc": 0.7, **more}


def test_each_head_and_each_member_is_a_line_of_its_own() -> None:
    members = {"held_out_by_member": [0.4, None], "auc_by_member": [0.6, 0.8]}
    curves = training_curves([epoch(n, stage, **members) for stage in ("one", "two") for n in (1, 2)])
    assert curves is not None
    assert curves.heads == ("one", "two")
    assert [(curve.head, curve.points) for curve in curves.costs] == [
        (head, ((1.0, 1.0), (2.0, 0.5))) for head in ("one", "two")
    ]
    assert [(curve.head, curve.member) for curve in curves.held_out] == [("one", 1), ("two", 1), ("one", 0), ("two", 0)]
    assert sorted((curve.head, curve.member) for curve in curves.auc) == [
        (h, m) for h in ("one", "two") for m in (0, 1, 2)
    ]
    page = render_report(make_scored(1), history=[epoch(n, s, **members) for s in ("one", "<two>") for n in (1, 2)])
    training = page[page.index('id="training"') : page.index('id="sentences"')]
    assert training.count("<path") == 2 + 4 + 6
    assert "<title>one · member 1</title>" in training
    assert "&lt;two&gt;" in training


def test_a_head_that_trains_again_goes_on_and_many_heads_are_counted() -> None:
    again = training_curves([epoch(n, "one") for n in (1, 2, 1)])
    assert [point[0] for point in again.costs[0].points] == [1, 2, 3]
    many = training_curves([epoch(1, f"head {n}") for n in range(MOST_HEADS + 3)])
    assert (len(many.heads), many.left_out, many.heads[-1]) == (MOST_HEADS, 3, f"head {MOST_HEADS + 2}")
    assert training_curves([]) is None
    assert [curve.name for curve in training_curves([{"loss": 2, "note": "x"}, {"loss": 1}]).costs] == ["loss"]


def test_a_page_stays_small() -> None:
    """1,500 responses of 230 kB of text, and 425 kB of contexts, come to 1.1 MB; a page without any to 75 kB."""
    assert len(render_report(make_scored(1_500)).encode()) < 1_150_000
    assert len(render_report(make_scored(1)).encode()) < 75_000
