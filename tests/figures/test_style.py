"""The palette can be told apart with every kind of colour vision, on a white and on a dark page."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from latentlens.figures.kinds.labels import free_places, iteration_ticks, spread
from latentlens.figures.style import DARK, LIGHT, OTHER, PALETTE, PAPERS, RAMPS, luminance, on_ramp, rgb, slot_colour
from latentlens.names import STYLES

SEEN_BY = {
    "everyone": np.eye(3),
    "protanopes": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopes": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopes": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Machado, Oliveira and Fernandes (2009), severity 1, on linear sRGB."""
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: str, matrix) -> np.ndarray:
    """CIE L*a*b* of a colour as somebody sees it."""
    parts = np.array(rgb(colour)) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(np.asarray(matrix) @ linear, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("who", SEEN_BY)
def test_any_two_candidates_can_be_told_apart(who):
    seen = [lab(colour, SEEN_BY[who]) for colour in (*PALETTE, OTHER)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 18


def test_every_candidate_can_be_seen_on_both_pages():
    for colour in PALETTE:
        assert 1.05 / (luminance(colour) + 0.05) > 2.5
        assert (luminance(colour) + 0.05) / (luminance(DARK.page) + 0.05) > 2.5


def test_twenty_four_candidates_have_twenty_four_colours():
    assert len({slot_colour(slot) for slot in range(-1, 24)}) == 25


@pytest.mark.parametrize("ramp", RAMPS)
def test_a_ramp_grows_steadily_away_from_the_page(ramp):
    for scale, page in zip(RAMPS[ramp], (LIGHT, DARK)):
        lights = [luminance(on_ramp(scale, v)) for v in np.linspace(0, 1, 30)]
        steps = np.diff(lights)
        assert (steps < 1e-3).all() if page is LIGHT else (steps > -1e-3).all()


def test_every_style_has_a_width():
    assert tuple(PAPERS) == STYLES


def test_spread_names_are_apart_within_bounds_and_in_order():
    rng = np.random.default_rng(0)
    for count in range(1, 9):
        wanted = rng.random(count) ** 3
        placed = np.array(spread(wanted.tolist(), 0.1, 0.0, 1.0))
        order = np.argsort(wanted, kind="stable")
        assert (np.diff(placed[order]) >= 0.1 - 1e-9).all()
        assert placed.min() >= -1e-9
        assert placed.max() <= 1 + 1e-9


def test_names_that_have_room_stay_where_they_are():
    assert spread([0.2, 0.5, 0.9], 0.1, 0, 1) == pytest.approx([0.2, 0.5, 0.9])


def test_names_beside_points_do_not_overlap():
    points = np.array([[0, 0], [0.5, 0.3], [0.2, -0.4]])
    assert len(set(free_places(points, [3, 3, 3]))) == 3


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 8), (0, 24), (1, 24), (5, 64), (0, 100), (3, 7)])
def test_axes_begin_and_end_on_a_written_iteration(first, last):
    ticks = iteration_ticks(first, last)
    assert ticks[0] == first
    assert ticks[-1] == last
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 11
