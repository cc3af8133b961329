"""The map in other layouts, its marks, and the motion panel, as a reader uses them."""

from __future__ import annotations

import re
from collections.abc import Callable

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

AXIS = "document.querySelector('#map .js-plotly-plot').layout.xaxis.title.text"
MOTION = "document.querySelector('#motion .js-plotly-plot')"
NAMES = ("Quantity", "Every token", "Orbits", "Waterfall", "Spectrum", "Other starts")


def violations(page) -> list[str]:
    """The rules of axe that the page breaks, and where."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'][:200] for node in one['nodes']]}" for one in found]


def test_a_umap_is_made_beside_the_run_kept_and_cancelled_with_the_components_still_there(visit: Callable, url: str):
    dashboard = visit(url)
    page = dashboard.page
    dashboard.is_at(16)
    code = page.get_by_role("region", name="The same in Python")
    notes = page.locator("#map-notes")
    expect(notes).to_contain_text(re.compile(r"Keeps \d+% of the variance; trustworthiness"))
    page.get_by_text("UMAP", exact=True).click()
    expect(page.get_by_role("button", name="Cancel the layout")).to_be_visible()
    page.get_by_role("button", name="Cancel the layout").click()
    expect(page.locator("#layout-text")).to_have_text("Cancelled")
    expect(page.get_by_role("radio", name="PCA")).to_be_checked()
    assert page.evaluate(AXIS).startswith("PC 1")
    page.get_by_text("UMAP", exact=True).click()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Home")  # the page stays alive
    expect(page.locator("#now-iteration")).to_have_text("Iteration 0")
    expect(notes).to_contain_text("UMAP: distances and loops in it are not evidence", timeout=90_000)
    page.wait_for_function(f"{AXIS} === 'UMAP 1'")
    expect(code).to_contain_text("ll.embed(traj, method='umap', n_components=2)")
    dashboard.is_at(0)
    page.get_by_text("PCA", exact=True).click()
    page.wait_for_function(f"{AXIS}.startsWith('PC 1')")
    page.get_by_text("UMAP", exact=True).click()
    page.wait_for_function(f"{AXIS} === 'UMAP 1'", timeout=5_000)  # it is kept
    dashboard.is_at(0)


def test_the_frame_is_chosen_and_the_playhead_leaves_a_start_that_is_left_out(visit: Callable, url: str):
    dashboard = visit(url)
    page = dashboard.page
    code = page.get_by_role("region", name="The same in Python")
    page.locator("summary", has_text="Frame").click()
    page.get_by_role("checkbox", name="Leave out the start").check()
    expect(code).to_contain_text("iterations=range(1, 17)")
    dashboard.pick("map-space", "After the last norm")
    expect(code).to_contain_text("space='norm', iterations=range(1, 17)")
    dashboard.pick("map-center", "Each token's own mean")
    dashboard.pick("map-fit", "The chosen token")
    expect(code).to_contain_text("space='norm', center='token', iterations=range(1, 17), fit_on=25")
    expect(page.locator("#map-notes")).to_contain_text("States after the norm, each token about its own mean")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Home")
    head = "document.querySelector('#map .js-plotly-plot').data.at(-1)"
    page.wait_for_function(f"{head}.name === 'playhead' && {head}.visible === false")
    page.keyboard.press("ArrowRight")
    dashboard.is_at(1)


def test_candidates_are_marked_on_the_map_at_the_playhead(visit: Callable, url: str):
    dashboard = visit(url)
    page = dashboard.page
    marks = page.get_by_role("group", name="Marks on the map")
    for name in ("Anchors", "Arrow", "Regions"):
        marks.get_by_role("checkbox", name=re.compile(f"^{name}")).check()
    notes = page.locator("#map-notes")
    expect(notes).to_contain_text("at iteration 16")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    expect(notes).to_contain_text("at iteration 15")
    dashboard.is_at(15)
    page.locator(".map-card").get_by_text("3-D", exact=True).click()
    expect(page.locator("#marks-note")).to_have_text("Marks are drawn in two dimensions.")


def test_motion_is_worked_out_when_it_is_opened_and_described_for_those_who_do_not_see_it(visit: Callable, url: str):
    dashboard = visit(url)
    page = dashboard.page
    opener = page.get_by_role("button", name="Motion", exact=True)
    expect(page.get_by_role("radiogroup", name="Motion: which picture")).to_be_hidden()
    expect(opener).to_have_attribute("aria-expanded", "false")
    opener.focus()
    page.keyboard.press("Enter")
    expect(opener).to_have_attribute("aria-expanded", "true")
    frame = page.locator("#motion-frame")
    expect(frame).to_have_attribute("aria-label", re.compile("^Motion: Length of the step to this state"))
    dashboard.pick("motion-y", "Norm of the state")
    expect(frame).to_have_attribute("aria-label", re.compile("^Motion: Norm of the state"))
    page.locator("#motion-kind").get_by_role("radio", name="Quantity").focus()
    page.keyboard.press("ArrowRight")
    expect(frame).to_have_attribute("aria-label", re.compile("26 tokens by iterations"))
    page.locator("#motion-frame").scroll_into_view_if_needed()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Home")
    page.wait_for_function(f"{MOTION}.layout.shapes[0].x0 === -0.5")
    for name, says in (("Spectrum", "Leading eigenvalues"), ("Other starts", "16 initial states")):
        page.locator("#motion-kind").get_by_text(name, exact=True).click()
        expect(frame).to_have_attribute("aria-label", re.compile(says), timeout=20_000)
    page.get_by_role("textbox", name="Initial states").fill("1")
    expect(page.locator("#motion-text")).to_contain_text("expected two starts or more, got 1")
    with page.expect_download() as waiting:
        page.locator("#motion-kind").get_by_text("Orbits", exact=True).click()
        expect(frame).to_have_attribute("aria-label", re.compile("PC 3"))
        page.get_by_role("button", name="Download Motion, the figure, as PDF").click()
    assert waiting.value.suggested_filename == "latentlens-orbits.pdf"


def test_other_starts_can_be_cancelled(visit: Callable, slow_url: str):
    dashboard = visit(slow_url)
    page = dashboard.page
    page.get_by_label("Iterations", exact=True).fill("200")
    page.get_by_role("button", name="Run", exact=True).click()
    dashboard.is_at(200)
    page.get_by_role("button", name="Motion", exact=True).click()
    page.locator("#motion-kind").get_by_text("Other starts", exact=True).click()
    expect(page.locator("#motion-text")).to_have_text(re.compile(r"Iterating, \d+%"))
    page.get_by_role("button", name="Cancel the motion panel").click()
    expect(page.locator("#motion-text")).to_have_text("Cancelled")
    page.locator("#motion-kind").get_by_text("Waterfall", exact=True).click()
    expect(page.locator("#motion-frame")).to_have_attribute("aria-label", re.compile("24 tokens"))


def test_a_model_without_a_free_step_says_so_in_place(visit: Callable, url: str, llama):
    dashboard = visit(url)
    page = dashboard.page
    page.get_by_role("textbox", name="Model").fill(llama)
    page.keyboard.press("Escape")
    dashboard.run("12 7 5 60")
    dashboard.wait_for_tokens("12 7 5 60")
    page.get_by_role("button", name="Motion", exact=True).click()
    for name in ("Spectrum", "Other starts"):
        page.locator("#motion-kind").get_by_text(name, exact=True).click()
        expect(page.locator("#motion-note")).to_contain_text("No iteration from a chosen state")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_axe_finds_nothing_in_the_open_panel_and_frame_light_dark_and_on_a_phone(visit: Callable, url: str):
    for scheme in ("light", "dark"):
        page = visit(url, color_scheme=scheme).page
        page.locator("summary", has_text="Frame").click()
        page.get_by_role("button", name="Motion", exact=True).click()
        for name in NAMES:
            page.locator("#motion-kind").get_by_text(name, exact=True).click()
            expect(page.locator("#motion-note")).not_to_be_empty()
            assert violations(page) == []
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
        assert violations(page) == []
