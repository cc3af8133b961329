"""Other models on the page: typed in, named, run in their own way, and put back."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

OURO = Path(__file__).parent.parent / "data" / "ouro_random"


def name_model(dashboard, name: str) -> None:
    """Type a model's name, and close the list of proposals."""
    dashboard.page.get_by_role("textbox", name="Model").fill(name)
    dashboard.page.keyboard.press("Escape")


def test_a_folder_is_typed_in_named_and_run_on_token_ids_and_another_model_is_free_again(
    visit: Callable, url: str, llama
):
    dashboard = visit(url)
    page, about = dashboard.page, dashboard.page.get_by_role("note", name="The model")
    iterations, prompt = page.get_by_label("Iterations", exact=True), page.get_by_label("Prompt", exact=True)
    expect(about).to_contain_text("Huginn (Geiping et al. 2025)")
    iterations.fill("9")
    name_model(dashboard, llama)
    expect(about).to_have_text("Press Run to load it.")
    expect(iterations).to_have_value("")
    expect(page.get_by_role("button", name="A loaded die")).to_be_hidden()
    before = prompt.input_value()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("expected token ids from 0 to 60, separated by spaces, got 'Ann'")
    expect(prompt).to_have_value(before)
    expect(about).to_contain_text("A decoder, with its layers as iterations")
    expect(about).to_contain_text("No tokenizer: write token ids, separated by spaces, in place of text")
    expect(about).to_contain_text("Its number of iterations cannot be chosen: they are its 3 layers")
    expect(iterations).to_be_disabled()
    expect(iterations).to_have_value("3")
    dashboard.run("12 7 5 60")
    dashboard.wait_for_tokens("12 7 5 60")
    assert [text.splitlines()[0] for text in dashboard.tokens.all_inner_texts()] == ["<12>", "<7>", "<5>", "<60>"]
    dashboard.is_at(3)
    expect(page.get_by_role("region", name="The same in Python")).to_contain_text("tokens = [[12, 7, 5, 60]]")
    expect(page.get_by_role("alert")).to_be_hidden()
    name_model(dashboard, "walks")
    expect(iterations).to_be_enabled()
    expect(iterations).to_have_value("9")
    page.get_by_role("button", name="A loaded die").click()
    dashboard.has_bar("exact 0.67")
    dashboard.is_at(9)


def test_ouro_iterates_as_often_as_by_itself_and_its_exit_probabilities_lie_over_the_stream(visit: Callable, url: str):
    dashboard = visit(url)
    name_model(dashboard, str(OURO))
    dashboard.run("1 2 3 4")
    dashboard.wait_for_tokens("1 2 3 4")
    dashboard.is_at(4)
    page = dashboard.page
    expect(page.get_by_role("note", name="The model")).to_contain_text("Ouro (Zhu et al. 2025)")
    expect(page.get_by_label("Iterations", exact=True)).to_have_value("4")
    expect(page.get_by_label("Iterations", exact=True)).to_be_enabled()
    drawn = "document.querySelector('#stream .js-plotly-plot').data.some((t) => t.name === 'exit probability')"
    page.wait_for_function(drawn)


def test_a_folder_with_only_a_pickle_is_one_line_and_the_page_stays_alive(dashboard, tmp_path: Path):
    folder = tmp_path / "pickled"
    folder.mkdir()
    shutil.copy(OURO / "config.json", folder)
    (folder / "pytorch_model.bin").write_bytes(b"no weights")
    name_model(dashboard, str(folder))
    dashboard.page.get_by_role("button", name="Run", exact=True).click()
    expect(dashboard.page.get_by_role("alert")).to_contain_text("got only pytorch_model.bin, a pickle")
    name_model(dashboard, "walks")
    dashboard.run("Tom : Sue . Sue : Tom . 1 steps from Sue")
    dashboard.wait_for_tokens("Tom : Sue . Sue : Tom . 1 steps from Sue")
    expect(dashboard.page.locator("#leader")).to_have_text(re.compile("^Iteration 16 of 16: "))
