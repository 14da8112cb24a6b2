"""The whole way in a browser, on SQLite and on PostgreSQL: by mouse, by keyboard, light and dark, wide and narrow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.browsers import Watched, chromium, serious_faults
from support.servers import Served, postgres
from support.studios import COLUMNS, ratings_csv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SCREENSHOTS = os.environ.get("FRACTAL_SCREENSHOTS", "")
PAGES = ("import", "train", "look", "correct", "try")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("served") / "studio"
    if request.param == "sqlite":
        with Served(data) as one:
            yield one
        return
    with postgres() as url, Served(data, "--database", url) as one:
        yield one


def shot(page: Any, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / f"studio-{name}.png"), animations="disabled")


def test_import_map_train_look_correct_retrain_export(served: Served, tmp_path: Path) -> None:
    ratings = tmp_path / "bewertungen.csv"
    ratings.write_text(ratings_csv(80), encoding="cp1252")
    with chromium() as browser:
        watched = Watched(browser, served.url, viewport={"width": 1440, "height": 900})
        page = watched.page
        page.goto(served.link)
        assert page.url.endswith("/p/ratings/import")
        page.set_input_files("input[type=file]", str(ratings))
        page.get_by_role("button", name="Look at it").click()
        page.get_by_role("button", name="Import", exact=True).wait_for()
        for role, column in COLUMNS.items():
            page.select_option(f"#column-{role}", column)
        page.get_by_role("button", name="Show again with these columns").click()
        page.get_by_label("“gut” means").select_option("1")
        page.get_by_label("“schlecht” means").select_option("0")
        assert serious_faults(page) == []
        shot(page, "import")
        page.get_by_role("button", name="Import", exact=True).click()
        page.get_by_role("link", name="Train on it").click()
        page.get_by_label("What reads the sentences").select_option("hashing")
        page.get_by_label("How a rating comes").select_option("product")
        page.get_by_label("How long it learns").select_option("15")
        page.get_by_role("button", name="Train", exact=True).click()
        page.locator("#held-out").wait_for(timeout=240_000)
        assert "Scorer 1" in page.content()
        shot(page, "train")
        judged = judge_twenty(page, served)
        page.goto(f"{served.url}/p/ratings/correct")
        assert page.locator("#since").inner_text() == "20"
        page.get_by_role("button", name="Retrain on them").click()
        page.locator("#held-out").wait_for(timeout=240_000)
        assert "before: scorer 1" in page.content()
        assert "Learned from 20 judged sentences" in page.content()
        shot(page, "retrained")
        respected(page, served, judged)
        key = make_key(page, served)
        answer = page.request.get(
            f"{served.url}/v1/exports/jsonl", headers={"authorization": f"Bearer {key}", "cookie": ""}
        )
        assert answer.status == 200
        assert len(answer.text().splitlines()) == 80
        watched.clean()
        watched.close()


def judge_twenty(page: Any, served: Served) -> dict[tuple[str, str], str]:
    """Judge twenty sentences of the queue by keys alone, one of them twice, with an undo between."""
    page.goto(f"{served.url}/p/ratings/correct")
    judged: dict[tuple[str, str], str] = {}
    for number in range(20):
        sentence = page.locator(".sentence.chosen")
        sentence.wait_for()
        place = (sentence.get_attribute("data-response"), sentence.get_attribute("data-place"))
        key = "b" if number % 3 == 0 else "g"
        if number == 5:
            press(page, "b")
            press(page, "u")
            assert page.locator(".sentence.chosen").get_attribute("data-response") == place[0]
        press(page, key)
        judged[place] = key
    return judged


def press(page: Any, key: str) -> None:
    """Press a key, and wait for the page that its judgement brings."""
    with page.expect_navigation():
        page.keyboard.press(key)
    page.locator("#said").wait_for(state="attached")


def respected(page: Any, served: Served, judged: dict[tuple[str, str], str]) -> None:
    for (response, place), key in judged.items():
        page.goto(f"{served.url}/p/ratings/look/{response}")
        classes = page.locator(f'.sentence[data-place="{place}"]').get_attribute("class")
        assert ("said-bad" if key == "b" else "said-good") in classes


def make_key(page: Any, served: Served) -> str:
    page.goto(f"{served.url}/people")
    page.locator("form[action='/people/keys'] input[name=name]").fill("product")
    page.get_by_role("button", name="Make a key").click()
    key: str = page.locator("#new-key").inner_text()
    assert serious_faults(page) == []
    shot(page, "people")
    return key


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_page_is_whole_and_accessible(served: Served, scheme: str, width: int) -> None:
    with chromium() as browser:
        options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
        watched = Watched(browser, served.url, **options)
        page = watched.page
        page.goto(served.link)
        for name in PAGES:
            page.goto(f"{served.url}/p/ratings/{name}")
            if name == "try":
                page.get_by_role("textbox", name="Answer").fill(
                    "Paris is in France 🇫🇷. It has 90 million people. <b>No tag.</b>"
                )
                page.get_by_role("button", name="Score it").click()
                page.locator("#tried .sentence").first.wait_for()
            if name == "look":
                page.locator(".sentence").first.click()
            overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert overflow <= 0, f"{name} is {overflow} px too wide at {width}"
            faults = serious_faults(page)
            assert not faults, (name, faults)
            shot(page, f"{name}-{scheme}-{width}")
        watched.clean()
        watched.close()


def test_by_keyboard_alone(served: Served) -> None:
    with chromium() as browser:
        watched = Watched(browser, served.url)
        page = watched.page
        page.goto(served.link)
        page.goto(f"{served.url}/p/ratings/look")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.classList.contains('sentence')"):
                break
        first = page.evaluate("document.activeElement.textContent")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.textContent") != first
        assert page.locator("#beside blockquote").inner_text()
        watched.clean()
        watched.close()
