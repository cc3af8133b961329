"""A map of convergence shows what `dynamics` says, in logarithms, and says where only rounding is left."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import toys
from maps import linear, travel
from test_escape import HOSTILE, Hostile, strings
from walker import assert_within_the_page

import latentlens as ll
from latentlens.errors import FigureError
from latentlens.figures.kinds.convergence import QUANTITIES, at_rest, bar_title, decades, moving
from latentlens.figures.kinds.grid import cells
from latentlens.names import STYLES

QUIET = {"progress": False}


def trace(figure, name):
    return next(t for t in figure.data if t.name == name)


def mesh(page, gid):
    (found,) = page.findobj(lambda artist: artist.get_gid() == gid)
    return np.ma.filled(found.get_array(), np.nan).reshape(found.get_array().shape)


@pytest.fixture(scope="module")
def dyn(walked):
    return ll.dynamics(walked.traj, **QUIET)


@pytest.fixture(scope="module")
def resting():
    """Two tokens that halve their way to rest in float32: after 40 iterations nothing but rounding is left."""
    traj = travel(linear(0.5 * torch.eye(2).double(), 1.0), [1.0, 5.0], 40, positions=2)
    traj.states = traj.states.float()
    return ll.dynamics(traj, **QUIET)


@pytest.mark.parametrize("color", QUANTITIES[:3])
def test_a_cell_is_the_datasets_own_number(dyn, color):
    table = ll.figures.convergence(dyn, color=color).table()
    assert np.array_equal(cells(table, color), dyn[color].values[0].T.astype(float), equal_nan=True)
    assert table.token_text.tolist()[::25] == table.attrs["tokens"]
    assert table.label.tolist()[::25] == dyn.label.values[0].tolist()


def test_both_backends_colour_the_logarithm_between_the_lowest_and_the_highest(dyn):
    drawing = ll.figures.convergence(dyn)
    values, low, high = moving(drawing.table(), "distance_to_final")
    figure, page = drawing.plotly(), drawing.matplotlib()
    heat = trace(figure, "cells")
    assert np.array_equal(heat.z, np.log10(values), equal_nan=True)
    assert (heat.zmin, heat.zmax) == pytest.approx((np.log10(low), np.log10(high)))
    assert np.array_equal(mesh(page, "cells"), values, equal_nan=True)
    assert heat.customdata[3, 7].tolist() == [3, 7]
    assert list(heat.colorbar.tickvals) == pytest.approx(np.log10(decades(low, high)))


def test_within_the_rounding_floor_cells_are_grey_and_it_is_said(resting):
    drawing = ll.figures.convergence(resting)
    table = drawing.table()
    eps = float(np.finfo(np.float32).eps)
    floor = 8 * eps * resting.state_norm.values[0].T
    exact = floor >= resting.distance_to_final.values[0].T
    assert np.array_equal(at_rest(table, "distance_to_final"), exact)
    assert exact[:, -1].all()
    assert not exact[:, :15].any()
    for grey in (trace(drawing.plotly(), "rounding floor").z, mesh(drawing.matplotlib(), "rounding-floor")):
        assert np.array_equal(~np.isnan(np.asarray(grey, float)), exact)
    assert np.isnan(trace(drawing.plotly(), "cells").z[exact]).all()
    assert bar_title(table, "distance_to_final").endswith("; grey: at most 8 eps of the norm")
    assert f"{exact.sum()} of 82 cells are within the rounding floor" in drawing.describe()
    step = ll.figures.convergence(resting, color="relative_step").table()
    assert np.array_equal(at_rest(step, "relative_step"), 8.5 * eps > resting.relative_step.values[0].T)


def test_the_kind_of_motion_stands_beside_its_row(dyn):
    drawing = ll.figures.convergence(dyn, mark=-1, playhead=9)
    figure, page = drawing.plotly(), drawing.matplotlib()
    kinds = [text.strip() for text in trace(figure, "kinds of motion").text]
    assert kinds == dyn.label.values[0].tolist()
    (written,) = page.findobj(lambda artist: artist.get_gid() == "kind-0")
    assert written.get_text() == kinds[0]
    assert len(ll.figures.convergence(dyn, labels=False).plotly().data) == 2
    head, mark = figure.layout.shapes[:2]
    assert (head.name, head.x0, head.x1, mark.name, mark.y0) == ("playhead", 8.5, 9.5, "mark", 27.5)


def test_the_distance_to_a_fixed_point_must_have_been_asked_for(dyn):
    said = "expected dynamics with fixed_point= for color='distance_to_fixed_point' of convergence, got one without: pass ll.dynamics(traj, fixed_point=True)"
    with pytest.raises(FigureError, match=f"^{re.escape(said)}$"):
        ll.figures.convergence(dyn, color="distance_to_fixed_point").table()
    traj = travel(linear(0.5 * torch.eye(2).double(), 1.0), [1.0, 5.0], 8)
    found = ll.dynamics(traj, fixed_point=True, **QUIET)
    table = ll.figures.convergence(found, color="distance_to_fixed_point").table()
    assert table.distance_to_fixed_point.to_numpy() == pytest.approx(np.hypot(1, 3) * 0.5 ** np.arange(9), rel=1e-6)


def test_tokens_are_shown_and_not_run(tmp_path):
    model = toys.Scripted(torch.arange(len(HOSTILE)) * 0.01 + torch.zeros(5, 1))
    model.tokenizer = Hostile()
    traj = ll.capture(model, tokens=torch.arange(len(HOSTILE))[None], iterations=4, **QUIET)
    traj.states = traj.states + 0.5 ** torch.arange(5.0)[:, None, None]
    drawing = ll.figures.convergence(ll.dynamics(traj, **QUIET))
    figure = drawing.plotly().to_dict()
    del figure["layout"]["template"]
    tags = {tag for text in strings(figure) for tag in re.findall(r"<[^>]*>", text)}
    assert tags <= {"<b>", "</b>", "<br>", "<extra>", "</extra>", "<sup>", "</sup>"}
    svg = drawing.save(tmp_path / "map.svg").read_text()
    assert "<script" not in svg
    assert ">$y$<" in svg


@pytest.mark.parametrize("style", STYLES)
def test_no_text_reaches_over_the_edge_of_any_page(dyn, style):
    assert_within_the_page(ll.figures.convergence(dyn).matplotlib(style))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"color": "cosine"}, f"expected color of convergence ({', '.join(QUANTITIES)}), got 'cosine'"),
        ({"prompt": 1}, "expected a prompt from -1 to 0, got 1"),
        ({"mark": 40}, "expected a position from -29 to 28 (prompt 0 has 29 tokens), got 40"),
        ({"playhead": 25}, "expected playhead from 0 to 24 (the iterations captured), got 25"),
        ({"labels": "no"}, "expected labels of convergence (True, False), got 'no'"),
    ],
)
def test_an_option_is_refused_in_one_line(dyn, options, said):
    with pytest.raises(FigureError, match=f"^{re.escape(said)}$"):
        ll.figures.convergence(dyn, **options).table()


def test_what_dynamics_did_not_make_is_refused(walked, dyn):
    for data, name in ((walked.out, "Dataset"), (walked.traj, "Trajectory"), (ll.aggregate(dyn), "Dataset")):
        with pytest.raises(
            FigureError, match=f"^expected what ll.dynamics returns for convergence, got {name}: call it first$"
        ):
            ll.figures.convergence(data).table()
