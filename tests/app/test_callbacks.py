"""Callbacks are plain functions of a desk and of what a page sends."""

from __future__ import annotations

import base64
import io

import dash
import pandas as pd
import pytest
from latentlens_app import callbacks, mapping, pictures
from latentlens_app.asking import Ask
from latentlens_app.desk import Desk
from latentlens_app.examples import FOR_WALKS, opening_prompt
from latentlens_app.runs import Run

import latentlens as ll

LOOK = {"dark": False, "widths": {"stream": 640, "map": 420, "grid": 600, "line": 900}}


def finished(desk: Desk, told: dict) -> tuple:
    """What a page is told once its job has ended."""
    desk.jobs.wait(told["id"], 60)
    return callbacks.poll(desk, 1, told)


def test_a_fresh_page_runs_the_worked_example(desk: Desk):
    *controls, told = callbacks.open_page(desk, {"play": True})
    assert controls == ["walks", FOR_WALKS[0].prompt, 16, 0, "coda", ""]
    status, shown, stop, _ = finished(desk, told)
    assert (status["state"], stop) == ("done", True)
    assert shown == {"key": told["key"], "ask": told["ask"]}


def test_a_page_that_is_reloaded_comes_back_to_its_own_run(desk: Desk, ask: Ask, shown: dict):
    saved = {"ask": shown["ask"], "key": shown["key"], "position": 3, "at": 2}
    *controls, told = callbacks.open_page(desk, saved)
    assert controls == [ask.model, ask.prompt, ask.iterations, ask.seed, "coda", ""]
    assert told["key"] == shown["key"]
    _, live, position, at, end, playing, *_ = callbacks.show_run(desk, shown, saved, None)
    assert (position, at, end, playing) == (3, 2, 6, False)
    assert live["iterations"] == 6


def test_what_a_tab_kept_of_another_version_is_passed_over(desk: Desk):
    prompt = callbacks.open_page(desk, {"ask": {"model": "walks", "prompt": "Ann"}, "job": {"id": "gone"}})[1]
    assert prompt == FOR_WALKS[0].prompt


def test_a_page_that_is_reloaded_while_it_runs_keeps_its_job(desk: Desk, ask: Ask):
    blocker = desk.jobs.submit(lambda report: [report(0, "capture") for _ in iter(int, 1)])
    told = desk.start(ask)
    assert callbacks.open_page(desk, {"job": told})[-1] == told
    desk.jobs.cancel(blocker.id)
    desk.jobs.wait(told["id"], 60)


def test_the_first_run_of_a_tab_plays_once_from_the_start(desk: Desk, run: Run, shown: dict):
    strip, live, position, at, end, playing, *_ = callbacks.show_run(desk, shown, {"play": True}, None)
    assert (position, at, end, playing) == (len(run.tokens) - 1, 0, 6, True)
    assert len(strip) == len(run.tokens)
    _, _, _, at, _, playing, *_ = callbacks.show_run(desk, shown, {"play": True}, live)
    assert (at, playing) == (6, False)


def test_run_takes_the_controls_and_cancels_what_the_page_ran_before(desk: Desk, ask: Ask):
    blocker = desk.jobs.submit(lambda report: [report(0, "capture") for _ in iter(int, 1)])
    told = callbacks.press_run(desk, 1, {"id": blocker.id}, "walks", ask.prompt, 6, 0, "coda")
    assert told["key"] == ask.key
    assert desk.jobs.wait(blocker.id, 5).state == "cancelled"
    assert callbacks.press_run(desk, None, None, "walks", ask.prompt, 6, 0, "coda") is dash.no_update


def test_a_bad_prompt_is_told_and_shows_nothing_new(desk: Desk):
    told = callbacks.press_run(desk, 1, None, "walks", "Ann : Zork .", 6, 0, "coda")
    status, shown, stop, _ = finished(desk, told)
    assert (status["state"], stop) == ("failed", True)
    assert "Zork" in status["message"]
    assert shown is dash.no_update


def test_cancel_ends_the_pages_own_job_and_no_other(desk: Desk):
    mine = desk.jobs.submit(lambda report: [report(0, "capture") for _ in iter(int, 1)])
    other = desk.jobs.submit(lambda report: "key")
    callbacks.press_cancel(desk, 1, {"id": mine.id})
    assert desk.jobs.wait(mine.id, 5).state == "cancelled"
    assert desk.jobs.wait(other.id, 5).state == "done"


def test_another_lens_is_read_at_once_and_only_once(desk: Desk, shown: dict):
    told = callbacks.change_lens(desk, "logit", "", shown, None)
    assert told["ask"] == {**shown["ask"], "lens": "logit"}
    assert callbacks.change_lens(desk, "logit", "", shown, told) is dash.no_update
    assert callbacks.change_lens(desk, "coda", "", shown, None) is dash.no_update
    assert callbacks.change_lens(desk, "coda", "", None, None) is dash.no_update


