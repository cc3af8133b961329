"""Probes find what was put into the states, nothing that was not, and never see what they are measured on."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch
import toys
from safetensors.torch import save_file
from sklearn.linear_model import Ridge

import latentlens as ll
from latentlens.errors import ProbeError
from latentlens.models import walks
from latentlens.probes.heldout import measured
from latentlens.probes.linear import ridge_fit, softmax_fit

ORIGIN = {"family": "made", "name": "made", "fingerprint": "abc", "d_model": 6, "random_start": False}


def made(states, lengths=None):
    """A trajectory of given states `[prompt, iteration, position, d_model]`."""
    prompts, _, width, _ = states.shape
    lengths = torch.full((prompts,), width) if lengths is None else torch.tensor(lengths)
    mask = torch.arange(width) < lengths[:, None]
    return ll.Trajectory(states=states, tokens=torch.zeros(prompts, width, dtype=int), mask=mask, origin=ORIGIN)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_ridge_map_is_scikit_learns_with_few_features_and_with_many():
    for features in (5, 60):
        x, y = noise(40, features).double(), noise(40, 3, seed=1).double()
        exact = Ridge(alpha=40 * 0.3).fit(x.numpy(), y.numpy())
        mine = ridge_fit(x, y, 0.3)
        assert np.abs(mine.weight.numpy() - exact.coef_).max() < 1e-10
        assert np.abs(mine.bias.numpy() - exact.intercept_).max() < 1e-10


def test_a_softmax_map_is_where_the_gradient_of_its_loss_vanishes():
    x, target = noise(50, 4).double(), noise(50, 3, seed=1).double().softmax(1)
    found, base = softmax_fit(x, target, 0.05), ((target.sum(0) + 0.5) / (50 + 1.5)).log()
    weight, bias = found.weight.clone().requires_grad_(), found.bias.clone().requires_grad_()
    loss = -(target * (x @ weight.T + bias).log_softmax(1)).sum(1).mean()
    (loss + 0.025 * (weight.square().sum() + (bias - base).square().sum())).backward()
    assert float(weight.grad.abs().max()) < 1e-5
    assert float(bias.grad.abs().max()) < 1e-5


def test_under_a_strong_penalty_a_probe_says_how_frequent_the_classes_are():
    target = torch.eye(2).double()[[0] * 30 + [1] * 10]
    said = softmax_fit(noise(40, 3).double(), target, 1e9)(noise(5, 3).double()).softmax(1)
    assert said.numpy() == pytest.approx(np.tile([30.5 / 41, 10.5 / 41], (5, 1)), abs=1e-6)


def test_low_probability_is_not_death():
    """The logits halve at every iteration: the lens ends near a uniform answer, the probe still finds the token."""
    model = toys.Halving(vocab=4, iterations=12)
    ids = torch.randint(4, (60, 1), generator=torch.Generator().manual_seed(0))
    traj = ll.capture(model, tokens=ids, iterations=12)
    out = ll.decode(traj)
    probe = ll.Probe.fit(traj, ids[:, 0], penalty=1e-4)
    assert float(out.entropy[:, -1].min()) > 1.999
    assert probe.scores.accuracy.values.tolist() == [1.0] * 13
    assert probe.scores.bits.values.max() < 0.05
    assert probe.scores.accuracy_control.values.max() < 0.7


def test_states_without_the_label_score_as_their_control_does():
    traj = made(noise(400, 2, 1, 6))
    scores = ll.Probe.fit(traj, [i % 2 for i in range(400)]).scores
    for name in ("accuracy", "accuracy_control"):
        assert np.abs(scores[name].values - 0.5).max() < 0.15  # three standard errors of 100 held-out prompts
    assert np.abs(scores.bits.values - 1).max() < 0.1


def test_a_distribution_that_the_state_holds_is_read_without_loss():
    states = noise(300, 2, 1, 6)
    target = (states[:, 1, 0] @ noise(6, 4, seed=1)).softmax(1)
    scores = ll.Probe.fit(made(states), target, penalty=1e-5).scores
    assert float(scores.bits.sel(iteration=1)) < 0.01 < float(scores.bits.sel(iteration=0)) / 10
    named = [dict(zip("abcd", row.double().tolist())) for row in target]
    again = ll.Probe.fit(made(states), named, penalty=1e-5)
    assert again.classes == ["a", "b", "c", "d"]
    assert again.scores.bits.values == pytest.approx(scores.bits.values, abs=1e-5)


def test_a_vector_that_the_state_holds_has_an_r2_of_one_and_its_control_does_not():
    states = noise(200, 2, 1, 6)
    target = states[:, 0, 0] @ noise(6, 2, seed=1) + 3
    scores = ll.Probe.fit(made(states), target, kind="ridge", penalty=1e-9).scores
    assert float(scores.r2.sel(iteration=0)) == pytest.approx(1, abs=1e-6)
    assert float(scores.r2.sel(iteration=1)) < 0.1
    assert float(scores.r2_control.max()) < 0.1


def test_what_is_held_out_changes_neither_the_scaling_nor_the_fit():
    states, labels = noise(80, 2, 1, 6), torch.randint(3, (80,), generator=torch.Generator().manual_seed(2))
    one = ll.Probe.fit(made(states), labels)
    held = torch.from_numpy(one.scores.held_out.values)
    changed, others = states.clone(), labels.clone()
    changed[held], others[held] = 100 * changed[held] + 7, 0
    two = ll.Probe.fit(made(changed), others)
    assert int(held.sum()) == 20
    for name in ("mean", "spread", "weight", "bias"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_features_that_do_not_vary_in_the_fit_split_are_not_read():
    states = noise(60, 1, 1, 6)
    states[..., 2] = 1234.5
    probe = ll.Probe.fit(made(states), [i % 3 for i in range(60)], penalty=0.1)
    states[..., 2] = -9
    assert torch.isinf(probe.spread[0, 2])
    assert np.isfinite(probe.predict(made(states)).values).all()


def test_the_same_seed_gives_the_same_probe_and_another_another_split():
    traj, labels = made(noise(40, 1, 1, 6)), [i % 2 for i in range(40)]
    one, two, three = (ll.Probe.fit(traj, labels, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.weight, two.weight)
    assert (one.scores.held_out != three.scores.held_out).any()


def test_every_token_can_have_a_target_of_its_own():
    model = ll.load("walks")
    traj = ll.capture(model, walks.sample(30, steps=1, seed=3), iterations=2)
    probe = ll.Probe.fit(traj, traj.tokens, positions=None, penalty=1e-3)
    assert float(probe.scores.accuracy.sel(iteration=2)) > 0.9
    named = ll.Probe.fit(traj, traj.str_tokens, positions=[0, -1], penalty=1e-3, iterations=[2])
    assert set(named.classes) <= set(walks.task.NAMES)
    assert named.about["examples"] == 60


def test_targets_of_none_are_left_out():
    labels = [None if i % 4 == 0 else "ab"[i % 2] for i in range(40)]
    assert ll.Probe.fit(made(noise(40, 1, 1, 6)), labels, penalty=1.0).about["examples"] == 30


def test_a_prediction_is_the_softmax_of_the_map_and_blank_where_a_prompt_is_too_short():
    states = noise(20, 2, 3, 6)
    traj = made(states, lengths=[3, 2] * 10)
    probe = ll.Probe.fit(traj, [i % 2 for i in range(20)], penalty=0.1)
    said = probe.predict(traj, positions=[-1, 2])
    x = (states[1, 1, 1] - probe.mean[1]) / probe.spread[1]
    exact = (probe.weight[1] @ x + probe.bias[1]).softmax(0)
    assert said.sel(prompt=1, iteration=1, position=-1).values == pytest.approx(exact.numpy(), abs=1e-6)
    assert np.isnan(said.sel(position=2).values[1::2]).all()
    assert said.sel(position=2).values[::2] == pytest.approx(said.sel(position=-1).values[::2])
    assert said.sel(position=-1).sum("class").values == pytest.approx(1, abs=1e-5)


def test_scores_are_those_of_the_predictions_on_held_out_prompts():
    states, labels = noise(80, 1, 1, 6), [i % 2 for i in range(80)]
    states[:, 0, 0, 0] += torch.tensor(labels) * 1.5
    probe = ll.Probe.fit(made(states), labels)
    held = probe.scores.held_out.values
    said = probe.predict(made(states)).values[held, 0, 0]
    right = np.array(labels)[held]
    assert float(probe.scores.accuracy[0]) == pytest.approx((said.argmax(1) == right).mean())
    assert float(probe.scores.bits[0]) == pytest.approx(-np.log2(said[np.arange(len(right)), right]).mean(), abs=1e-4)


def test_r2_is_zero_for_the_mean_and_any_likeliest_class_is_right():
    target = noise(10, 2).double()
    assert measured(target.mean(0).expand(10, 2), target, "ridge")["r2"] == pytest.approx(0)
    ties = torch.tensor([[0.4, 0.4, 0.2]]).double()
    for leader, right in ((0, 1.0), (1, 1.0), (2, 0.0)):
        said = torch.nn.functional.one_hot(torch.tensor([leader]), 3).double()
        assert measured(said, ties, "softmax")["accuracy"] == right


@pytest.mark.parametrize("kind", ["softmax", "ridge"])
def test_a_saved_probe_reads_the_same(tmp_path, kind):
    traj = made(noise(30, 2, 1, 6))
    targets = ["x", "y", "z"] * 10 if kind == "softmax" else noise(30, 2)
    one = ll.Probe.fit(traj, targets, kind=kind, penalty=0.1)
    two = ll.Probe.load(one.save(tmp_path / "probe.safetensors"))
    assert np.array_equal(one.predict(traj).values, two.predict(traj).values)
    assert one.scores.identical(two.scores)
    assert (two.kind, two.classes, two.iterations, two.about) == (one.kind, one.classes, one.iterations, one.about)


def test_another_models_states_are_refused(tmp_path):
    traj = made(noise(30, 2, 1, 6))
    probe = ll.Probe.fit(traj, ["x", "y", "z"] * 10, penalty=0.1)
    other = dataclasses.replace(traj, origin={**ORIGIN, "name": "other", "fingerprint": "def"})
    with pytest.raises(
        ProbeError, match="^expected states of 'made', weights abc, got those of 'other', weights def: fi"
    ):
        probe.predict(other)
    path = probe.save(tmp_path / "probe.safetensors")
    with pytest.raises(ProbeError, match="^expected states of 'made'"):
        ll.Probe.load(path, model=toys.Halving())
    with pytest.raises(ProbeError, match="expected a trajectory of 1 iterations, got 0"):
        probe.predict(made(noise(30, 1, 1, 6)))


def test_a_file_that_is_no_probe_is_refused_and_no_pickle_is_read(tmp_path):
    (tmp_path / "p.safetensors").write_bytes(pickle.dumps({"weight": 1}))
    save_file({"weight": torch.zeros(2)}, tmp_path / "q.safetensors")
    for name in ("p", "q", "nowhere"):
        with pytest.raises(ProbeError, match=f"^expected a probe in .*{name}.safetensors, got a file that is none"):
            ll.Probe.load(tmp_path / f"{name}.safetensors")


def test_a_probe_that_cannot_be_written_leaves_nothing(tmp_path):
    probe = ll.Probe.fit(made(noise(8, 1, 1, 6)), [0, 1] * 4, penalty=0.1)
    with pytest.raises(ProbeError, match="^expected a new file x.safetensors in a folder that exists, got"):
        probe.save(tmp_path / "none" / "p.safetensors")
    with pytest.raises(ProbeError, match="x.safetensors"):
        probe.save(tmp_path / "p.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("targets", "options", "said"),
    [
        ([0] * 7, {}, "expected a target for each of 8 prompts, got 7"),
        (5, {}, "expected a target for each prompt, got int: pass a list"),
        ([0, "a"] * 4, {}, "expected labels that are all texts or all whole numbers, got 0"),
        ([{"a": 0.5}] * 8, {}, "expected probabilities that add up to 1, got 0.5: normalise them"),
        (torch.full((8, 3), 0.5), {}, "expected probabilities that add up to 1, got 1.5: normalise them"),
        (["a"] * 8, {"kind": "ridge"}, "expected numbers for kind='ridge', got 'a': use kind='softmax' for labels"),
        ([0.5] * 8, {}, r"expected targets of shape \[prompt, output\] or \[prompt, position, output\], got \[8\]"),
        ([float("nan")] * 8, {"kind": "ridge"}, "expected finite targets, got NaN or infinity"),
        ([0, 1] * 4, {"kind": "svm"}, r"expected a kind of probe \(softmax, ridge\), got 'svm'"),
        (
            [0, 1] * 4,
            {"held_out": 1.0},
            "expected held_out between 0 and 1, the share of prompts to measure on, got 1.0",
        ),
        ([0, 1] * 4, {"penalty": 0}, "expected a penalty above 0, got 0: leave it out to have one chosen"),
        ([0, 1] * 4, {"iterations": [2]}, r"expected iterations from 0 to 1, got \[2\]: capture with more iterations"),
        ([[0]] * 8, {"positions": 1}, "expected a target for position 1, got 1 targets: give every token one"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(targets, options, said):
    with pytest.raises(ProbeError, match=f"^{said}"):
        ll.Probe.fit(made(noise(8, 2, 2, 6)), targets, **options)


def test_too_few_prompts_are_refused():
    with pytest.raises(ProbeError, match="^expected at least 4 prompts to fit a probe to and hold some out, got 3"):
        ll.Probe.fit(made(noise(3, 1, 1, 6)), [0, 1, 0])
