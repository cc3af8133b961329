"""A run is read in other ways on the page: other candidates, any statistic, saved lenses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

LINE = "document.querySelector('#line .js-plotly-plot')"


def test_the_list_of_candidates_is_edited_and_given_back_to_the_leaders(dashboard):
    page, code = dashboard.page, dashboard.page.get_by_role("region", name="The same in Python")
    field, back = (
        page.get_by_role("textbox", name="Candidates to follow"),
        page.get_by_role("button", name="Leaders", exact=True),
    )
    expect(back).to_be_disabled()
    for entry in ("Gus", "rest = Hal, Roy", "next"):
        field.fill(entry)
        field.press("Enter")
    expect(code).to_contain_text("'Gus': ['Gus'], 'rest': ['Hal', 'Roy'], 'next': 'next'}")
    dashboard.has_bar("rest")
    dashboard.has_bar("other")
    expect(back).to_be_enabled()
    expect(field).to_have_value("")
    field.press("Backspace")
    expect(code).to_contain_text("'rest': ['Hal', 'Roy']}, statistics")
    field.fill("Zork")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("expected a token that the model knows, got 'Zork'")
    field.press("Backspace")
    expect(page.get_by_role("alert")).to_be_hidden()
    back.click()
    expect(code).to_contain_text("also=")
    expect(back).to_be_disabled()


def test_any_statistic_colours_the_grid_and_is_drawn_over_the_iterations_with_the_playhead(dashboard):
    page = dashboard.page
    dashboard.pick("grid-color", "Margin of the leader")
    page.wait_for_function(
        "document.querySelector('#grid .js-plotly-plot').data[0].colorbar.title.text.startsWith('probability of the leader less')"
    )
    dashboard.pick("line-y", "KL from the exact answer")
    page.wait_for_function(f"{LINE}.layout.yaxis.title.text.includes('truth')")
    page.keyboard.press("Escape")
    page.locator("#line-frame").scroll_into_view_if_needed()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Home")
    page.wait_for_function(f"{LINE}.layout.shapes[0].x0 === 0 && {LINE}.layout.shapes[0].visible !== false")
    dashboard.tokens.nth(1).click()  # the exact answer is known at the last token alone
    expect(page.locator("#line-frame")).to_have_attribute(
        "aria-label", "One statistic: KL from the exact answer has no number at this token"
    )


def test_a_saved_lens_is_picked_or_its_file_is_typed(visit: Callable, lens_url: str, lenses: Path):
    dashboard = visit(lens_url)
    page, code = dashboard.page, dashboard.page.get_by_role("region", name="The same in Python")
    dashboard.pick("lens", "Tuned: mine")
    expect(code).to_contain_text("lens='" + str(lenses / "mine.safetensors"))
    dashboard.pick("lens", "Logit")
    expect(code).to_contain_text("lens='logit'")
    expect(page.get_by_label("File of the lens")).to_be_hidden()
    dashboard.pick("lens", "A saved lens…")
    page.get_by_label("File of the lens").fill(str(lenses / "none.safetensors"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("expected a saved lens at")
    page.get_by_label("File of the lens").fill(str(lenses / "mine.safetensors"))
    page.keyboard.press("Enter")
    expect(code).to_contain_text("lens='" + str(lenses / "mine.safetensors"))
    expect(page.get_by_role("alert")).to_be_hidden()
