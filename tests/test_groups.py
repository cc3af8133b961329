"""Aggregates against numpy, with labels for prompts and for tokens."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr

import latentlens as ll
from latentlens.errors import MotionError

QUIET = {"progress": False}


@pytest.fixture(scope="module")
def made():
    """Eight prompts of up to three tokens, with pads."""
    rng = np.random.default_rng(0)
    token = np.array([[1, 2, 3], [1, 2, -1]] * 4)
    values = np.where(token[:, None] >= 0, rng.normal(size=(8, 5, 3)), np.nan)
    values[0, 2, 1] = np.nan
    label = np.where(token >= 0, np.where(token == 1, "orbit", "slider"), "").astype(object)
    data = {
        "step_norm": (("prompt", "iteration", "position"), values, {"units": "state units"}),
        "period": (("prompt", "position"), values[:, 0]),
        "right": (("prompt", "iteration"), np.arange(40).reshape(8, 5) % 2 == 0),
        "label": (("prompt", "position"), label),
        "token": (("prompt", "position"), token, {"units": "token id"}),
        "eigenvalues": (("prompt", "iteration", "position", "eigen"), values[..., None] + 0j),
        "participation_ratio": ("iteration", np.arange(5.0)),
    }
    return xr.Dataset(data, coords={"iteration": np.arange(5)})


def test_means_and_quantiles_are_numpys_over_all_tokens_of_a_group(made):
    by = ["a", "b"] * 4
    out = ll.aggregate(made, by)
    assert out.group.values.tolist() == ["a", "b"]
    for number, group in enumerate(("a", "b")):
        part = made.step_norm.values[number::2].transpose(1, 0, 2).reshape(5, -1)
        assert np.allclose(out.step_norm.sel(group=group), np.nanmean(part, 1))
        assert np.allclose(out.step_norm_quantile.sel(group=group), np.nanquantile(part, out["quantile"], axis=1))
        assert out.step_norm_count.sel(group=group).values.tolist() == np.isfinite(part).sum(1).tolist()
        assert np.allclose(out.right.sel(group=group), made.right.values[number::2].mean(0))
    assert out.step_norm.attrs["units"] == "state units"
    assert not {"eigenvalues", "participation_ratio", "token"} & set(out.data_vars)


def test_the_interval_draws_whole_prompts(made):
    out = ll.aggregate(made, resamples=4000, seed=3)
    period = made.period.values
    sums, counts = np.nansum(period, 1), np.isfinite(period).sum(1)
    rng = np.random.default_rng(11)
    rows = rng.integers(0, 8, size=(4000, 8))
    means = sums[rows].sum(1) / counts[rows].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    assert out.period_low.item() == pytest.approx(low, abs=0.03)
    assert out.period_high.item() == pytest.approx(high, abs=0.03)
    again = ll.aggregate(made, resamples=4000, seed=3)
    assert out.equals(again)


def test_more_prompts_of_one_kind_make_a_narrower_interval(made):
    wide = ll.aggregate(made)
    narrow = ll.aggregate(xr.concat([made] * 16, dim="prompt", data_vars="minimal"))
    assert ((narrow.step_norm_high - narrow.step_norm_low) < 0.4 * (wide.step_norm_high - wide.step_norm_low)).all()


def test_labels_of_tokens_make_groups_and_labels_get_shares(made):
    out = ll.aggregate(made, "label")
    first = made.step_norm.values[:, :, 0]
    assert np.allclose(out.step_norm.sel(group="orbit"), first.mean(0))
    whole = ll.aggregate(made)
    assert whole.label_share.sel(group="all", label="orbit").item() == pytest.approx(8 / 20)
    assert whole.label_share.sum("label").item() == pytest.approx(1)
    assert whole.label_share_low.sel(group="all", label="orbit").item() < 8 / 20


def test_one_position_is_each_prompts_own(made):
    out = ll.aggregate(made, position=-1)
    exact = [made.step_norm.values[i, 4, 2 if i % 2 == 0 else 1] for i in range(8)]
    assert out.step_norm.sel(group="all", iteration=4).item() == pytest.approx(np.mean(exact))


def test_what_is_in_no_group_is_left_out_and_empty_is_nan(made):
    by = np.where(made.token.values == 3, "third", None)
    out = ll.aggregate(made.assign(nothing=made.period * np.nan), by)
    assert out.group.values.tolist() == ["third"]
    assert out.step_norm_count.values.tolist() == [[4] * 5]
    assert np.isnan(out.nothing).all()
    assert np.isnan(out.nothing_quantile).all()


def test_dynamics_decode_and_path_independence_aggregate(wordy):
    prompts = ["the cat sat on the mat", "a b", "c the"]
    traj = ll.capture(wordy, prompts, iterations=9, **QUIET)
    dyn = ll.dynamics(traj, spectra=[4, 9], lyapunov=1, **QUIET)
    out = ll.aggregate(dyn, ["x", "y", "y"])
    assert out.lyapunov.dims == ("group", "exponent")
    exact = dyn.spectral_radius.values[1:, 9]
    assert out.spectral_radius.sel(group="y", iteration=9).item() == pytest.approx(np.nanmean(exact), rel=1e-6)
    assert np.isnan(out.spectral_radius.sel(iteration=5)).all()
    read = ll.decode(traj, **QUIET)
    assert ll.aggregate(read).entropy[0, 3].item() == pytest.approx(np.nanmean(read.entropy[:, 3]), rel=1e-5)
    free = ll.path_independence(wordy, prompts, starts=3, iterations=4, **QUIET)
    assert ll.aggregate(free.data).independent.item() == pytest.approx(free.data.independent.values.mean())


REFUSED = [
    ({"by": ["a"]}, "expected labels of shape [8] [prompt] or [8, 3] [prompt, position], got [1]"),
    ({"by": "task"}, "expected by= to name a variable, got 'task': there are step_norm, period, right, label, token, eigenvalues, participation_ratio"),
    ({"by": [""] * 8}, "expected labels that name a group, got none: leave by= out for one group"),
    ({"position": 3}, "expected a position from -3 to 2, got 3"),
    ({"quantiles": [2]}, "expected quantiles from 0 to 1, got [2]"),
    ({"level": 1}, "expected level between 0 and 1 and resamples of 1 or more, got 1, 1000"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_bad_options_are_refused_in_one_line(made, options, message):
    with pytest.raises(MotionError, match=f"^{re.escape(message)}$"):
        ll.aggregate(made, **options)


def test_what_is_no_dataset_over_prompts_is_refused():
    with pytest.raises(
        MotionError, match=r"^expected a Dataset over prompts, got int: pass what ll\.dynamics returns$"
    ):
        ll.aggregate(3)
