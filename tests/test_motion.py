"""Motion against closed forms: maps whose steps, angles, rates, periods and exponents are known."""

from __future__ import annotations

import math
import re

import families
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from maps import Mapped, linear, logistic, rotation, travel

import latentlens as ll
from latentlens.errors import MotionError
from latentlens.motion.steps import participation_ratio

QUIET = {"progress": False}
DRIFT = torch.tensor([0.5, -0.25, 1.0], dtype=torch.float64)
SPIRAL = rotation(6, 0.9)


def slide(state):
    return state + DRIFT


def drifting_turn(state):
    """A turn of period 6 in two dimensions, and a slow drift in a third."""
    return torch.cat([state[..., :2] @ rotation(6).T, state[..., 2:] + 0.01], dim=-1)


def last(dyn, name):
    """A quantity of the only token, at the last iteration where it has iterations."""
    return dyn[name].values.reshape(-1)[-1]


FORMS = [  # quantity, what moves, where from, iterations, options, exact value
    ("state_norm", linear(rotation(6)), [3.0, 4.0], 32, {}, 5.0),
    ("step_norm", linear(rotation(6)), [3.0, 4.0], 32, {}, 5.0),
    ("relative_step", linear(rotation(6)), [3.0, 4.0], 32, {}, 1.0),
    ("cosine", linear(rotation(6)), [3.0, 4.0], 32, {}, 0.5),
    ("angle", linear(rotation(6)), [3.0, 4.0], 32, {}, 60.0),
    ("acceleration", linear(rotation(6)), [3.0, 4.0], 32, {}, 5.0),
    ("angle", linear(rotation(5e4)), [1.0, 0.0], 32, {}, 360 / 5e4),
    ("period", linear(rotation(6)), [1.0, 0.0], 64, {}, 6.0),
    ("period_strength", linear(rotation(6)), [1.0, 0.0], 64, {}, 1.0),
    ("winding", linear(rotation(6)), [1.0, 0.0], 64, {}, 23 / 6),
    ("period", linear(rotation(11)), [1.0, 0.0], 64, {}, 11.0),
    ("period", linear(rotation(2)), [1.0, 0.0], 64, {}, 2.0),
    ("period", drifting_turn, [0.1, 0.0, 5.0], 64, {}, 6.0),
    ("period_strength", drifting_turn, [0.1, 0.0, 5.0], 64, {}, 1.0),
    ("winding", drifting_turn, [0.1, 0.0, 5.0], 64, {}, 23 / 6),
    ("contraction", linear(rotation(6)), [1.0, 0.0], 64, {}, 1.0),
    ("contraction", linear(0.8 * torch.eye(3).double(), 1.0), [1.0, 2.0, 3.0], 64, {}, 0.8),
    ("contraction", linear(SPIRAL, 1.0), [1.0, 2.0], 64, {}, 0.9),
    ("settle", linear(0.8 * torch.eye(3).double(), 1.0), [1.0, 2.0, 3.0], 64, {}, math.ceil(math.log(0.05, 0.8))),
    ("straightness", slide, [100.0, 2.0, 0.0], 64, {}, 1.0),
    ("step_norm", slide, [100.0, 2.0, 0.0], 64, {}, float(DRIFT.norm())),
    ("acceleration", slide, [100.0, 2.0, 0.0], 64, {}, 0.0),
    ("distance_to_fixed_point", linear(0.5 * torch.eye(2).double(), 1.0), [10.0, 2.0], 8, {"fixed_point": True}, 2**-5),
    ("spectral_radius", linear(SPIRAL), [1.0, 0.0], 16, {"spectra": [-1]}, 0.9),
    ("largest_singular_value", linear(SPIRAL), [1.0, 0.0], 16, {"spectra": [-1]}, 0.9),
    ("floquet_radius", linear(rotation(6)), [1.0, 0.0], 64, {"spectra": [-1]}, 1.0),
    ("floquet_radius", logistic(3.2), [0.3], 128, {"spectra": [-1]}, 0.16),
    ("lyapunov", logistic(2.5), [0.3], 96, {"lyapunov": True}, -math.log(2)),
    ("lyapunov", logistic(3.2), [0.3], 128, {"lyapunov": True}, math.log(0.16) / 2),
    ("lyapunov", linear(SPIRAL), [1.0, 0.0], 64, {"lyapunov": 2}, math.log(0.9)),
]
LABELS = [
    ("fixed point", linear(0.8 * torch.eye(3).double(), 1.0), [1.0, 2.0, 3.0]),
    ("fixed point", linear(SPIRAL, 1.0), [1.0, 2.0]),
    ("orbit", linear(rotation(6), 1.0), [1.0, 0.0]),
    ("orbit", logistic(3.2), [0.3]),
    ("slider", slide, [100.0, 2.0, 0.0]),
    ("wandering", logistic(4.0), [0.3]),
]


