"""Make the screenshots of the dashboard: `python docs/make_screenshots.py`.

In: the shipped model, and a Chromium on PATH or in LATENTLENS_BROWSER. Out: `docs/images/dashboard-light.png` and
`dashboard-dark.png`, of the real page on its worked example.
"""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from latentlens_app import create_app
from playwright.sync_api import sync_playwright
from werkzeug.serving import make_server

IMAGES = Path(__file__).parent / "images"
AT = 2
"""The iteration at which the playhead stands."""
DRAWN = """() => ['stream', 'map', 'grid'].every((id) => {
    const gd = document.querySelector(`#${id} .js-plotly-plot`);
    return gd && gd.data && gd.data.length > 0;
})"""


def main() -> None:
    """Serve the dashboard, look at it in light and in dark, and stop."""
    server = make_server("127.0.0.1", 0, create_app().server, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = (os.environ.get("LATENTLENS_BROWSER"), "chromium", "chromium-browser", "google-chrome")
    browser_path = next(filter(None, map(shutil.which, filter(None, names))), None)
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            size = {"width": 1440, "height": 1010}
            page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.locator("#strip .token").first.wait_for()
            page.wait_for_function(DRAWN)
            page.keyboard.press("Home")
            for _ in range(AT):
                page.keyboard.press("ArrowRight")
            page.wait_for_function(
                "(at) => document.querySelector('#stream .js-plotly-plot').layout.shapes[0].x0 === at", arg=AT
            )
            page.screenshot(path=IMAGES / f"dashboard-{scheme}.png")
            page.close()
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main()
