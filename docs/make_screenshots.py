"""Make the screenshots of the dashboard: `python docs/make_screenshots.py`.

In: the shipped model, and a Chromium on PATH or in LATENTLENS_BROWSER. Out, in `docs/images/`, of the real page on its
worked example: `dashboard-light.png`, `dashboard-dark.png`, `map-marks.png` and `motion.png`.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
from pathlib import Path

from latentlens_app import create_app
from playwright.sync_api import Browser, Page, expect, sync_playwright
from werkzeug.serving import make_server

IMAGES = Path(__file__).parent / "images"
AT = 2
"""The iteration at which the playhead stands."""
DRAWN = """() => ['stream', 'map', 'grid'].every((id) => {
    const gd = document.querySelector(`#${id} .js-plotly-plot`);
    return gd && gd.data && gd.data.length > 0;
})"""


def main() -> None:
    """Serve the dashboard, look at it in light and in dark, at its map and its motion, and stop."""
    server = make_server("127.0.0.1", 0, create_app().server, threaded=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = (os.environ.get("LATENTLENS_BROWSER"), "chromium", "chromium-browser", "google-chrome")
    browser_path = next(filter(None, map(shutil.which, filter(None, names))), None)
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = opened(browser, server.server_port, scheme)
            page.screenshot(path=IMAGES / f"dashboard-{scheme}.png")
            page.close()
        page = opened(browser, server.server_port, "light")
        show_marks(page)
        show_motion(page)
        browser.close()
    server.shutdown()


def opened(browser: Browser, port: int, scheme: str) -> Page:
    """The page with everything drawn, the playhead early on."""
    size = {"width": 1440, "height": 1500}
    page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(f"http://127.0.0.1:{port}/")
    page.locator("#strip .token").first.wait_for()
    page.wait_for_function(DRAWN)
    while page.get_by_role("slider").get_attribute("aria-valuenow") != "0":  # keys count once the page is alive
        page.keyboard.press("Home")
        page.wait_for_timeout(200)
    for _ in range(AT):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "(at) => document.querySelector('#stream .js-plotly-plot').layout.shapes[0].x0 === at", arg=AT
    )
    return page


def show_marks(page: Page) -> None:
    """The map's card with its frame choices open and every mark on it."""
    page.locator("summary", has_text="Frame").click()
    marks = page.get_by_role("group", name="Marks on the map")
    for name in ("Anchors", "Arrow", "Regions"):
        marks.locator("label", has_text=name).click()
    expect(page.locator("#map-notes")).to_contain_text(f"at iteration {AT}")
    page.wait_for_timeout(1000)  # until the picture is drawn anew
    page.locator(".map-card").screenshot(path=IMAGES / "map-marks.png")


def show_motion(page: Page) -> None:
    """The motion panel on its first picture."""
    page.get_by_role("button", name="Motion", exact=True).click()
    expect(page.locator("#motion-frame")).to_have_attribute("aria-label", re.compile("^Motion: Length"))
    page.wait_for_timeout(1000)
    page.locator(".motion-card").screenshot(path=IMAGES / "motion.png")


if __name__ == "__main__":
    main()
