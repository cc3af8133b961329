"""A spectrum is drawn where the eigenvalues are: those of maps that are known, and the dataset's own."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from maps import linear, rotation, travel
from walker import assert_within_the_page

import latentlens as ll
from latentlens.errors import FigureError
from latentlens.figures.kinds.spectrum import ROUND, heading, reach
from latentlens.names import STYLES

QUIET = {"progress": False}
TURN = torch.block_diag(rotation(6), 0.5 * rotation(9), torch.tensor([[-0.8]]).double())


@pytest.fixture(scope="module")
def spiral():
    return ll.dynamics(travel(linear(rotation(6, 0.9), 1.0), [1.0, 2.0], 24), spectra=[0, 8, 24], **QUIET)


@pytest.fixture(scope="module")
def orbit():
    traj = travel(linear(TURN), [1.0, 0.0, 0.3, 0.2, 0.5], 48)
    return ll.dynamics(traj, spectra=[0, 48], **QUIET)


def test_the_eigenvalues_of_a_spiral_stand_at_its_rate_and_angle(spiral):
    table = ll.figures.spectrum(spiral).table()
    assert table.groupby("iteration").size().to_dict() == {0: 2, 8: 2, 24: 2}
    assert table.modulus.to_numpy() == pytest.approx(0.9)
    assert np.abs(np.angle(table.real + 1j * table.imag)) == pytest.approx(np.pi / 3)


def test_an_orbits_multipliers_are_the_powers_of_its_eigenvalues(orbit):
    table = ll.figures.spectrum(orbit).table()
    period = int(orbit.floquet_period.values[0, 0])
    exact = np.sort_complex(np.linalg.eigvals(TURN.numpy()) ** period)
    found = table[table.iteration == ROUND]
    assert np.allclose(np.sort_complex(found.real + 1j * found.imag), exact, atol=1e-5)
    assert "Floquet radius of the last round 1" in ll.figures.spectrum(orbit).describe()
    none = ll.figures.spectrum(orbit, floquet=False)
    assert (none.table().iteration != ROUND).all()
    assert len(none.plotly().data) == 1


def test_a_pair_that_was_cut_keeps_its_twin():
    matrix = torch.block_diag(torch.tensor([[0.9]]).double(), 0.7 * rotation(5))
    traj = travel(linear(matrix), [1.0, 2.0, 3.0], 12)
    table = ll.figures.spectrum(ll.dynamics(traj, spectra=[-1], n_eigenvalues=2, **QUIET)).table()
    assert table.imag.to_numpy().sum() == pytest.approx(0, abs=1e-6)
    assert sorted(table.modulus) == pytest.approx([0.7, 0.7, 0.9])


def test_both_backends_draw_the_points_with_equal_axes_around_the_unit_circle(orbit):
    drawing = ll.figures.spectrum(orbit)
    table, figure, page = drawing.table(), drawing.plotly(), drawing.matplotlib()
    rows = table[table.iteration != ROUND]
    points, turning = figure.data
    assert points.x.tolist() == rows.real.tolist()
    assert points.y.tolist() == rows.imag.tolist()
    assert points.marker.color.tolist() == rows.iteration.tolist()
    assert len(turning.x) == (table.iteration == ROUND).sum()
    circle = figure.layout.shapes[0]
    assert (circle.type, circle.x0, circle.x1, circle.y0, circle.y1) == ("circle", -1, 1, -1, 1)
    assert (figure.layout.yaxis.scaleanchor, figure.layout.yaxis.scaleratio) == ("x", 1)
    assert tuple(figure.layout.xaxis.range) == (-reach(table), reach(table))
    axes = page.axes[0]
    assert axes.get_aspect() == 1
    (drawn,) = page.findobj(lambda artist: artist.get_gid() == "eigenvalues")
    assert np.allclose(drawn.get_offsets(), rows[["real", "imag"]])
    (ring,) = page.findobj(lambda artist: artist.get_gid() == "unit-circle")
    assert ring.get_radius() == 1
    assert axes.get_xlim() == axes.get_ylim() == (-reach(table), reach(table))


def test_a_radius_above_one_is_on_the_page_and_counted():
    traj = travel(linear(torch.diag(torch.tensor([1.5, -0.5]).double())), [1.0, 2.0], 6)
    drawing = ll.figures.spectrum(ll.dynamics(traj, spectra=[-1], **QUIET))
    assert reach(drawing.table()) > 1.5
    assert drawing.describe().endswith("1 of 2 eigenvalues lie outside the unit circle.")


def test_many_prompts_are_drawn_together_and_their_median_radius_is_said(wordy):
    traj = ll.capture(wordy, ["the cat sat", "a b"], iterations=6, **QUIET)
    dyn = ll.dynamics(traj, spectra=[0, 6], **QUIET)
    table = ll.figures.spectrum(dyn, prompt=None).table()
    for prompt, position in ((0, 2), (1, 1)):
        rows = table[(table.prompt == prompt) & (table.iteration == 6)]
        own = dyn.eigenvalues.values[prompt, 6, position]
        assert set(own.real.astype(float)) <= set(rows.real)
    ends = dyn.spectral_radius.values[[0, 1], 6, [2, 1]]
    assert f"→ {np.median(ends):.2f}" in heading(table)
    one = ll.figures.spectrum(dyn, prompt=1, iteration=6).table()
    assert set(one.iteration) == {6}
    assert one.residual.iloc[0] == dyn.spectral_residual.values[1, 6, 1]


@pytest.mark.parametrize("style", STYLES)
def test_no_text_reaches_over_the_edge_of_any_page(orbit, style):
    assert_within_the_page(ll.figures.spectrum(orbit).matplotlib(style))


REFUSED = [
    (
        {"iteration": 3},
        "expected an iteration that was looked at (0, 8, 24), got 3: pass it to ll.dynamics as spectra=",
    ),
    ({"iteration": 25}, "expected iteration from 0 to 24 (the iterations captured), got 25"),
    ({"position": 1}, "expected a position from -1 to 0 (prompt 0 has 1 tokens), got 1"),
    ({"prompt": 1}, "expected a prompt from -1 to 0, got 1"),
    ({"prompt": "all"}, "expected prompt of spectrum to be a whole number, got 'all'"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_an_option_is_refused_in_one_line(spiral, options, said):
    with pytest.raises(FigureError, match=f"^{re.escape(said)}$"):
        ll.figures.spectrum(spiral, **options).table()


def test_dynamics_without_spectra_and_places_that_were_not_looked_at_are_refused(walked, wordy):
    said = "expected dynamics with spectra= for spectrum, got one without: pass ll.dynamics(traj, spectra=[-1])"
    with pytest.raises(FigureError, match=f"^{re.escape(said)}$"):
        ll.figures.spectrum(ll.dynamics(walked.traj, **QUIET)).table()
    with pytest.raises(
        FigureError, match="^expected what ll.dynamics returns for spectrum, got Dataset: call it first$"
    ):
        ll.figures.spectrum(walked.out).table()
    dyn = ll.dynamics(ll.capture(wordy, "the cat sat", iterations=4, **QUIET), spectra=[-1], **QUIET)
    with pytest.raises(
        FigureError, match="^expected a position that was looked at, got 0: pass it to ll.dynamics as po"
    ):
        ll.figures.spectrum(dyn, position=0).table()
