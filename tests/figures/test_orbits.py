"""Orbits and waterfalls draw the embedding's own coordinates, moved so that the centre of each token lies at 0."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from maps import linear, rotation, travel
from walker import PATHS, assert_within_the_page, laid_out

import latentlens as ll
from latentlens.errors import FigureError
from latentlens.figures.escape import for_browser
from latentlens.names import STYLES

QUIET = {"progress": False}


@pytest.fixture(scope="module")
def six(walked):
    return ll.embed(walked.traj, n_components=6, **QUIET)


def test_each_pair_is_the_embeddings_own_path_from_its_last_state(walked, six):
    table = ll.figures.orbits(six, position=3, start=0).table()
    path = six.coords.values[0, :, 3].astype(float)
    assert table.pair.unique().tolist() == [1, 2, 3]
    for pair in (1, 2, 3):
        rows = table[table.pair == pair]
        own = path[:, 2 * pair - 2 : 2 * pair] - path[-1, 2 * pair - 2 : 2 * pair]
        assert rows[["x", "y"]].to_numpy() == pytest.approx(own, abs=1e-5)
        assert rows.iteration.tolist() == list(range(25))


def test_about_its_tail_a_rotation_is_a_circle_around_zero():
    traj = travel(linear(rotation(6, 1.0), 1.0), [2.0, 0.0], 23)
    drawing = ll.figures.orbits(ll.embed(traj, n_components=2, **QUIET), ll.dynamics(traj, **QUIET), center="tail")
    table = drawing.table()  # states 12 to 23 are two whole rounds: their mean is the middle
    away = np.hypot(table.x.to_numpy(), table.y.to_numpy())
    assert away == pytest.approx(np.full(24, away.mean()), abs=1e-4)
    assert "orbit, period 6" in drawing.describe()
    begun = ll.figures.orbits(ll.embed(traj, n_components=2, **QUIET), start=12).table()
    assert begun.iteration.tolist() == list(range(12, 24))


def test_a_random_start_is_left_out_unless_it_is_asked_for(walked, walk):
    assert laid_out(walked, "orbits").table().iteration.min() == 1
    assert laid_out(walked, "waterfall", start=0).table().iteration.min() == 0
    assert laid_out(walk(random_start=False), "waterfall").table().iteration.min() == 0


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("style", STYLES)
def test_nothing_reaches_over_the_edge_of_any_page(walked, kind, style):
    assert_within_the_page(laid_out(walked, kind).matplotlib(style))


def test_panels_have_one_scale_on_both_axes(walked):
    drawing = laid_out(walked, "orbits")
    layout = drawing.plotly().layout
    assert [layout[f"yaxis{n}"].scaleanchor for n in ("", "2", "3")] == ["x", "x2", "x3"]
    page = drawing.matplotlib("icml")
    assert [axes.get_aspect() for axes in page.axes[:3]] == [1.0] * 3


def test_a_waterfall_has_every_tokens_own_path_from_its_last_state(walked):
    table = laid_out(walked, "waterfall", tokens=99, components=(3, 1), start=0).table()
    coords = walked.emb.coords.values[0].astype(float)
    for position, rows in table.groupby("position"):
        own = coords[:, position] - coords[-1, position]
        assert rows[["x", "y"]].to_numpy() == pytest.approx(own[:, [2, 0]], abs=1e-5)
    assert table.position.nunique() == 29
    assert table[table.strong].position.unique().tolist() == [28]


@pytest.mark.parametrize(("position", "shown"), [(-1, range(24, 29)), (0, range(5)), (10, range(8, 13))])
def test_of_many_tokens_a_window_around_the_chosen_one_is_drawn(walked, position, shown):
    table = laid_out(walked, "waterfall", position=position, tokens=5).table()
    assert table.position.unique().tolist() == list(shown)


def test_texts_along_the_depth_are_escaped(walk):
    hostile = walk(prompts=["<b>x</b> $y$ %{x} from Ann"])
    figure = laid_out(hostile, "waterfall").plotly()
    assert for_browser("<b>x</b>") in figure.layout.scene.yaxis.ticktext
    assert not any("<b>" in text for trace in figure.data for text in trace.text or ())


REFUSED = [
    ("orbits", {"pairs": 2}, "expected pairs of orbits from 1 to 1, got 2: embed with n_components=4"),
    ("orbits", {"start": 24}, "expected start to leave two iterations or more of 24, got 24"),
    ("orbits", {"center": "first"}, "expected center of orbits (last, tail), got 'first'"),
    ("orbits", {"position": 40}, "expected a position from -29 to 28 (prompt 0 has 29 tokens), got 40"),
    (
        "waterfall",
        {"components": (1, 1)},
        "expected components of waterfall to be 2 different whole numbers from 1, got (1, 1)",
    ),
    (
        "waterfall",
        {"components": (1, 9)},
        "expected components of waterfall from 1 to 3, got 9: embed with more n_components",
    ),
]


@pytest.mark.parametrize(("kind", "options", "said"), REFUSED)
def test_options_that_do_not_fit_are_refused(walked, kind, options, said):
    with pytest.raises(FigureError, match=f"^{re.escape(said)}"):
        getattr(ll.figures, kind)(walked.emb, **options).table()


def test_loops_of_a_umap_are_no_evidence(walked):
    torch.manual_seed(0)
    emb = ll.embed(walked.traj, method="umap", n_components=2, **QUIET)
    said = "expected a PCA for orbits, got a UMAP, in which loops are no evidence: embed with method='pca'"
    with pytest.raises(FigureError, match=f"^{re.escape(said)}$"):
        ll.figures.orbits(emb).table()


def test_data_of_another_run_is_refused(walked, brief):
    dyn = ll.dynamics(brief.traj, **QUIET)
    with pytest.raises(FigureError, match="^expected dynamics of the embedded trajectory"):
        ll.figures.orbits(walked.emb, dyn).table()
    with pytest.raises(FigureError, match="^expected what ll.dynamics returns as the second argument of orbits"):
        ll.figures.orbits(walked.emb, walked.out).table()
    with pytest.raises(FigureError, match="^expected what ll.dynamics returns .*, got Trajectory$"):
        ll.figures.orbits(walked.emb, walked.traj).table()
    with pytest.raises(FigureError, match="^expected what ll.decode returns for waterfall, got Trajectory: decode"):
        ll.figures.waterfall(walked.emb, walked.traj).table()
    with pytest.raises(FigureError, match="^expected a readout of the embedded trajectory"):
        ll.figures.waterfall(walked.emb, brief.out).table()
