"""The map follows the choices of its frame; a layout is made once, as a job that can be cancelled."""

from __future__ import annotations

import threading

import dash
import numpy as np
import pytest
from latentlens_app import callbacks, mapping, marking, sides
from latentlens_app.desk import Desk
from latentlens_app.layouts import Layout, lay_out, layout_of
from latentlens_app.runs import Run

import latentlens as ll

LOOK = {"dark": False, "widths": {"stream": 640, "map": 420, "grid": 600, "line": 900}}
UMAP = ("umap", "2", "raw", "all", "all", False)
PCA = ("pca", "2", "raw", "all", "all", False)


def test_a_run_shows_its_first_components_at_once(desk: Desk, run: Run, shown: dict):
    laid, job = mapping.choose_layout(desk, *PCA, 3, shown, None, None)
    assert laid == {"key": run.ask.key, "layout": Layout().to_page()}
    assert job is dash.no_update
    assert layout_of(run, Layout()) is run.emb
    assert mapping.choose_layout(desk, *PCA, 3, shown, laid, None)[0] is dash.no_update


@pytest.mark.parametrize(
    ("choices", "options"),
    [
        (("pca", "3", "norm", "token", "all", False), {"space": "norm", "center": "token"}),
        (("pca", "2", "raw", "all", "token", True), {"iterations": range(1, 7), "fit_on": 3}),
    ],
)
def test_the_choices_of_the_frame_are_those_of_embed(desk: Desk, run: Run, shown: dict, choices: tuple, options: dict):
    laid, told = mapping.choose_layout(desk, *choices, 3, shown, None, None)
    assert laid["layout"] == Layout().to_page()  # until it is there
    desk.jobs.wait(told["id"], 30)
    laid = mapping.take_layout(desk, sides.status_of(desk, told), told, shown)
    wanted = Layout(**laid["layout"])
    assert wanted.options(6) == options
    made = layout_of(run, wanted)
    assert made is not None
    assert made.coords.equals(ll.embed(run.traj, **options).coords)
    coords = mapping.show_coords(desk, laid)
    assert len(coords) == 7
    assert coords[-1][3] == pytest.approx(made.coords.values[0, -1, 3].tolist())
    assert (coords[0][3][0] is None) == ("iterations" in options)
    code, _ = callbacks.write_python(desk, 3, shown, laid)
    assert all(f"{name}={value!r}" in code for name, value in options.items())


def test_a_umap_is_made_once_says_that_it_is_no_evidence_and_is_written_as_python(desk: Desk, run: Run, shown: dict):
    _, told = mapping.choose_layout(desk, *UMAP, 3, shown, None, None)
    desk.jobs.wait(told["id"], 120)
    laid = mapping.take_layout(desk, sides.status_of(desk, told), told, shown)
    again, job = mapping.choose_layout(desk, *UMAP, 3, shown, None, None)
    assert (again, job) == (laid, dash.no_update)
    _, _, notes = mapping.show_map(desk, 3, LOOK, "2", "iteration", laid)
    assert notes[0].children.startswith("UMAP: distances and loops in it are not evidence; ")
    code, _ = callbacks.write_python(desk, 3, shown, laid)
    names: dict = {}
    exec("\n".join(line for line in code.splitlines() if "figures" not in line), names)
    made = layout_of(run, Layout(**laid["layout"]))
    assert made is not None
    assert np.array_equal(names["emb"].coords.values, made.coords.values)


def test_a_layout_that_is_cancelled_leaves_what_was_shown_and_puts_the_controls_back(desk: Desk, run: Run, shown: dict):
    laid, _ = mapping.choose_layout(desk, *PCA, 3, shown, None, None)
    started, blocker = threading.Event(), desk.jobs.submit(lambda report: [report(0, "x") for _ in iter(int, 1)])
    other = ("umap", "3", "norm", "all", "all", True)
    _, told = mapping.choose_layout(desk, *other, 3, shown, laid, None)
    assert sides.poll_side(desk, 1, told)[0]["state"] == "queued"
    status = sides.press_cancel(desk, 1, told)
    desk.jobs.cancel(blocker.id)
    assert not started.is_set()
    assert status["state"] == "cancelled"
    assert mapping.take_layout(desk, status, told, shown) is dash.no_update
    assert mapping.go_back(desk, status, told, laid, "3") == ("pca", "3", "raw", "all", "all", False)
    # the clock may tell the same end again, when UMAP was chosen anew: that choice stays
    assert set(mapping.go_back(desk, status, told, laid, "3")) == {dash.no_update}
    assert mapping.choose_layout(desk, *PCA, 3, shown, laid, told) == (dash.no_update, dash.no_update)


def test_a_new_run_stops_the_layout_of_the_one_before(desk: Desk, run: Run, shown: dict):
    blocker = desk.jobs.submit(lambda report: [report(0, "x") for _ in iter(int, 1)])
    _, told = mapping.choose_layout(desk, "umap", "2", "norm", "token", "all", True, 3, shown, None, None)
    sides.make_way(desk, {"id": "next"}, told, None)
    assert sides.status_of(desk, told)["state"] == "cancelled"
    desk.jobs.cancel(blocker.id)


def test_a_layout_stops_where_its_progress_callable_raises(run: Run):
    def report(share: float, what: str) -> None:
        raise KeyError(what)

    wanted = Layout(space="norm", position=1)
    with pytest.raises(KeyError):
        lay_out(run, wanted, report)
    assert layout_of(run, wanted) is None


@pytest.mark.parametrize("anchors", [True, False])
def test_the_python_of_the_marks_makes_the_same_and_only_what_is_checked(
    desk: Desk, run: Run, shown: dict, anchors: bool
):
    laid, _ = mapping.choose_layout(desk, *PCA, 3, shown, None, None)
    marks, told, _ = marking.choose_marks(desk, anchors, True, True, 2, 3, laid, "2", None)
    desk.jobs.wait(told["id"], 60)
    found = marking.found_marks(run, marks["wanted"])
    assert (found.anchors.sizes["candidate"] > 0) is anchors
    code, _ = callbacks.write_python(desk, 3, shown, laid, marks=marks)
    assert "readout=out, landmarks=marks" in code
    names: dict = {}
    exec("\n".join(line for line in code.splitlines() if "figures" not in line), names)
    assert names["marks"].anchors.identical(found.anchors)
    assert names["marks"].regions.identical(found.regions)
    assert names["marks"].arrows.keys() == found.arrows.keys()
    _, _, notes = mapping.show_map(desk, 3, LOOK, "2", "iteration", laid, marks)
    assert ("centre of the states" in notes[-1].children) is anchors
