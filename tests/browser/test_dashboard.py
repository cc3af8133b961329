"""What a reader does on the page, and what the page answers."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

import latentlens as ll

PROMPT = "Fay : Gus Gus Hal . Gus : Hal . Hal : Fay . 1 steps from Fay"
OTHER = "Tom : Sue . Sue : Roy . Roy : Tom . 1 steps from Sue"
BAD = "Ann : Bob . Bob : Zork . 1 steps from Ann"


def test_a_prompt_is_typed_and_run_the_playhead_dragged_and_a_token_clicked(dashboard):
    """The whole way of a newcomer, and the candidate bars that change with it."""
    dashboard.run(PROMPT)
    dashboard.wait_for_tokens(PROMPT)
    last = len(PROMPT.split()) - 1
    dashboard.is_at(16)
    dashboard.is_on(last)
    out = ll.decode(ll.capture(ll.load("walks"), PROMPT, iterations=16), progress=False)

    def leader(iteration: int, position: int) -> str:
        return str(ll.token_text(out, out.top_token[0, iteration, position, 0].values))

    def chance(iteration: int, position: int) -> str:
        return f"{float(out.top_prob[0, iteration, position, 0]):.2f}"

    dashboard.has_bar("exact 0.67")
    dashboard.has_top(leader(16, last), chance(16, last))

    box = dashboard.slider.bounding_box()
    track = dashboard.page.locator(".mantine-Slider-trackContainer").bounding_box()
    dashboard.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    dashboard.page.mouse.down()
    dashboard.page.mouse.move(track["x"] + track["width"] / 2, box["y"] + 4, steps=8)
    dashboard.page.mouse.move(track["x"] - 20, box["y"] + 4, steps=8)
    dashboard.page.mouse.up()
    dashboard.is_at(0)
    dashboard.has_top(leader(0, last), chance(0, last))

    dashboard.tokens.nth(1).click()
    dashboard.is_on(1)
    dashboard.page.keyboard.press("End")
    dashboard.is_at(16)
    dashboard.has_bar(leader(16, 1))
    dashboard.has_top(leader(16, 1), chance(16, 1))


def test_the_page_opens_on_a_worked_example_with_its_exact_answer(dashboard):
    dashboard.has_bar("exact")
    expect(dashboard.page.locator("#leader")).to_have_text(
        re.compile(r"^Iteration 16 of 16: \w+ leads with [01]\.\d\d$")
    )
    alternatives = [
        dashboard.page.locator(f"#{kind}-frame").get_attribute("aria-label") for kind in ("stream", "map", "grid")
    ]
    assert ["exact answer is" in alternatives[0], "paths" in alternatives[1], "tokens by" in alternatives[2]] == [
        True
    ] * 3


def test_a_fresh_page_plays_once_where_motion_is_welcome(visit, url: str):
    page = visit(url, reduced_motion="no-preference").page
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()


def test_keys_move_the_playhead_play_and_pause(dashboard):
    keyboard = dashboard.page.keyboard
    dashboard.is_at(16)
    keyboard.press("ArrowLeft")
    keyboard.press("ArrowLeft")
    dashboard.is_at(14)
    keyboard.press("ArrowRight")
    dashboard.is_at(15)
    keyboard.press("Home")
    dashboard.is_at(0)
    keyboard.press("ArrowLeft")
    dashboard.is_at(0)
    keyboard.press("Space")
    expect(dashboard.page.get_by_role("button", name="Pause")).to_be_visible()
    expect(dashboard.page.locator("#now-iteration")).not_to_have_text("Iteration 0")
    keyboard.press("Space")
    expect(dashboard.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    keyboard.press("End")
    dashboard.is_at(16)


def test_keys_in_a_text_field_and_on_the_slider_do_what_they_always_do(dashboard):
    dashboard.is_at(16)
    dashboard.page.get_by_label("Prompt", exact=True).click()
    for key in ("ArrowLeft", "Home", "Space"):
        dashboard.page.keyboard.press(key)
    dashboard.is_at(16)
    dashboard.slider.focus()
    dashboard.page.keyboard.press("ArrowLeft")
    dashboard.is_at(15)  # once, not twice


def test_up_and_down_walk_along_the_tokens_which_are_one_tab_stop(dashboard):
    last = dashboard.tokens.count() - 1
    dashboard.tokens.nth(last).focus()
    dashboard.page.keyboard.press("ArrowUp")
    dashboard.is_on(last - 1)
    expect(dashboard.tokens.nth(last - 1)).to_be_focused()
    assert dashboard.page.locator("#strip [tabindex='0']").count() == 1


def test_a_click_on_a_cell_moves_all_pictures_to_its_token_and_iteration(dashboard):
    dashboard.click_cell(5, 7)
    dashboard.is_on(5)
    dashboard.is_at(7)
    expect(dashboard.page.locator("#now-where")).to_contain_text("(6 of ")


def test_a_click_on_a_state_moves_all_pictures_to_its_token_and_iteration(dashboard):
    dashboard.page.locator("#map").scroll_into_view_if_needed()
    x, y, position, iteration = dashboard.lonely_state()
    dashboard.page.mouse.move(x - 3, y)
    dashboard.page.mouse.click(x, y)
    dashboard.is_on(position)
    dashboard.is_at(iteration)


def test_a_click_in_the_stream_moves_the_playhead(dashboard):
    box = dashboard.page.locator("#stream .nsewdrag").first.bounding_box()
    dashboard.page.mouse.move(box["x"] + box["width"] / 2 - 3, box["y"] + box["height"] / 2)
    dashboard.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    dashboard.is_at(8)


def test_a_bad_prompt_is_explained_and_the_page_stays_alive(dashboard):
    before = dashboard.tokens.all_inner_texts()
    dashboard.run(BAD)
    expect(dashboard.page.get_by_role("alert")).to_contain_text("expected words that the model knows, got 'Zork'")
    assert dashboard.tokens.all_inner_texts() == before
    dashboard.page.keyboard.press("Escape")
    dashboard.run(OTHER)
    dashboard.wait_for_tokens(OTHER)
    expect(dashboard.page.get_by_role("alert")).to_be_hidden()


def test_bad_numbers_and_models_are_explained(dashboard):
    page, run = dashboard.page, dashboard.page.get_by_role("button", name="Run", exact=True)
    model = page.get_by_role("textbox", name="Model")
    page.get_by_label("Iterations", exact=True).fill("0")
    run.click()
    expect(page.get_by_role("alert")).to_contain_text("expected iterations to be a whole number of 1 or more, got 0")
    page.get_by_label("Iterations", exact=True).fill("8")
    model.fill("wolks")
    page.keyboard.press("Escape")
    run.click()
    expect(page.get_by_role("alert")).to_contain_text("did you mean walks?")
    model.fill("walks")
    page.keyboard.press("Escape")
    run.click()
    expect(page.get_by_role("alert")).to_be_hidden()
    dashboard.is_at(8)


def test_a_long_run_tells_its_progress_and_can_be_cancelled(visit, slow_url: str):
    dashboard = visit(slow_url)
    page, before = dashboard.page, dashboard.tokens.all_inner_texts()
    expect(page.get_by_role("button", name="Cancel")).to_be_disabled()
    page.get_by_label("Iterations", exact=True).fill("900")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Iterating, \d+%"))
    expect(page.get_by_role("progressbar", name="Progress of the run")).not_to_have_attribute("aria-valuenow", "0")
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_have_text("Cancelled")
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    assert dashboard.tokens.all_inner_texts() == before


def test_a_reload_keeps_the_run_that_is_made_and_the_place_in_the_one_that_is_shown(visit: Callable, slow_url: str):
    dashboard = visit(slow_url)
    page = dashboard.page
    page.get_by_label("Iterations", exact=True).fill("100")
    dashboard.run(OTHER)
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Iterating, \d+%"))
    page.reload()
    dashboard.wait_for_tokens(OTHER)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(OTHER)
    dashboard.is_at(100)
    dashboard.tokens.nth(3).click()
    dashboard.is_on(3)
    page.keyboard.press("Home")
    dashboard.is_at(0)
    page.reload()
    dashboard.wait_for_tokens(OTHER)
    dashboard.is_on(3)
    dashboard.is_at(0)
    expect(page.get_by_label("Iterations", exact=True)).to_have_value("100")


def test_two_tabs_do_not_mix(dashboard, visit: Callable, url: str):
    first, second = dashboard, visit(url)
    first.run(PROMPT)
    second.run(OTHER)
    first.wait_for_tokens(PROMPT)
    second.wait_for_tokens(OTHER)
    expect(first.tokens).to_have_count(len(PROMPT.split()))


def test_another_lens_example_and_walk_run_at_once(dashboard):
    page = dashboard.page
    dashboard.pick("lens", "Logit")
    expect(page.get_by_role("region", name="The same in Python")).to_contain_text("lens='logit'")
    page.get_by_role("button", name="A loaded die").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(re.compile("^Fay : Gus Gus Hal"))
    dashboard.has_bar("exact 0.67")
    page.get_by_role("button", name="Another random walk").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(re.compile(r"[23] steps from \w+$"))


def test_choices_redraw_their_picture_with_the_playhead_in_its_place(dashboard):
    dashboard.is_at(16)
    page = dashboard.page
    page.keyboard.press("Home")
    page.get_by_text("Lines", exact=True).click()
    page.wait_for_function("document.querySelector('#stream .js-plotly-plot').data.every((t) => !t.stackgroup)")
    dashboard.pick("grid-color", "Probability")
    page.wait_for_function("document.querySelector('#grid .js-plotly-plot').data[0].zmax === 1")
    page.get_by_text("Leader", exact=True).click()
    page.wait_for_function("document.querySelector('#map .js-plotly-plot').layout.showlegend === true")
    dashboard.is_at(0)
    page.get_by_text("3-D", exact=True).click()
    page.wait_for_function("document.querySelector('#map .js-plotly-plot').data[0].type === 'scatter3d'")
    dashboard.is_at(0)


def test_a_figure_and_its_numbers_can_be_downloaded(dashboard):
    page = dashboard.page
    for what, suffix in (("the figure", "pdf"), ("its numbers", "csv")):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=f"Download Candidates, {what}, as {suffix.upper()}").click()
        assert waiting.value.suggested_filename == f"latentlens-stream.{suffix}"
        assert waiting.value.path().stat().st_size > 500


def test_the_python_of_the_view_follows_the_token(dashboard):
    code = dashboard.page.get_by_role("region", name="The same in Python")
    dashboard.page.get_by_role("link", name="Python").click()
    expect(code).to_be_in_viewport()
    dashboard.tokens.nth(2).click()
    expect(code).to_contain_text("ll.figures.stream(out, position=2)")
