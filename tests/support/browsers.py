"""Chromium from Debian's packages, told to reach nothing by itself; pages that note what they should not do."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Start a browser; skip where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the test group brings playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, and what it did that it should not: errors on the console, requests to other hosts."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.host = urlsplit(url).netloc
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc != self.host:
            self.strangers.append(request.url)

    def clean(self) -> None:
        """Nothing of the kind has happened."""
        assert not self.errors, self.errors
        assert not self.strangers, self.strangers

    def close(self) -> None:
        self.context.close()


def serious_faults(page: Any) -> list[str]:
    """What axe-core finds that is serious or worse; skips where axe-core is not installed."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the test group brings axe-core")
    results = axe.Axe().run(page)
    return [
        f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:200]}"
        for one in results.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
