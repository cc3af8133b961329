"""A run can be read in other ways, at once: another lens, other candidates, other statistics."""

from __future__ import annotations

from pathlib import Path

import dash
import numpy as np
import pytest
from latentlens_app import callbacks, pictures
from latentlens_app.asking import Ask
from latentlens_app.desk import Desk
from latentlens_app.runs import Run, Runs
from latentlens_app.saved import saved_lenses
from latentlens_app.views import about, bars, followed_at, offered

import latentlens as ll

LOOK = {"dark": False, "widths": {"stream": 640, "map": 420, "grid": 600, "line": 900}}
PROMPTS = ["Ann : Bob . Bob : Ann . 1 steps from Ann", "Cal : Dee . Dee : Cal . 1 steps from Dee"]


def done(desk: Desk, told: dict) -> Run:
    """The run of a job, which must have ended well."""
    job = desk.jobs.wait(told["id"], 120)
    assert (job.state, job.message) == ("done", "")
    return desk.run(told)


def test_the_leaders_are_listed_at_every_token_and_the_list_itself_changes_nothing(desk: Desk, run: Run, shown: dict):
    for position in (0, len(run.tokens) - 1):
        entries, back = callbacks.show_track(desk, position, shown, [], None)
        assert entries
        assert back is True
        assert callbacks.edit_track(desk, entries, shown, position, None) is dash.no_update


def test_a_list_that_was_edited_is_followed_at_every_token_until_the_leaders_are_again(
    desk: Desk, run: Run, shown: dict
):
    entries = [*callbacks.show_track(desk, 0, shown, [], None)[0], "Gus", "boys = Hal, Roy"]
    told = callbacks.edit_track(desk, entries, shown, 0, None)
    edited = done(desk, told)
    now = {"key": told["key"], "ask": told["ask"]}
    assert edited.traj is run.traj
    assert edited.out.candidate_label[0, 0].values.tolist()[-2:] == ["Gus", "boys"]
    assert callbacks.show_track(desk, 3, now, [], told) == (entries, False)
    assert callbacks.show_track(desk, 3, now, [*entries, "Roy"], told) == (dash.no_update, False)  # being edited
    assert callbacks.show_track(desk, 3, shown, [*entries, "Roy"], told)[0] is dash.no_update  # an edit is on its way
    assert callbacks.edit_track(desk, entries, now, 3, told) is dash.no_update
    assert callbacks.press_leaders(desk, None, now, told) is dash.no_update
    assert callbacks.press_leaders(desk, 1, now, told)["key"] == run.ask.key


def test_an_entry_that_is_no_token_is_told_and_taking_it_out_shows_the_run_again(desk: Desk, run: Run, shown: dict):
    entries = callbacks.show_track(desk, 0, shown, [], None)[0]
    told = callbacks.edit_track(desk, [*entries, "Zork"], shown, 0, None)
    job = desk.jobs.wait(told["id"], 60)
    assert job.state == "failed"
    assert "expected a token that the model knows, got 'Zork'" in job.message
    assert callbacks.edit_track(desk, entries, shown, 0, told)["key"] == run.ask.key


def test_run_keeps_what_is_followed_as_long_as_the_model_is_the_same(desk: Desk, shown: dict):
    told = {"id": "", "ask": {**shown["ask"], "track": ["Bob"]}}
    again = callbacks.press_run(desk, 1, told, "walks", "Ann : Ann . 1 steps from Ann", 4, 0, "coda", "")
    assert again["ask"]["track"] == ["Bob"]
    assert callbacks.press_run(desk, 1, told, "wolks", "Ann", 4, 0, "coda", "")["ask"]["track"] == []


def test_the_bars_of_a_list_are_its_candidates_and_the_rest_and_sum_to_one(desk: Desk, ask: Ask):
    told = desk.start(Ask(ask.model, ask.prompt, ask.iterations, ask.seed, "coda", ("boys = Bob, Hal", "Ann", "next")))
    run = done(desk, told)
    data = bars(run, 0)
    assert [row["text"] for row in data["rows"]] == ["boys", "Ann", "next", "other"]
    last = bars(run, len(run.tokens) - 1)  # nothing comes next there
    assert [row["text"] for row in last["rows"]] == ["boys", "Ann", "other"]
    assert np.allclose(np.array(last["prob"], float).sum(1), 1, atol=1e-5)
    for places, chances in zip(last["place"], last["prob"]):
        assert places[-1] == 2
        assert chances[places[0]] >= chances[places[1]]