@pytest.mark.parametrize(("name", "move", "start", "iterations", "options", "exact"), FORMS)
def test_each_quantity_has_its_closed_form(name, move, start, iterations, options, exact):
    dyn = ll.dynamics(travel(move, start, iterations), **options, **QUIET)
    assert last(dyn, name) == pytest.approx(exact, rel=2e-6, abs=1e-9)


@pytest.mark.parametrize(("label", "move", "start"), LABELS)
def test_each_kind_of_motion_gets_its_label(label, move, start):
    assert last(ll.dynamics(travel(move, start, 128), **QUIET), "label") == label


def test_the_chaotic_logistic_map_has_exponent_ln_2():
    dyn = ll.dynamics(travel(logistic(4.0), [0.3], 280), tail=256, lyapunov=True, **QUIET)
    assert last(dyn, "lyapunov") == pytest.approx(math.log(2), abs=1e-2)


def test_a_slider_and_a_fixed_point_at_rounding_have_no_period():
    for move, start in ((slide, [100.0, 2.0, 0.0]), (linear(0.5 * torch.eye(2).double(), 1.0), [1.0, 5.0])):
        dyn = ll.dynamics(travel(move, start, 128), **QUIET)
        assert np.isnan([last(dyn, name) for name in ("period", "period_strength", "winding")]).all()


def test_what_has_no_step_yet_is_nan_and_pads_are_nan(wordy):
    traj = ll.capture(wordy, ["the cat sat on the mat", "a b"], iterations=9, **QUIET)
    dyn = ll.dynamics(traj, **QUIET)
    real = traj.mask.numpy()
    for name, first in (("step_norm", 1), ("relative_step", 1), ("cosine", 2), ("angle", 2), ("acceleration", 2)):
        values = dyn[name].values.transpose(1, 0, 2)
        assert np.isnan(values[:first]).all()
        assert not np.isnan(values[first:][:, real]).any()
        assert np.isnan(values[:, ~real]).all()
    assert (dyn.label.values[~real] == "").all()
    assert (dyn.label.values[real] != "").all()
    assert ll.token_text(dyn, dyn.token[1]).tolist() == ["a", "b", "", "", "", ""]


def test_steps_and_angles_are_those_of_numpy_in_float64(wordy):
    traj = ll.capture(wordy, "the cat sat", iterations=9, **QUIET)
    s = traj.states[0].double().numpy()
    d = np.diff(s, axis=0)
    norm = np.linalg.norm
    dyn = ll.dynamics(traj, **QUIET).sel(prompt=0)
    assert np.allclose(dyn.step_norm[1:], norm(d, axis=-1), rtol=1e-5)
    assert np.allclose(dyn.relative_step[1:], norm(d, axis=-1) / norm(s[1:], axis=-1), rtol=1e-5)
    cosine = (d[1:] * d[:-1]).sum(-1) / norm(d[1:], axis=-1) / norm(d[:-1], axis=-1)
    assert np.allclose(dyn.cosine[2:], cosine, atol=1e-5)
    assert np.allclose(dyn.angle[2:], np.degrees(np.arccos(cosine)), atol=1e-3)
    assert np.allclose(dyn.acceleration[2:], norm(np.diff(d, axis=0), axis=-1), rtol=1e-5)
    assert np.allclose(dyn.distance_to_final, norm(s - s[-1], axis=-1), rtol=1e-5, atol=1e-6)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_turning_and_scaling_the_states_changes_lengths_only_by_the_scale(seed, scale):
    torch.manual_seed(seed)
    matrix, start = 0.4 * torch.randn(5, 5).double(), torch.randn(5).double()
    turn = torch.linalg.qr(torch.randn(5, 5).double())[0]
    one = ll.dynamics(travel(linear(matrix), start, 24), spectra=[-1], **QUIET)
    two = ll.dynamics(travel(linear(turn @ matrix @ turn.T), scale * turn @ start, 24), spectra=[-1], **QUIET)
    for name in ("state_norm", "step_norm", "acceleration", "distance_to_final"):
        assert np.allclose(two[name], scale * one[name], rtol=1e-4, equal_nan=True), name
    for name in ("relative_step", "cosine", "contraction", "period_strength", "spectral_radius", "straightness"):
        assert np.allclose(two[name], one[name], rtol=1e-4, atol=1e-5, equal_nan=True), name
    assert (one.label == two.label).all()


