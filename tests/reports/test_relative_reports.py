"""Relative scores, learned from preferences alone: shown against those of the rivals, and nothing is flagged."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.records import Response, ScoredResponse
from fractal.reports import fragment, palette, render_report, show
from fractal.reports.by_field import slice_tables
from fractal.reports.highlights import recurring_sentences, standouts
from fractal.reports.rivals import MARGIN, standings
from fractal.reports.summary import aim_of, summarise


def answer(name: str, *scores: float, query: str = "q", **fields: object) -> ScoredResponse:
    response = Response.from_sentences(
        name, [f"Sentence {n} of {name}." for n in range(len(scores))], query=query, **fields
    )
    return ScoredResponse(response, scores, statistics.fmean(scores), aggregation="mean", relative=True)


PAIR = [answer("good", 0.8, 0.7, 0.45), answer("bad", 0.5, 0.2)]
ALONE = answer("alone", 0.3, 0.9, query="another")


def test_a_response_is_held_against_the_other_answers_to_its_query() -> None:
    good, bad, alone = standings([*PAIR, ALONE])
    assert (good.rivals, good.middle) == (1, pytest.approx(0.35))
    assert (bad.rivals, bad.middle) == (1, pytest.approx(0.65))
    assert (alone.rivals, alone.middle) == (0, pytest.approx((0.65 + 0.35 + 0.6) / 3))
    assert standings([dataclasses.replace(PAIR[0], relative=False)]) == [None]


def test_the_same_text_is_one_response_and_no_rival_of_itself() -> None:
    again = dataclasses.replace(PAIR[0], response=dataclasses.replace(PAIR[0].response, id="good again"))
    first, bad, second = standings([*PAIR, again])
    assert first == second == standings(PAIR)[0]
    assert bad.rivals == 1


def test_sides_of_a_pair_without_a_query_are_rivals_by_their_names() -> None:
    sides = [answer(name, score, query="") for name, score in (("p1/chosen", 0.9), ("p1/rejected", 0.1), ("p2/a", 0.5))]
    assert [standing.rivals for standing in standings(sides)] == [1, 1, 0]
    grouped = [answer(name, 0.5, query="", group="g") for name in "ab"]
    assert [standing.rivals for standing in standings(grouped)] == [1, 1]


@given(
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.lists(st.floats(0, 1), min_size=1, max_size=3)), min_size=1, max_size=12
    )
)
def test_standings_are_the_means_over_the_others(drawn: list[tuple[str, list[float]]]) -> None:
    items = [answer(f"r{n}", *scores, query=query) for n, (query, scores) in enumerate(drawn)]
    for item, standing in zip(items, standings(items), strict=True):
        others = [one for one in items if one.response.query == item.response.query and one is not item]
        assert standing.rivals == len(others)
        held_against = others or items
        means = [statistics.fmean(one.sentence_scores) for one in held_against]
        assert standing.middle == pytest.approx(statistics.fmean(means), abs=1e-9)
        assert standing.level == pytest.approx(statistics.fmean(one.response_score for one in held_against), abs=1e-9)


def test_relative_scores_are_counted_as_better_and_worse_and_none_is_flagged() -> None:
    summary = summarise([*PAIR, ALONE])
    assert (summary.aim, summary.flagged, summary.touched) == ("compare", 0, 0)
    assert (summary.compared, summary.alone, summary.better, summary.worse) == (3, 1, 4, 3)
    assert summary.calibrated == ""  # a relative score claims no share of good ones
    mixed = summarise([*PAIR, dataclasses.replace(ALONE, relative=False)])
    assert (mixed.aim, mixed.flagged, mixed.compared) == ("mixed", 1, 2)
    assert aim_of(dataclasses.replace(PAIR[0], aggregation="max")) == "compare"


def test_a_slice_is_held_against_rivals_in_other_slices() -> None:
    items = [
        dataclasses.replace(one, response=dataclasses.replace(one.response, extra={"model": model}))
        for one, model in zip([*PAIR, ALONE], "xyx", strict=True)
    ]
    (table,) = slice_tables(items, "model", 0.5, {}, standings(items))
    counts = {row.value: (row.summary.better, row.summary.worse, row.summary.alone) for row in table.rows}
    assert counts == {"x": (4, 1, 1), "y": (0, 2, 0)}
    whole = summarise(items)
    assert (whole.better, whole.worse, whole.alone) == tuple(map(sum, zip(*counts.values(), strict=True)))
    assert table.aim == "compare"


def test_the_page_speaks_of_rivals() -> None:
    page = render_report([*PAIR, ALONE])
    visible = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert "flagged" not in visible
    assert "better than the rival" in visible
    assert "Furthest from the rival first" in visible
    assert "1 responses have no rival here" in visible
    data = json.loads(re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    assert [one["rivals"] for one in data["items"]] == [1, 1, 0]
    assert (data["margin"], data["items"][0]["aim"]) == (MARGIN, "compare")


@given(st.floats(-1, 1), st.floats(0.01, 0.5))
def test_colours_tell_the_side_and_grow_with_the_gap(gap: float, margin: float) -> None:
    place = palette.gap_step(gap, margin)
    assert 0 <= place <= 8
    assert (place > palette.MIDDLE, place < palette.MIDDLE) == (gap >= margin, gap <= -margin)
    assert place == 8 - palette.gap_step(-gap, margin)
    assert place <= palette.gap_step(min(1.0, gap + 0.1), margin)


def test_alone_a_response_stands_against_its_own_mean() -> None:
    from rich.console import Console

    stream = io.StringIO()
    show([PAIR[0]], Console(file=stream, width=80))
    marks = [line[0] for line in stream.getvalue().splitlines() if "Sentence" in line]
    assert marks == ["▲", " ", "▼"]
    assert "own mean" in fragment(PAIR[0])
    assert "own mean" not in fragment(dataclasses.replace(PAIR[0], relative=False))


def test_sentences_that_stand_out_are_those_furthest_behind() -> None:
    items = [*PAIR, ALONE]
    rows = standouts(items, standings(items))["compare"]
    assert (rows[0].item.response.id, rows[0].place) == ("bad", 1)
    assert rows[0].middle == pytest.approx(0.65)


def test_recurring_sentences_are_counted_by_response_in_the_same_words() -> None:
    texts = ["It is so!", "it is so", "It  is… so.", "It is not so."]
    items = [
        ScoredResponse(
            Response.from_sentences(f"r{n}", [text, "It is so!"][: 1 + (n == 0)]), (0.1 * n, 0.5)[: 1 + (n == 0)], 0.5
        )
        for n, text in enumerate(texts)
    ]
    (row,) = recurring_sentences(items, standings(items))
    assert (row.text, row.responses) == ("It is so!", 3)
    assert (row.mean, row.low, row.high) == (pytest.approx(0.2), 0.0, 0.5)
    assert recurring_sentences(items, standings(items), fewest=4) == []
    worst = standouts(items, standings(items))["flag"]
    assert [(row.text, row.alike) for row in worst] == [("It is so!", 3), ("It is not so.", 0)]
