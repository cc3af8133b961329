"""Loops in clouds of states, against polygons whose births and deaths are known."""

from __future__ import annotations

import builtins
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from maps import Mapped, linear, rotation

import latentlens as ll
from latentlens.errors import MotionError
from latentlens.motion import topology
from latentlens.trajectory import identify

pytest.importorskip("ripser", reason="the optional extra topology")


def cloud_of(points: torch.Tensor) -> ll.Trajectory:
    """One token whose states are these, after an s_0 that is far from all of them."""
    model = Mapped(linear(torch.eye(points.shape[1]).double()), points[:1])
    states = torch.cat([torch.full((1, points.shape[1]), 50.0, dtype=points.dtype), points])[None, :, None]
    tokens = torch.zeros(1, 1, dtype=torch.int64)
    return ll.Trajectory(states, tokens, tokens == 0, model=model, origin=identify(model))


def polygon(count: int, radius: float, width: int = 2) -> torch.Tensor:
    turn = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    corners = torch.stack([turn.cos(), turn.sin()], -1) * radius
    return torch.nn.functional.pad(corners, (0, width - 2))


@pytest.mark.parametrize("count", [6, 12, 24, 25, 40])
def test_a_circle_is_one_loop_that_dies_at_the_side_of_its_inner_triangle(count):
    found = ll.persistence(cloud_of(polygon(count, 3.0)), progress=False).isel(prompt=0, position=0)
    assert found.loops.item() == 1
    # a chord over a third of the corners, rounded up, makes the first triangle around the centre
    chord = 2 * 3.0 * math.sin(math.pi * math.ceil(count / 3) / count)
    assert found.birth.values[0] == pytest.approx(2 * 3.0 * math.sin(math.pi / count), rel=1e-6)
    assert found.death.values[0] == pytest.approx(chord, rel=1e-6)
    if count % 3 == 0:
        assert found.death.values[0] == pytest.approx(math.sqrt(3) * 3.0, rel=1e-6)
    assert found.loop_strength.item() == pytest.approx((found.death - found.birth).values[0] / found.diameter.item())
    assert np.isnan(found.birth.values[1:]).all()


def test_states_on_a_line_have_no_loop():
    line = torch.arange(30, dtype=torch.float64)[:, None] * torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    found = ll.persistence(cloud_of(line), progress=False).isel(prompt=0, position=0)
    assert (found.loops.item(), found.loop_strength.item()) == (0, 0)


def test_two_circles_apart_are_two_loops_the_larger_first():
    both = torch.cat([polygon(24, 3.0), polygon(24, 1.0) + 20])
    found = ll.persistence(cloud_of(both), progress=False).isel(prompt=0, position=0)
    assert found.loops.item() == 2
    np.testing.assert_allclose(found.death.values[:2], [math.sqrt(3) * 3, math.sqrt(3)], rtol=1e-6)


def test_an_orbit_is_a_loop_and_a_contraction_along_a_line_is_none():
    turning = Mapped(linear(rotation(12)), torch.tensor([[2.0, 0.0]], dtype=torch.float64))
    found = ll.persistence(ll.capture(turning, tokens=[[0]], iterations=36), progress=False)
    assert found.loop_strength.item() > 0.6
    resting = Mapped(linear(0.8 * torch.eye(2).double()), torch.tensor([[2.0, 1.0]], dtype=torch.float64))
    found = ll.persistence(ll.capture(resting, tokens=[[0]], iterations=36), progress=False)
    assert found.loop_strength.item() == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_rotation_and_scale_change_nothing_but_the_unit(seed, scale):
    made = torch.Generator().manual_seed(seed)
    points = torch.randn(25, 4, generator=made, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=made, dtype=torch.float64))[0]
    one, other = (ll.persistence(cloud_of(p), progress=False) for p in (points, scale * points @ turn))
    np.testing.assert_allclose(other.birth, scale * one.birth, rtol=1e-5)
    np.testing.assert_allclose(other.death, scale * one.death, rtol=1e-5)
    np.testing.assert_allclose(other.loop_strength, one.loop_strength, atol=1e-5)


