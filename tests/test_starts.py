"""Path independence against maps that forget their start, and maps that do not."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import toys
from maps import Mapped, linear, rotation

import latentlens as ll
from latentlens.errors import MotionError

QUIET = {"progress": False}
STARTS = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0)).double()


def test_a_contraction_forgets_its_start_at_its_rate():
    model = Mapped(linear(0.5 * torch.eye(2).double(), torch.tensor([1.0, 0.0]).double()), torch.zeros(2).double())
    found = ll.path_independence(model, tokens=[[0, 1, 2]], starts=STARTS, iterations=20, **QUIET)
    spread = found.data.spread.values[0, :, 0]
    exact = (STARTS[:, -1] - STARTS[:, -1].mean(0)).square().sum(-1).mean().sqrt()
    assert np.allclose(spread, float(exact) * 0.5 ** np.arange(21), rtol=1e-5)
    assert found.data.agreement[0, -1].item() == 1
    assert found.data.independent.item()


def test_a_rotation_never_forgets():
    model = Mapped(linear(rotation(6)), torch.zeros(2).double())
    found = ll.path_independence(model, tokens=[[0, 1, 2]], starts=STARTS, positions=[0, -1], iterations=12, **QUIET)
    assert np.allclose(found.data.spread, found.data.spread[:, :1], rtol=1e-6)
    assert found.data.position.values.tolist() == [[0, 2]]


def test_disagreement_is_what_numpy_says_and_the_ensemble_is_the_mean():
    model = Mapped(linear(rotation(6)), torch.zeros(2).double())
    found = ll.path_independence(model, tokens=[[0, 1, 2]], starts=STARTS, iterations=3, **QUIET)
    logits = np.zeros((5, 4))
    logits[:, :2] = found.trajectories[0].states[:, 2, -1].numpy()
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    bits = (p * np.log2(p / p.mean(0))).sum(-1).mean()
    assert found.data.disagreement[0, 2, 0].item() == pytest.approx(bits, rel=1e-5)
    assert torch.allclose(found.ensemble.states[0], found.trajectories[0].states.mean(0))
    top = p.argmax(-1)
    assert found.data.answer[0, :, 2, 0].values.tolist() == top.tolist()
    assert found.data.agreement[0, 2, 0].item() == pytest.approx(np.bincount(top).max() / 5)


def test_starts_are_the_models_own_draws_and_prompts_may_differ_in_length(wordy):
    found = ll.path_independence(wordy, ["the cat sat", "a"], starts=3, seed=7, iterations=4, **QUIET)
    for prompt, text in enumerate(["the cat sat", "a"]):
        for start in range(3):
            own = ll.capture(wordy, text, iterations=4, seed=7 + start, **QUIET)
            assert torch.allclose(found.trajectories[prompt].states[start], own.states[0], atol=1e-4)
    assert found.ensemble.states.shape[:3] == (2, 5, 3)
    assert ll.embed(found.ensemble, **QUIET).coords.shape[0] == 2
    assert ll.decode(found.trajectories[0], **QUIET).sizes["prompt"] == 3
    short = ll.path_independence(wordy, ["the cat sat", "a"], starts=2, positions=[2], iterations=2, **QUIET).data
    assert np.isnan(short.spread[1]).all()
    assert (short.answer[1] == -1).all()
    assert not short.independent[1].item()


REFUSED = [
    ({"starts": 1}, "expected two starts or more, got 1: nothing can be compared with one"),
    ({"starts": STARTS, "positions": [3]}, "expected a position from -3 to 2, got 3"),
    ({"starts": "many"}, "expected starts to be a whole number or states, got str"),
    ({"starts": STARTS[:, :2]}, "expected starts of shape [start, 3, 2], got [5, 2, 2]"),
    ({"starts": 4}, "expected states as starts= for 'mapped' (mapped), got a number: its own s_0 is not random"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_bad_starts_are_refused_in_one_line(options, message):
    model = Mapped(linear(rotation(6)), torch.zeros(2).double())
    with pytest.raises(MotionError, match=f"^{re.escape(message)}$"):
        ll.path_independence(model, tokens=[[0, 1, 2]], **options, **QUIET)


def test_a_model_that_cannot_step_has_no_other_starts():
    model = toys.Halving()
    model.steps = False
    with pytest.raises(
        MotionError,
        match=r"^expected a model that can step for many starts, got 'halving' \(scripted\), which cannot: use a model that is run natively$",
    ):
        ll.path_independence(model, tokens=[[0, 1]], **QUIET)
