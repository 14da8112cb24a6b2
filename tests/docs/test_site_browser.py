"""The site in a browser: figures that compute what the library computes, pages that everybody can read."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.browsers import Watched, chromium, serious_faults

ROOT = Path(__file__).parents[2]
PAGES = (
    *("index", "first-hour", "notebooks", "understand", "concepts", "integrations", "guides/agents", "api", "cli"),
    *("architecture", "benchmarks/results/accuracy"),
)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The built site behind a server on loopback."""
    build = pytest.importorskip("mkdocs.commands.build", reason="mkdocs is not installed: `make docs` brings it")
    from mkdocs.config import load_config

    place = tmp_path_factory.mktemp("site")
    build.build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(place), strict=True))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(place))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


def figure(page: Any) -> dict[str, list[float]]:
    """Return what the figure shows: by rule the score, the likelihood and the beliefs."""
    rows = page.locator(".aggregations tbody tr")
    shown = {}
    for place in range(rows.count()):
        row = rows.nth(place)
        cells = [row.locator(".good"), row.locator(".likelihood"), *row.locator(".belief").all()]
        shown[row.get_attribute("data-rule")] = [float(cell.inner_text()) for cell in cells]
    return shown


def test_the_figure_computes_what_the_library_computes(site: str, browser: Any) -> None:
    torch = pytest.importorskip("torch")
    from fractal.mil.aggregations import AGGREGATIONS

    watched = Watched(browser, site)
    page = watched.page
    page.goto(f"{site}/understand.html")
    for values, label in [((95, 90, 20, 85), 0), ((95, 90, 20, 85), 1), ((1, 99, 50, 73), 0), ((1, 99, 50, 73), 1)]:
        for place, value in enumerate(values, 1):
            page.locator(f"#s{place}").fill(str(value))
        page.locator(f"input[name=label][value='{label}']").check()
        scores = torch.tensor(values, dtype=torch.float64) / 100
        offsets, labels = torch.tensor([0, 4]), torch.tensor([float(label)], dtype=torch.float64)
        shown = figure(page)
        assert list(shown) == ["min", "product", "mean", "noisy_or", "max"]
        for name, (good, likelihood, *beliefs) in shown.items():
            rule = AGGREGATIONS.build(name)
            logits = torch.logit(scores).unsqueeze(1)
            assert good == pytest.approx(float(rule.response_scores(logits, offsets)), abs=6e-4)
            assert likelihood == pytest.approx(float(rule.log_likelihood(logits, offsets, labels).exp()), abs=6e-4)
            expected = rule.posterior(scores.unsqueeze(1), offsets, labels).squeeze(1)
            assert beliefs == pytest.approx(expected.tolist(), abs=6e-3)
    watched.clean()
    watched.close()


def test_the_figure_works_by_keyboard(site: str, browser: Any) -> None:
    watched = Watched(browser, site)
    page = watched.page
    page.goto(f"{site}/understand.html")
    page.locator("#s3").focus()
    before = figure(page)["min"][0]
    page.keyboard.press("ArrowRight")
    assert figure(page)["min"][0] == pytest.approx(before + 0.01)
    page.keyboard.press("Home")
    assert figure(page)["min"][0] == pytest.approx(0.01)
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")  # the label, among whose two choices arrows move
    assert page.locator("input[name=label][value='1']").is_checked()
    watched.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_serious_fault_and_asks_no_other_host(name: str, scheme: str, site: str, browser: Any) -> None:
    watched = Watched(browser, site, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    watched.page.goto(f"{site}/{name}.html")
    watched.page.wait_for_load_state("networkidle")
    assert not serious_faults(watched.page)
    watched.page.set_viewport_size({"width": 390, "height": 844})
    wide = watched.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390, f"{wide} px wide on a screen of 390"
    watched.clean()
    watched.close()