def test_states_that_are_all_the_same_say_nothing():
    found = ll.persistence(cloud_of(torch.ones(10, 3)), progress=False).isel(prompt=0, position=0)
    assert found.diameter.item() == 0
    assert np.isnan([found.loops.item(), found.loop_strength.item()]).all()


def test_clouds_by_iteration_hold_every_real_token_and_pads_are_none():
    walks = ll.load("walks")
    traj = ll.capture(walks, ["Ann : Bob . Bob : Ann . 1 steps from Ann", "2 steps from Ann"], iterations=3)
    found = ll.persistence(traj, by="iteration", progress=False)
    assert found.iteration.values.tolist() == [1, 2, 3]
    states = traj.states[:, 2][traj.mask].double()
    np.testing.assert_allclose(found.diameter[1], torch.cdist(states, states).max(), rtol=1e-4)
    by_token = ll.persistence(traj, positions=range(traj.tokens.shape[1]), progress=False)
    assert np.isnan(by_token.diameter).all()  # three states are too few
    longer, told = ll.capture(walks, traj.prompts, iterations=8), []
    found = ll.persistence(
        longer, positions=[-1, *range(traj.tokens.shape[1])], progress=lambda share, what: told.append(share)
    )
    assert told[-1] == 1  # pads are no work
    assert (np.isnan(found.diameter.values[:, 1:]) == ~traj.mask.numpy()).all()
    assert found["at"].values[1].tolist() == [3, 0, 1, 2, 3, *[-1] * (traj.tokens.shape[1] - 4)]
    np.testing.assert_array_equal(found.diameter[1, 0], found.diameter[1, 4])


def test_a_large_cloud_is_sampled_by_its_seed(monkeypatch):
    monkeypatch.setattr(topology, "MOST", 40)
    traj = cloud_of(torch.randn(90, 3, generator=torch.Generator().manual_seed(1)))
    one, again, other = (ll.persistence(traj, seed=seed, progress=False) for seed in (0, 0, 1))
    assert one.identical(again)
    assert not np.array_equal(one.birth, other.birth, equal_nan=True)
    assert one.attrs["most"] == 40


REFUSED = [
    ({"by": "tokens"}, "expected clouds (token, iteration), got 'tokens': did you mean token?"),
    ({"space": "raws"}, "expected a space (raw, norm), got 'raws': did you mean raw?"),
    ({"features": 0}, "expected features to be a whole number of 1 or more, got 0"),
    ({"start": 11}, "expected start to be a whole number of 0 to 10, got 11"),
    ({"seed": -1}, "expected seed to be a whole number of 0 or more, got -1"),
    ({"positions": []}, "expected one position or more, got none: leave positions= out"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_options_that_do_not_fit_are_refused_in_one_line(options, message):
    with pytest.raises(MotionError, match=f"^{re.escape(message)}$"):
        ll.persistence(cloud_of(polygon(10, 1.0)), **options)


def test_what_is_no_trajectory_is_refused():
    with pytest.raises(MotionError, match="^expected a trajectory that ll.capture returns, got int: capture first$"):
        ll.persistence(3)


def test_states_that_are_not_finite_are_refused():
    points = polygon(10, 1.0)
    points[4, 0] = torch.nan
    with pytest.raises(MotionError, match="expected finite states, got NaN or infinity at prompt 0, iteration 5"):
        ll.persistence(cloud_of(points), progress=False)


def test_without_ripser_the_line_says_what_to_install(monkeypatch):
    known = builtins.__import__

    def without(name, *rest, **more):
        if name == "ripser":
            raise ImportError(name)
        return known(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    message = "expected ripser to find loops, which is not installed: pip install 'latentlens-trajectories[topology]'"
    with pytest.raises(MotionError, match=f"^{re.escape(message)}$"):
        ll.persistence(cloud_of(polygon(10, 1.0)), progress=False)