@pytest.mark.parametrize("index", [-1, 0, 3])
def test_an_example_goes_into_the_prompt_and_runs(desk: Desk, index: int):
    prompt, told = callbacks.take_example(desk, index, None, "walks", "Ann", 6, 0, "coda")
    assert told["ask"]["prompt"] == prompt
    assert prompt != "Ann"
    assert finished(desk, told)[0]["state"] == "done"


def test_every_example_has_an_exact_answer_that_the_page_can_show():
    for example in FOR_WALKS:
        assert sum(ll.models.walks.truth(example.prompt).values()) == pytest.approx(1)
    assert opening_prompt("some/model") not in [example.prompt for example in FOR_WALKS]


def test_a_run_that_was_let_go_is_said_to_be_so(desk: Desk, shown: dict):
    with pytest.raises(ll.LatentLensError, match="press Run again"):
        pictures.show_grid(desk, {**shown, "key": "gone"}, LOOK, "entropy")


def test_an_empty_page_draws_nothing(desk: Desk):
    assert set(callbacks.show_run(desk, None, None, None)) == {dash.no_update}
    assert set(pictures.show_stream(desk, None, LOOK, "area", None)) == {dash.no_update}
    assert set(mapping.show_map(desk, None, LOOK, "2", "top", None)) == {dash.no_update}
    assert set(pictures.show_bars(desk, None, None)) == {dash.no_update}
    assert callbacks.poll(desk, None, None) == (dash.no_update, dash.no_update, True, dash.no_update)


def test_the_pictures_follow_the_position_and_say_what_they_show(desk: Desk, run: Run, shown: dict):
    first, says_first = pictures.show_stream(desk, 0, LOOK, "line", shown)
    last, says_last = pictures.show_stream(desk, len(run.tokens) - 1, LOOK, "line", shown)
    assert first.to_dict() != last.to_dict()
    assert says_first.startswith("Candidates: ")
    assert "exact answer" in says_last
    grid, says, style = pictures.show_grid(desk, shown, {**LOOK, "dark": True}, "prob")
    assert grid.layout.shapes[0].name == "playhead"
    assert says.startswith("Every token: ")
    assert style["height"].endswith("px")
    drawn, _, _ = mapping.show_map(desk, 2, LOOK, "3", "top", {**shown, "layout": {}})
    assert drawn.data[-1].name == "playhead"


def test_the_bars_say_what_the_readout_says(desk: Desk, run: Run, shown: dict):
    position = len(run.tokens) - 1
    rows, data, _ = pictures.show_bars(desk, position, shown)
    assert len(rows) == len(data["rows"])
    exact = ll.models.walks.truth(run.ask.prompt)
    assert {row["text"]: pytest.approx(row["exact"]) for row in data["rows"] if row["exact"]} == exact
    here = run.out.isel(prompt=0, position=position)
    for iteration, places in enumerate(data["place"]):
        chances = [data["prob"][iteration][row] for row in places]
        assert chances == sorted(chances, reverse=True)
        assert chances[0] == pytest.approx(float(here.top_prob[iteration, 0]))
        assert data["rows"][places[0]]["id"] == int(here.top_token[iteration, 0])


@pytest.mark.parametrize("kind", ["stream", "map", "grid", "line"])
def test_a_figure_can_be_saved_for_paper_and_its_numbers_as_a_table(desk: Desk, shown: dict, kind: str):
    options = pictures.options_of(kind, "2", "area", "iteration", "entropy", "margin")
    start = {"pdf": b"%PDF", "svg": b"<?xml"}
    for suffix, magic in start.items():
        file = pictures.file_of(desk, shown, kind, suffix, 3, options)
        assert file["filename"] == f"latentlens-{kind}.{suffix}"
        assert base64.b64decode(file["content"]).startswith(magic)
    file = pictures.file_of(desk, shown, kind, "csv", 3, options)
    text = base64.b64decode(file["content"]).decode() if file["base64"] else file["content"]
    assert "iteration" in pd.read_csv(io.StringIO(text)).columns


def test_the_python_on_the_page_makes_the_same_numbers(desk: Desk, run: Run, shown: dict, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    code, copied = callbacks.write_python(desk, 3, shown)
    exec(code, names)
    assert copied == code
    assert names["out"].equals(run.out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.pdf", "line.pdf", "map.pdf", "stream.pdf"]


@pytest.mark.parametrize("last", [1, 2, 7, 16, 50, 333, 1000])
def test_the_slider_has_a_few_numbers(last: int):
    values = [mark["value"] for mark in callbacks.marks(last)]
    assert values[0] == 0
    assert values[-1] <= last
    assert 2 <= len(values) <= 9
