"""The report in a browser: a threshold that moves, filters by carried fields, links to responses, rivals, help."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fractal.evaluation import evaluate
from fractal.evaluation.slices import slices
from fractal.records import ScoredResponse
from fractal.reports import write_report
from fractal.reports.rivals import standings
from fractal.reports.summary import summarise
from support.browsers import Watched, chromium, serious_faults
from support.scored_samples import FINDINGS, hostile, make_scored


def carrying(items: list[ScoredResponse]) -> list[ScoredResponse]:
    extras = [{"model": f"model {n % 3}", "meta": {"topic": "xy"[n % 2]}} for n in range(len(items))]
    return [
        dataclasses.replace(one, response=dataclasses.replace(one.response, extra=extra))
        for one, extra in zip(items, extras, strict=True)
    ]


def compared(items: list[ScoredResponse]) -> list[ScoredResponse]:
    """Answers in pairs to the same query, scored by comparison; the last one has no rival."""
    first = items[0::2]
    sides = []
    for number, one in enumerate(items):
        query = f"Question {number // 2}?"
        response = dataclasses.replace(
            one.response, query=query, context=first[number // 2].response.context, label=None
        )
        sides.append(dataclasses.replace(one, response=response, relative=True, aggregation="mean"))
    return sides


playwright = pytest.importorskip("playwright.sync_api", reason="the test group brings playwright")
ABSOLUTE = [*carrying(make_scored(50, 5)), hostile()]
RELATIVE = compared(make_scored(31, 7))
MOST = [*carrying(make_scored(25, 8))]
PAGES = {
    "min": ABSOLUTE,
    "max": [dataclasses.replace(one, aggregation="max", response_score=max(one.sentence_scores)) for one in MOST],
    "mean": [dataclasses.replace(one, aggregation="mean") for one in carrying(make_scored(25, 9))],
    "relative": RELATIVE,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    members = {"held_out_by_member": [0.5, 0.7], "auc_by_member": [0.6, 0.8]}
    history = [
        {"epoch": n, "stage": head, "parts": {"response": 1 / n}, "held_out": 0.6, "auc": 0.7, **members}
        for head in ("one", "two")
        for n in (1, 2, 3)
    ]
    written = {}
    for name, items in PAGES.items():
        by = "" if name == "relative" else "model"
        measured = {"": {v: evaluate(part, "mae", bootstrap=20) for v, part in slices(items, by).items()}} if by else {}
        written[name] = write_report(
            folder / f"{name}.html",
            items,
            evaluation=evaluate(items, ["roc_auc", "mae"], bootstrap=20),
            checks=FINDINGS,
            history=history,
            by=by,
            by_evaluation=measured,
        )
    return written


@pytest.fixture
def open_page(browser: Any, reports: dict[str, Path]) -> Iterator[Any]:
    opened: list[Watched] = []

    def start(name: str, fragment: str = "", **options: Any) -> Any:
        address = f"{reports[name].as_uri()}{fragment}"
        watched = Watched(browser, address, **{"viewport": {"width": 1300, "height": 900}, **options})
        opened.append(watched)
        watched.page.goto(address)
        watched.page.wait_for_selector(".card")
        return watched.page

    yield start
    for watched in opened:
        watched.clean()
        assert watched.page.evaluate("window.harmed") is None
        watched.close()


def ids(page: Any) -> list[str]:
    return page.locator(".card .head .id").all_text_contents()


def move(page: Any, slider: str, value: float) -> None:
    page.locator(slider).fill(f"{value}")
    page.wait_for_timeout(100)


def test_the_threshold_moves_and_sentences_counts_and_charts_follow(open_page: Any) -> None:
    page = open_page("min")
    rounded = [
        dataclasses.replace(one, sentence_scores=tuple(round(s, 4) for s in one.sentence_scores)) for one in ABSOLUTE
    ]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for edge in (0.2, 0.8):
        move(page, "#threshold", edge)
        summary = summarise(rounded, edge)
        tiles = page.locator("#overview .tiles")
        assert tiles.locator('[data-live="count"]').text_content() == f"{summary.flagged:,}"
        assert tiles.locator('[data-live="share"]').text_content() == f"{summary.flagged_share:.1%}"
        assert tiles.locator('[data-live="touched"]').text_content() == f"{summary.touched:,}"
        assert tiles.locator('[data-live="edge"]').text_content() == f"{edge:g}"
        low = page.locator("svg.live .bar").nth(11)  # scores of .55 to .6
        assert ("s3" in low.get_attribute("class")) == (edge == 0.8)
        slice_rows = page.locator("tr[data-slice]")
        shares = [summarise(part, edge).flagged_share for part in slices(rounded, "model").values()]
        assert slice_rows.locator('[data-live="share"]').all_text_contents() == [f"{share:.1%}" for share in shares]
    page.locator("#show").select_option("clean")
    clean = [one for one in rounded if min(one.sentence_scores) >= 0.8]
    assert page.locator("#found").text_content() == f"{len(clean)} of {len(ABSOLUTE)} responses"
    assert page.locator(".sentence.flagged").count() == 0
    assert asked == []


def test_the_threshold_moves_by_keyboard_and_keeps_the_chosen_sentence(open_page: Any) -> None:
    page = open_page("min")
    page.locator(".sentence").nth(2).focus()
    chosen = page.locator("#beside blockquote").text_content()
    page.locator("#threshold").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    assert page.locator("#edge").text_content() == "0.51"
    assert page.locator("#beside blockquote").text_content() == chosen
    assert page.evaluate("document.activeElement.id") == "threshold"


def test_carried_fields_are_filters_and_stand_beside_the_sentence(open_page: Any) -> None:
    page = open_page("min")
    page.locator('select.field[data-field="0"]').select_option(label="model 1")
    page.locator('select.field[data-field="1"]').select_option(label="y")
    wanted = {one.response.id for one in ABSOLUTE if one.response.extra.get("model") == "model 1"}
    wanted &= {one.response.id for one in ABSOLUTE if one.response.extra.get("meta") == {"topic": "y"}}
    assert {*ids(page)} == wanted
    facts = page.locator("#beside .facts").inner_text()
    assert "model 1" in facts
    assert "meta.topic" in facts


def test_a_link_leads_to_its_response_whatever_was_filtered(open_page: Any) -> None:
    page = open_page("min", "#r/r00033")
    assert page.locator(".card.target .id").text_content() == "r00033"
    assert page.evaluate("document.activeElement.closest('.card').classList.contains('target')")
    page.locator("#search").fill("no such words")
    page.wait_for_timeout(200)
    page.evaluate("location.hash = '#r/r00007'")
    page.wait_for_selector(".card.target")
    assert page.locator(".card.target .id").text_content() == "r00007"
    assert page.locator("#search").input_value() == ""
    page.evaluate("location.hash = '#r/%E0%A4%A'")  # no address at all
    assert page.locator(".card.target .id").text_content() == "r00007"
    first = page.locator("#sentences a").first
    wanted = first.text_content()
    first.click()
    playwright.expect(page.locator(".card.target .id")).to_have_text(wanted or "")


def test_the_address_of_every_response_names_it_and_can_be_copied(open_page: Any) -> None:
    page = open_page("min", permissions=["clipboard-read", "clipboard-write"])
    page.locator("#sort").select_option("file")
    hrefs = [one.get_attribute("href") for one in page.locator(".card a.id").all()]
    assert len({*hrefs}) == 20
    card = page.locator(".card").nth(4)
    card.locator(".copy").click()
    playwright.expect(card.locator(".copy")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.endswith(f"min.html{hrefs[4]}")
    page.goto("about:blank")
    page.goto(copied)
    page.wait_for_selector(".card.target")
    assert page.locator(".card.target .id").text_content() == ABSOLUTE[4].response.id


def test_relative_scores_stand_against_their_rivals(open_page: Any) -> None:
    page = open_page("relative")
    standing = standings(RELATIVE)
    assert "flagged" not in page.locator("body").inner_text()
    summary = summarise(RELATIVE)
    assert page.locator("#found").text_content() == f"{len(RELATIVE)} responses"
    page.locator("#show").select_option("behind")
    behind = [
        one for one, held in zip(RELATIVE, standing, strict=True) if held.rivals and one.response_score < held.level
    ]
    assert page.locator("#found").text_content() == f"{len(behind)} of {len(RELATIVE)} responses"
    page.locator("#show").select_option("alone")
    assert ids(page) == [RELATIVE[-1].response.id]
    page.locator("#show").select_option("all")
    move(page, "#margin", 0.3)
    tiles = page.locator("#overview .tiles")
    assert int(tiles.locator('[data-live="better"]').text_content()) < summary.better
    gaps = [s - held.middle for one, held in zip(RELATIVE, standing, strict=True) for s in one.sentence_scores]
    assert abs(int(tiles.locator('[data-live="worse"]').text_content()) - sum(gap <= -0.3 for gap in gaps)) <= 1
    marked = page.locator(".sentence.worse").first
    marked.focus()
    assert "against its rivals · worse" in page.locator("#tip").text_content()


def test_under_a_maximum_nothing_alarms(open_page: Any) -> None:
    page = open_page("max")
    assert page.locator(".sentence.flagged").count() == 0
    assert page.locator(".sentence.found").count() > 0
    classes = page.locator("svg.live .bar").evaluate_all("bars => bars.map(bar => bar.getAttribute('class'))")
    assert not [kind for kind in classes if kind[-1] in "0123"]
    assert page.locator(".scale").inner_text().split("\n") == ["not found", "found"]


def test_metrics_are_explained_on_hover_and_by_keyboard(open_page: Any) -> None:
    page = open_page("min")
    name = page.locator("#metrics .help summary").first
    assert "Chance that a good one scores above" in name.get_attribute("title")
    said = page.locator("#metrics .help p").first
    assert said.is_hidden()
    name.focus()
    page.keyboard.press("Enter")
    assert said.is_visible()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_pages_of_every_rule_have_no_serious_faults(open_page: Any, name: str, width: int, scheme: str) -> None:
    page = open_page(name, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert serious_faults(page) == []