@pytest.mark.parametrize("spread", [[1.0] * 4, [3.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
def test_a_gaussian_cloud_has_the_participation_ratio_of_its_variances(spread):
    torch.manual_seed(0)
    variance = torch.tensor(spread)
    cloud = torch.randn(40_000, 4) * variance.sqrt() + 7
    exact = float(variance.sum() ** 2 / variance.square().sum())
    assert participation_ratio(cloud) == pytest.approx(exact, rel=0.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(1, 12), st.integers(0, 1000))
def test_an_effective_dimension_is_between_one_and_what_there_is_room_for(points, width, seed):
    cloud = torch.randn(points, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = np.linalg.eigvalsh(np.cov(cloud.numpy(), rowvar=False).reshape(width, width))
    assert participation_ratio(cloud) == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-6)
    assert 1 - 1e-6 <= participation_ratio(cloud) <= min(points - 1, width) + 1e-6


def test_a_trajectory_has_the_effective_dimension_of_its_states_by_iteration(wordy):
    traj = ll.capture(wordy, ["the cat sat", "a b"], iterations=5, **QUIET)
    for space in ("raw", "norm"):
        states = traj.states if space == "raw" else wordy.norm(traj.states).detach()
        exact = [participation_ratio(states[:, r][traj.mask]) for r in range(6)]
        assert np.allclose(ll.dynamics(traj, space=space, **QUIET).participation_ratio, exact, rtol=1e-4)


def test_normed_states_are_what_the_papers_plot(wordy):
    traj = ll.capture(wordy, "the cat sat", iterations=9, **QUIET)
    normed = wordy.norm(traj.states).detach()[0]
    dyn = ll.dynamics(traj, space="norm", **QUIET)
    assert np.allclose(dyn.distance_to_final[0], (normed - normed[-1]).norm(dim=-1), atol=1e-5)


def test_thresholds_decide_and_are_kept_beside_the_label():
    traj = travel(linear(SPIRAL, 1.0), [1.0, 2.0], 64)
    assert last(ll.dynamics(traj, **QUIET), "label") == "fixed point"
    other = ll.dynamics(traj, thresholds={"contracts": 0.5, "still": 1e-9}, **QUIET)
    assert last(other, "label") == "orbit"
    assert other.label.attrs["contracts"] == 0.5


def test_a_trajectory_of_few_iterations_has_steps_and_no_period():
    dyn = ll.dynamics(travel(linear(rotation(6)), [1.0, 0.0], 4), **QUIET)
    assert last(dyn, "angle") == pytest.approx(60)
    assert np.isnan(last(dyn, "period"))
    assert last(dyn, "label") == "slider"  # three sixths of a turn are still straight enough


def test_a_model_that_cannot_step_has_all_but_what_needs_a_step():
    model = ll.wrap(families.dory())
    traj = ll.capture(model, tokens=[[1, 2, 3]], **QUIET)
    assert "step_norm" in ll.dynamics(traj, **QUIET)
    message = f"expected a model that can step for spectra=, got {model.name!r} (dory), which cannot: leave it out"
    with pytest.raises(MotionError, match=f"^{re.escape(message)}$"):
        ll.dynamics(traj, spectra=[-1], **QUIET)


def test_every_quantity_has_a_name_and_a_unit(wordy):
    traj = ll.capture(wordy, "the cat sat", iterations=9, **QUIET)
    dyn = ll.dynamics(traj, spectra=[-1], lyapunov=2, fixed_point=4, **QUIET)
    for name in set(dyn.data_vars) - {"text"}:
        assert dyn[name].attrs["long_name"]
        assert dyn[name].attrs["units"]
    wanted = "state_norm step_norm relative_step cosine angle acceleration distance_to_final participation_ratio contraction spectral_radius eigenvalues lyapunov period period_strength winding settle label distance_to_fixed_point largest_singular_value"
    assert set(wanted.split()) <= set(dyn.data_vars)


def test_progress_ends_at_one_and_can_cancel(wordy):
    traj, told = ll.capture(wordy, ["the cat sat", "a"], iterations=9, **QUIET), []
    ll.dynamics(traj, spectra=[0, 4], lyapunov=True, progress=lambda share, what: told.append((share, what)))
    assert told[-1] == (1.0, "dynamics")

    def stop(share, what):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ll.dynamics(traj, progress=stop)


NANS = "expected finite states, got NaN or infinity at prompt 0, iteration 2, position 1 (1 such states of this prompt): the model diverges there; capture fewer iterations"
REFUSED = [
    ({"space": "ln_f"}, "expected a space (raw, norm), got 'ln_f'"),
    ({"tail": 513}, "expected tail to be at most 512, got 513"),
    ({"tail": 2}, "expected tail to be a whole number of 3 or more, got 2"),
    ({"thresholds": {"stil": 1.0}}, "expected a threshold (still, contracts, straight, orbits, settles, floor), got 'stil': did you mean still?"),
    ({"thresholds": {"still": 0}}, "expected threshold still to be a number above 0, got 0"),
    ({"spectra": [10]}, "expected spectra= at iterations from 0 to 9, got 10: capture with more iterations"),
    ({"spectra": []}, "expected spectra= at one iteration or more, got none: pass spectra=[-1] for the last"),
    ({"positions": [-1]}, "expected positions= with spectra= or lyapunov=, got it alone: all other quantities are everywhere"),
    ({"products": 12}, "expected products= and n_eigenvalues= with spectra=, got them alone: pass spectra=[-1]"),
    ({"spectra": [0], "products": 7}, "expected products to be a whole number of 8 or more, got 7"),
    ({"lyapunov": 0}, "expected lyapunov to be a whole number of 1 or more, got 0"),
    ({"fixed_point": -3}, "expected fixed_point to be a whole number of 1 or more, got -3"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_bad_options_are_refused_in_one_line(options, message):
    traj = travel(linear(rotation(6)), [1.0, 0.0], 9, positions=2)
    with pytest.raises(MotionError, match=f"^{re.escape(message)}$"):
        ll.dynamics(traj, **options, **QUIET)


def test_one_iteration_nan_states_and_one_point_are_refused_in_one_line():
    with pytest.raises(
        MotionError, match="^expected two iterations or more to tell motion, got 1: capture with more iterations$"
    ):
        ll.dynamics(travel(linear(rotation(6)), [1.0, 0.0], 1), **QUIET)
    traj = travel(linear(rotation(6)), [1.0, 0.0], 4, positions=2)
    traj.states[0, 2, 1] = torch.nan
    with pytest.raises(MotionError, match=f"^{re.escape(NANS)}$"):
        ll.dynamics(traj, **QUIET)
    with pytest.raises(
        MotionError, match="^expected two points or more for an effective dimension, got 1: add prompts$"
    ):
        participation_ratio(torch.ones(1, 3))


def test_one_token_has_no_effective_dimension():
    assert np.isnan(ll.dynamics(travel(linear(rotation(6)), [1.0, 0.0], 9), **QUIET).participation_ratio).all()


def test_a_fixed_point_is_found_where_there_is_one_only():
    found = ll.dynamics(travel(linear(0.5 * torch.eye(2).double(), 1.0), [1.0, 5.0], 8), fixed_point=True, **QUIET)
    assert bool(last(found, "fixed_point"))
    exact = np.linalg.norm([1.0 - 2, 5.0 - 2]) * 0.5 ** np.arange(9)
    assert np.allclose(found.distance_to_fixed_point[0, :, 0], exact, rtol=1e-6)
    none = ll.dynamics(travel(linear(rotation(6)), [1.0, 0.0], 8), fixed_point=20, **QUIET)
    assert not bool(last(none, "fixed_point"))
    assert np.isnan(none.distance_to_fixed_point).all()


def test_a_state_that_no_iteration_made_has_no_spectrum():
    traj = travel(linear(rotation(6)), [1.0, 0.0], 9)
    traj.states[:, -1] = 3
    with pytest.raises(
        MotionError,
        match=r"^expected states that 'mapped' iterates for spectra=, got others: its own next state is [0-9.]+ away; pass what ll.capture returns$",
    ):
        ll.dynamics(traj, spectra=[-1], **QUIET)


def test_a_model_is_needed_only_where_it_is_asked():
    traj = travel(linear(rotation(6)), [1.0, 0.0], 9)
    whole = ll.dynamics(traj, **QUIET)
    traj.model = None
    assert ll.dynamics(traj, **QUIET).drop_vars("text").equals(whole.drop_vars("text"))
    assert isinstance(Mapped(slide, DRIFT), ll.LatentModel)
