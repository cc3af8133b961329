"""The motion panel and the marks of the map: made when they are asked for, kept, and what cannot be is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dash
import pytest
from latentlens_app import marking, motion_panel, pictures, sides
from latentlens_app.asking import Ask
from latentlens_app.desk import Desk
from latentlens_app.layouts import Layout
from latentlens_app.movement import NEEDS, Wanted, refusal
from latentlens_app.runs import Run, Runs
from latentlens_app.writing import python_of

import latentlens as ll

LOOK = {"dark": False, "widths": {"stream": 640, "map": 420, "grid": 600, "line": 900}}
CHOICES = ("step_norm", "token", "distance_to_final", "4", 3)


def ask_for(desk: Desk, shown: dict, kind: str, *, choices: tuple = CHOICES, clicks: int = 1) -> dict:
    """Open the panel on a picture, and wait until it is there."""
    moved, told = motion_panel.choose_motion(desk, clicks, kind, *choices, 3, shown, None)
    if told is not dash.no_update:
        desk.jobs.wait(told["id"], 60)
    return moved


def test_a_closed_panel_asks_for_nothing(desk: Desk, run: Run, shown: dict):
    before = len(run.found)
    assert motion_panel.choose_motion(desk, None, "motion", *CHOICES, 3, shown, None) == (dash.no_update,) * 2
    assert motion_panel.choose_motion(desk, 2, "motion", *CHOICES, 3, shown, None) == (dash.no_update,) * 2
    assert len(run.found) == before
    assert motion_panel.open_panel(1) == (False, False, True, "Close", "true")
    assert motion_panel.open_panel(2) == (True, True, False, "Open", "false")


@pytest.mark.parametrize("kind", list(NEEDS))
def test_each_picture_is_worked_out_once_described_and_saved(desk: Desk, run: Run, shown: dict, kind: str):
    moved = ask_for(desk, shown, kind)
    assert Wanted(**moved["wanted"]).there(run)
    assert motion_panel.choose_motion(desk, 1, kind, *CHOICES, 3, shown, None) == (moved, dash.no_update)
    figure, label, _, note = motion_panel.show_motion(desk, moved, LOOK, None)
    assert len(figure.data) > 0
    assert label == f"Motion: {note}"
    assert pictures.save_motion(desk, moved, "csv")["filename"] == f"latentlens-{kind}.csv"


@pytest.mark.parametrize("y", list(motion_panel.QUANTITY))
@pytest.mark.parametrize("who", list(motion_panel.WHO))
def test_every_quantity_can_be_drawn_of_one_token_and_of_all(desk: Desk, shown: dict, y: str, who: str):
    moved = ask_for(desk, shown, "motion", choices=(y, who, *CHOICES[2:]))
    assert motion_panel.show_motion(desk, moved, LOOK, None)[3]


@pytest.mark.parametrize("kind", list(NEEDS))
def test_the_python_of_the_panel_draws_the_same_numbers(desk: Desk, run: Run, shown: dict, kind: str):
    wanted = Wanted(**ask_for(desk, shown, kind)["wanted"])
    lines = python_of(run, 3, Layout(), wanted).splitlines()
    code = [line for line in lines if "figures" not in line]
    names: dict = {}
    exec("\n".join(code), names)
    drawn = eval(lines[-1].rsplit(".save(", 1)[0], names)
    assert drawn.table().equals(wanted.draw(run).table())


def test_where_jacobians_are_looked_at():
    assert Wanted("spectrum", 0, spectra=1).looked_at(16) == [16]
    assert Wanted("spectrum", 0, spectra=8).looked_at(6) == [1, 2, 3, 4, 5, 6]
    assert Wanted("spectrum", 0, spectra=0).looked_at(3) == [1, 2, 3]


def test_what_a_model_cannot_do_is_said_in_place(tmp_path: Path, desk: Desk):
    data = Path(__file__).parent.parent / "data" / "ouro_random"
    runs = Runs()
    run = runs.get(runs.make(Ask(str(data), "1 2 3 4", None), lambda share, what: None))
    assert run is not None
    assert "not random" in str(refusal(run, "path_independence"))
    assert refusal(run, "spectrum") is None


def test_a_bad_number_of_starts_fails_the_job_in_one_line(desk: Desk, run: Run, shown: dict):
    _, told = motion_panel.choose_motion(desk, 1, "path_independence", *CHOICES[:4], 1, 3, shown, None)
    desk.jobs.wait(told["id"], 30)
    status = sides.status_of(desk, told)
    assert (status["state"], status["message"].split(":")[0]) == ("failed", "expected two starts or more, got 1")


def test_a_picture_that_is_not_there_is_not_drawn(desk: Desk, run: Run, shown: dict):
    wanted = Wanted("path_independence", 2, starts=5).to_page()
    moved = {"key": shown["key"], "wanted": wanted, "why": None}
    assert motion_panel.show_motion(desk, moved, LOOK, None)[1] == "Motion: not worked out yet"
    assert pictures.save_motion(desk, moved, "pdf") is dash.no_update


def test_marks_are_those_of_latentlens_and_lie_on_their_own_map_only(desk: Desk, run: Run, shown: dict):
    laid = {"key": shown["key"], "layout": Layout().to_page()}
    marks, told, why = marking.choose_marks(desk, True, True, True, 4, 3, laid, "2", None)
    assert why == ""
    desk.jobs.wait(told["id"], 60)
    found = marking.marked(run, laid, 3, marks)
    same = ll.mark(run.emb, run.traj, run.out, iteration=4, position=3, arrows=1, size=marking.SIZE)
    assert found.regions.equals(same.regions)
    assert list(found.arrows) == list(same.arrows)
    assert marking.marked(run, laid, 2, marks) is None
    other = {**laid, "layout": replace(Layout(), space="norm").to_page()}
    assert marking.marked(run, other, 3, marks) is None


def test_arrow_and_regions_of_another_map_are_refused_with_the_reason(desk: Desk, run: Run, shown: dict):
    laid = {"key": shown["key"], "layout": Layout("umap", 2).to_page()}
    marks, told, why = marking.choose_marks(desk, False, True, False, 4, 3, laid, "2", None)
    assert (marks, told) == (None, dash.no_update)
    assert why.startswith("Arrow and regions need a PCA of raw states")
    plain = {**laid, "layout": Layout().to_page()}
    assert marking.choose_marks(desk, True, False, False, 4, 3, plain, "3", None)[2].endswith("two dimensions.")
    assert marking.choose_marks(desk, False, False, False, 4, 3, plain, "2", None) == (None, dash.no_update, "")
