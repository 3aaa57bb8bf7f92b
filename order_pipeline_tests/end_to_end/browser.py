"""Dagster's UI as a person uses it, in a Chromium without a screen.

Belongs here: finding the browser, and what a person does in the UI. Not here: what must come of it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

# A machine may be busy, and the UI's first page is two megabytes of script.
PATIENCE_MS = 90_000
SCREEN = {"width": 1440, "height": 860}
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """The system's Chromium, else the one that Playwright has installed; None: there is neither."""
    for program in PROGRAMS:
        if found := shutil.which(program):
            return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


class DagsterUI:
    """A page of the UI. ``look`` keeps what it shows in the folder ORDER_PIPELINE_SCREENSHOTS, where that is set."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self._url = url
        self._pictures = os.environ.get("ORDER_PIPELINE_SCREENSHOTS")

    def open(self, path: str) -> None:
        self.page.goto(self._url + path, wait_until="domcontentloaded")

    def seen(self, text: str | re.Pattern[str]) -> Locator:
        """What shows this text; the UI keeps hidden copies to measure its labels."""
        return self.page.get_by_text(text).filter(visible=True).first

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("button", name=name).filter(visible=True).first

    def look(self, name: str) -> None:
        if self._pictures:
            folder = Path(__file__).parent.parent.parent / self._pictures
            folder.mkdir(parents=True, exist_ok=True)
            # What is still turning or fading in would be all that one sees.
            self.page.wait_for_timeout(2500)
            self.page.screenshot(path=folder / f"{name}.png")

    def open_lineage(self) -> None:
        """All groups, open, as wide as the screen."""
        self.open("/asset-groups")
        expect(self.seen("Materialize all")).to_be_visible()
        canvas = self.page.get_by_test_id("asset-graph-canvas")
        surface = canvas if canvas.count() else self.page.locator("svg").last
        expect(surface).to_be_visible()
        # The graph listens once it is laid out.
        expect(self.seen("proof")).to_be_visible()
        self.page.wait_for_timeout(1000)
        self.page.keyboard.press("Alt+KeyE")

    def materialize(self, asset: str, days: str, launch: str, *, picture: str | None = None) -> None:
        """Launch an asset's run, or backfill, over days (``[first...last]``, or one) by the dialogue of its page."""
        self.open(f"/assets/{asset}?view=partitions")
        self.button(re.compile("Materialize(…|\\.\\.\\.)")).click()
        selection = self.page.get_by_placeholder("No matching partitions").or_(
            self.page.locator("input[value^='[']").last
        )
        self.page.get_by_text("Partition selection").wait_for()
        self.button("Custom").click()
        selection.last.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(days)
        self.page.keyboard.press("Enter")
        expect(self.button(launch)).to_be_enabled()
        if picture:
            self.look(picture)
        self.button(launch).click()


@contextmanager
def dagster_ui(url: str, chromium: str) -> Iterator[DagsterUI]:
    with sync_playwright() as playwright:
        # Root has no sandbox for its browser, as in containers; it opens nothing but our own UI.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SCREEN)  # type: ignore[arg-type]
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield DagsterUI(page, url)
        browser.close()
