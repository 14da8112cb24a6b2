"""The report in a real browser: orders, filters, keys, and nothing that leaves the page or runs out of a text."""

import shutil
from pathlib import Path

import pytest

from fractal.records import Response, ScoredResponse
from fractal.reports import write_report
from support.scored_samples import FINDINGS, HOSTILE, hostile, make_scored

sync_api = pytest.importorskip("playwright.sync_api", reason="the group 'test' brings playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: install Debian's package 'chromium'")

SCORED = [*make_scored(150, 5, "faithful"), *make_scored(100, 6, "helpful"), hostile()]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(path, SCORED, title=HOSTILE[1], checks=FINDINGS, history=[{"loss": 1.0}, {"loss": 0.5}])


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield found
        found.close()


@pytest.fixture
def page(browser, report):
    """The open report; at the end nothing was complained of and nothing else was asked for."""
    opened = browser.new_page(viewport={"width": 1300, "height": 900})
    complaints, asked = [], []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(report.as_uri())
    opened.wait_for_selector(".card")
    yield opened
    assert opened.evaluate("window.harmed") is None
    assert complaints == []
    assert [url for url in asked if url != "data:,"] == [report.as_uri()]
    opened.close()


def ids(page) -> list[str]:
    return page.locator(".card .head .id").all_text_contents()


def search(page, words: str) -> None:
    page.locator("#search").fill(words)
    page.wait_for_timeout(200)


def expected(key, keep=lambda item: True) -> list[str]:
    return [item.response.id for item in sorted(filter(keep, SCORED), key=key)][:20]


def rounded_lowest(item) -> float:
    return round(min(item.sentence_scores), 4)


def test_orders(page):
    assert ids(page) == expected(lambda item: (rounded_lowest(item), round(item.response_score, 4)))
    for value, key in (
        ("file", lambda item: 0),
        ("low", lambda item: round(item.response_score, 4)),
        ("high", lambda item: -round(item.response_score, 4)),
        ("long", lambda item: -len(item.response.text.encode("utf-16-le", "surrogatepass"))),
        ("short", lambda item: len(item.response.text.encode("utf-16-le", "surrogatepass"))),
        ("unsure", lambda item: -max(round(width, 4) for width in item.sentence_spread)),
    ):
        page.locator("#sort").select_option(value)
        assert ids(page) == expected(key), value


def test_filters_and_search(page):
    clean = [item for item in SCORED if min(item.sentence_scores) >= 0.5]
    page.locator("#show").select_option("clean")
    assert page.locator("#found").text_content() == f"{len(clean)} of {len(SCORED)} responses"
    assert page.locator(".sentence.flagged").count() == 0
    page.locator("#show").select_option("all")
    page.locator("#aspect").select_option(label="helpful")
    assert page.locator("#found").text_content() == f"100 of {len(SCORED)} responses"
    page.locator("#aspect").select_option("")
    search(page, "VIADUCT opened")
    kept = [item for item in SCORED if "viaduct opened" in item.response.text.lower()]
    assert page.locator("#found").text_content() == f"{len(kept)} of {len(SCORED)} responses"
    assert set(page.locator("#list mark").all_text_contents()) == {"viaduct opened"}
    search(page, "no such words")
    assert page.locator("#nothing").is_visible()
    assert page.locator(".card").count() == 0


def test_pages(page):
    page.locator("#sort").select_option("file")
    first = ids(page)
    page.locator("#after").click()
    assert page.locator("#page").text_content() == "Page 2 of 13"
    assert ids(page) == [item.response.id for item in SCORED[20:40]]
    page.locator("#before").click()
    assert ids(page) == first
    assert page.locator("#before").is_disabled()


def test_scores_are_told_on_hover_and_by_keyboard(page):
    page.locator("#sort").select_option("file")
    item = SCORED[0]
    wanted = [
        f"score {score:.2f} ± {wide:.2f}{' · flagged' if score < 0.5 else ''} · label {label:.2f}"
        for score, wide, label in zip(
            item.sentence_scores, item.sentence_spread, item.response.sentence_labels, strict=True
        )
    ]
    tip = page.locator("#tip")
    page.locator(".sentence").nth(1).hover()
    assert tip.text_content() == wanted[1]
    page.mouse.move(0, 0)
    assert tip.is_hidden()
    page.locator("#numbers").focus()
    for reached in (item.response.id, "Copy link", item.response.sentences[0].text):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent").startswith(reached)
    for number in range(len(wanted)):
        assert tip.text_content() == wanted[number]
        assert page.locator("#beside blockquote").text_content() == item.response.sentences[number].text
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.item") == "1"
    page.keyboard.press("ArrowUp")
    assert page.evaluate("[document.activeElement.dataset.item, document.activeElement.dataset.number]") == ["0", "0"]
    page.keyboard.press("PageDown")
    assert page.evaluate("document.activeElement.dataset.item") == "20"
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.item") == "19"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("/")
    assert page.locator("#search").input_value() == "/"


