"""The page for everyone: names, contrast, narrow windows, and texts that are only texts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

PHONE, TABLET = {"width": 390, "height": 844}, {"width": 1024, "height": 768}


def violations(dashboard) -> list[str]:
    """The rules of axe that the page breaks, and where."""
    found = Axe().run(dashboard.page).response["violations"]
    return [f"{one['id']}: {[node['html'][:200] for node in one['nodes']]}" for one in found]


def test_axe_finds_nothing_to_object_to_in_light_and_dark_which_the_figures_follow(visit: Callable, url: str):
    dashboard = visit(url, color_scheme="light")
    page, ink = dashboard.page, "document.querySelector('#stream .js-plotly-plot').layout.template.layout.font.color"
    dashboard.is_at(16)
    assert violations(dashboard) == []
    light = page.evaluate(ink)
    page.get_by_role("button", name="Light or dark").click()
    page.wait_for_function(f"(light) => {ink} !== light", arg=light)
    dashboard.run("Ann : Zork .")
    expect(page.get_by_role("alert")).to_be_visible()
    assert violations(dashboard) == []
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    dashboard.wait_for_tokens()
    page.wait_for_function(f"(light) => {ink} !== light", arg=light)


@pytest.mark.parametrize("size", [PHONE, TABLET], ids=["phone", "tablet"])
def test_a_narrow_window_does_not_scroll_sideways(dashboard, size: dict):
    dashboard.page.set_viewport_size(size)
    dashboard.page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
    expect(dashboard.page.get_by_role("button", name="Play", exact=True)).to_be_in_viewport()
    expect(dashboard.slider).to_be_in_viewport()
    drawn = "[...document.querySelectorAll('.js-plotly-plot')].every((gd) => gd.offsetWidth < window.innerWidth)"
    dashboard.page.wait_for_function(drawn)


def test_the_page_reads_in_order(dashboard):
    headings = dashboard.page.get_by_role("heading").all_inner_texts()
    assert headings == [
        "latentlens",
        "Ask",
        "Tokens",
        "Candidates",
        "At the playhead",
        "States",
        "Every token",
        "One statistic",
        "Motion",
        "The same in Python",
    ]
    expect(dashboard.page.get_by_role("region", name="Playhead", exact=True)).to_match_aria_snapshot("""
        - region "Playhead":
          - button "Play"
          - slider "Iteration"
          - paragraph: /Iteration 16 of 16/
    """)


def test_the_first_tab_stop_leads_to_the_playhead_and_focus_can_be_seen(dashboard):
    page = dashboard.page
    page.locator("h1").click()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("link", name="Skip to the playhead")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_while_it_plays_nothing_is_announced_and_then_the_leader_is(dashboard):
    page = dashboard.page
    live = page.locator("[aria-live=polite]#announce")
    dashboard.is_at(16)
    expect(live).to_contain_text("Iteration 16 of 16")
    page.keyboard.press("Home")
    dashboard.is_at(0)
    expect(live).to_contain_text("Iteration 0 of 16")
    page.keyboard.press("Space")
    expect(page.locator("#now-iteration")).not_to_have_text("Iteration 0")
    expect(live).to_contain_text("Iteration 0 of 16")
    page.keyboard.press("Space")
    expect(live).not_to_contain_text("Iteration 0 of 16")


def test_the_text_of_tokens_is_never_markup(visit: Callable, hostile_url: str):
    dashboard = visit(hostile_url, wait=False)
    page = dashboard.page
    expect(page.get_by_role("alert")).to_contain_text("got 'The'")  # the example's words are not this model's
    words = "<img/src=x/onerror=window.hacked=1> <b>bold</b> </script><script>window.hacked=2</script> $x^2$"
    page.get_by_label("Iterations", exact=True).fill("4")
    dashboard.run(words)
    dashboard.wait_for_tokens(words)
    dashboard.is_at(4)
    assert [text.splitlines()[0] for text in dashboard.tokens.all_inner_texts()] == words.split()
    page.locator("#stream").hover(position={"x": 150, "y": 120})
    page.get_by_text("Leader", exact=True).click()
    page.wait_for_function("document.querySelector('#map .js-plotly-plot').layout.showlegend === true")
    dashboard.click_cell(1, 2)
    dashboard.is_at(2)
    page.locator("#map").hover()
    expect(page.get_by_role("region", name="The same in Python")).to_contain_text("<img/src=x")
    assert page.evaluate("[window.hacked, document.querySelectorAll('img, #react-entry-point b').length]") == [None, 0]