def test_a_run_is_drawn_by_every_statistic_that_it_offers(desk: Desk, run: Run, shown: dict):
    known = offered(run)
    assert {"margin", "js_to_final", "nucleus_size", "kl_step"} <= set(known["grid"]) & set(known["line"])
    assert "exit_pdf" not in known["grid"]
    last = len(run.tokens) - 1
    for color in known["grid"]:
        assert pictures.show_grid(desk, shown, LOOK, color)[1].startswith("Every token: ")
    for name in known["line"]:
        assert pictures.show_line(desk, last, LOOK, name, shown)[1].startswith("One statistic: ")
    figure, says = pictures.show_line(desk, 0, LOOK, "truth_bits", shown)
    assert len(figure.data) == 0
    assert says.endswith("has no number at this token")


def test_what_a_run_does_not_have_is_not_offered_and_entropy_takes_its_place(desk: Desk, shown: dict):
    grid, line, color, name = pictures.offer(desk, shown, "exit_pdf", "margin")
    assert "exit_pdf" not in [one["value"] for one in grid + line]
    assert (color, name) == ("entropy", dash.no_update)
    assert set(pictures.show_grid(desk, shown, LOOK, "exit_pdf")) == {dash.no_update}
    assert set(pictures.show_line(desk, 0, LOOK, "exit_pdf", shown)) == {dash.no_update}


@pytest.fixture(scope="module")
def lenses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tuned lens of walks, one of another model, and a file that is no lens."""
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("lenses")
    model = ll.load("walks")
    lens = ll.TunedLens.fit(model, PROMPTS * 4, iterations=4, epochs=1, progress=False)
    lens.save(folder / "mine.safetensors")
    lens.about["origin"] = {**lens.about["origin"], "fingerprint": "0" * 16}
    lens.save(folder / "other.safetensors")
    save_file({"a": np.zeros(2)}, folder / "weights.safetensors")
    return folder


def test_the_saved_lenses_of_a_model_are_offered_and_no_others(lenses: Path):
    assert saved_lenses(lenses, ll.load("walks")) == [(str(lenses / "mine.safetensors"), "Tuned: mine")]
    assert saved_lenses(None, ll.load("walks")) == []


def test_a_saved_lens_reads_the_states_that_are_there(lenses: Path):
    desk = Desk("walks", Runs(lenses=lenses))
    first = desk.start(Ask("walks", PROMPTS[0], 4))
    run = done(desk, first)
    model = about(desk.runs, "walks")
    assert model is not None
    ((path, title),) = model["lenses"]
    assert title == "Tuned: mine"
    told = callbacks.change_lens(desk, path, "", first, first)
    tuned = done(desk, told)
    assert tuned.traj is run.traj
    assert tuned.out.attrs["lens"] == "tuned"
    typed = callbacks.change_lens(desk, "file", f" {path} ", first, first)
    assert typed["key"] == told["key"]
    assert callbacks.change_lens(desk, "file", "", first, first) is dash.no_update
    *controls, _ = callbacks.open_page(desk, {"ask": told["ask"]})
    assert controls[-2:] == ["file", path]


def test_a_lens_of_another_model_is_refused_in_one_line(lenses: Path):
    desk = Desk("walks", Runs())
    told = desk.start(Ask("walks", PROMPTS[0], 4, 0, str(lenses / "other.safetensors")))
    job = desk.jobs.wait(told["id"], 60)
    assert job.state == "failed"
    assert "expected the model of this tuned lens" in job.message
    assert "\n" not in job.message


def test_the_candidates_of_a_position_can_be_typed(run: Run):
    entries = followed_at(run, len(run.tokens) - 1)
    assert {"Ann", "Bob"} <= set(entries)