def test_the_nearest_passage_is_marked(page):
    page.locator("#sort").select_option("file")
    number, item = next(
        (number, item)
        for number, item in enumerate(SCORED[:20])
        if item.response.sentences[0].text in item.response.context[0]
    )
    page.locator(f'[data-item="{number}"][data-number="0"]').click()
    assert page.locator("#beside .best").text_content().strip() == item.response.sentences[0].text
    assert "100%" in page.locator("#beside .context .quiet").text_content()
    assert "".join(page.locator("#beside .passages").all_text_contents()) == "".join(item.response.context)


def test_a_passage_that_holds_few_of_the_words_is_not_marked(browser, tmp_path):
    response = Response.from_sentences(
        "far", ["Nine blue whales sang of the sea."], context=("The bank opens at ten. The bank closes at four.",)
    )
    path = write_report(tmp_path / "far.html", [ScoredResponse(response, (0.1,), 0.1)])
    page = browser.new_page()
    page.goto(path.as_uri())
    page.locator(".sentence").first.click()
    assert "No passage is near" in page.locator("#beside .context .quiet").text_content()
    assert page.locator("#beside .best").count() == 0
    page.close()


def test_the_chosen_sentence_stays_in_sight_where_the_context_is_long(browser, tmp_path):
    long = " ".join(f"Filler number {number} says nothing at all." for number in range(400))
    response = Response.from_sentences("far", ["The bank opens at ten."], context=(f"{long} The bank opens at ten.",))
    path = write_report(tmp_path / "long.html", [ScoredResponse(response, (0.1,), 0.1)])
    page = browser.new_page(viewport={"width": 1300, "height": 800})
    page.goto(path.as_uri())
    page.locator(".sentence").first.click()
    sheet = page.locator("#beside").bounding_box()
    for part in ("#beside blockquote", "#beside .best"):
        box = page.locator(part).bounding_box()
        assert sheet["y"] <= box["y"]
        assert box["y"] + box["height"] <= sheet["y"] + sheet["height"]
    page.close()


def test_hostile_texts_stay_texts(page):
    page.locator("#sort").select_option("file")
    search(page, "half a character")
    assert ids(page) == [HOSTILE[1]]
    pieces = page.evaluate("[...document.querySelectorAll('.sentence')].map(s => s.firstChild.textContent)")
    whole = "".join(page.locator(".card .text .sentence").nth(place).inner_text() for place in range(len(HOSTILE)))
    assert "<img src=x onerror='window.harmed=3'>" in whole
    assert pieces[0] == HOSTILE[0]
    assert page.title() == HOSTILE[1]
    assert page.locator("#list img, #list script, #beside img, #beside script, #list svg").count() == 0
    page.locator(".sentence").first.click()
    assert page.locator("#beside .passages").first.text_content() == HOSTILE[2]


def test_numbers_can_be_read_in_the_text(page):
    assert page.locator(".sentence .score").first.is_hidden()
    page.locator("#numbers").check()
    assert page.locator(".sentence .score").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_runs_over_the_edge_and_texts_stand_out(browser, report, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(report.as_uri())
    page.wait_for_selector(".card")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.evaluate("""() => [...document.querySelectorAll('.sentence')].map(sentence => {
      const style = getComputedStyle(sentence); return [style.color, style.backgroundColor] })""")
    ink = {"light": "rgb(22, 24, 28)", "dark": "rgb(238, 236, 232)"}[scheme]
    assert {text for text, _ in colours} == {ink}
    assert len({ground for _, ground in colours}) > 3
    page.locator(".sentence").nth(3).focus()
    box, sheet = page.locator(".sentence").nth(3).bounding_box(), page.locator("#beside").bounding_box()
    assert box["x"] + box["width"] <= sheet["x"] or box["y"] + box["height"] <= sheet["y"] + 1  # not covered
    page.close()


@pytest.mark.slow
def test_five_thousand_responses_do_not_lag(browser, tmp_path):
    path = write_report(tmp_path / "large.html", make_scored(5_000, 9))
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector(".card")
    taken = page.evaluate("""() => { const order = document.querySelector('#sort');
      document.querySelector('#search').value = 'opened in 1';
      return ['low', 'id', 'long', 'worst'].map(value => { order.value = value; const start = performance.now();
        order.dispatchEvent(new Event('change')); return performance.now() - start; }) }""")
    assert max(taken) < 500, taken  # milliseconds, on a busy machine
    page.close()
