"""What cannot be fitted, read or used as a lens is refused in one line."""

from __future__ import annotations

import math
import re

import pytest
import torch
from loops import WIDTH, Loop, loop_run
from safetensors.torch import save_file
from torch import Tensor, nn
from toys import Scripted

import latentlens as ll
from latentlens.errors import CaptureError, LensError


def hooked() -> ll.LatentModel:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.core, self.head = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9)

        def forward(self, tokens: Tensor) -> Tensor:
            state = self.embed(tokens)
            for _ in range(3):
                state = self.core(state)
            return self.head(state)

    return ll.wrap(Mine(), loop="core", unembed="head")


LOOP = Loop()
FITTING = [
    (ll.TunedLens, {"rank": 7}, "expected rank to be from 1 to 6 (d_model) or None, got 7"),
    (ll.TunedLens, {"rank": 0}, "expected rank to be from 1 to 6 (d_model) or None, got 0"),
    (ll.TunedLens, {"shared": 1}, "expected shared to be True or False, got 1"),
    (ll.TunedLens, {"held_out": 1.0}, "expected held_out to be a share between 0 and 1, got 1.0"),
    (ll.TunedLens, {"epochs": 0}, "expected epochs to be a whole number of 1 or more, got 0"),
    (ll.TunedLens, {"learning_rate": 0}, "expected learning_rate to be above 0, got 0"),
    (ll.TunedLens, {"iterations": [2, 5]}, "expected iterations from 0 to 4, got [2, 5]: the model makes no others"),
    (ll.TunedLens, {"iterations": []}, "expected iterations from 0 to 4, got []: the model makes no others"),
    (ll.TunedLens, {"iterations": 3}, "expected iterations as a list (or 4) with a trajectory, got 3: it ran already"),
    (ll.TunedLens, {"positions": 9}, "expected positions from -5 to 4, got 9"),
    (ll.JacobianLens, {"least": 1.5}, "expected least to be a share from 0 to 1, got 1.5"),
    (ll.JacobianLens, {"offset": 2}, "expected offset to be True or False, got 2"),
    (ll.JacobianLens, {"batch_size": 0}, "expected batch_size to be a whole number of 1 or more, got 0"),
]


@pytest.mark.parametrize(("kind", "options", "message"), FITTING)
def test_a_fit_refuses_options_in_one_line(kind, options, message):
    with pytest.raises(LensError, match=f"^{re.escape(message)}$"):
        kind.fit(LOOP, loop_run(LOOP), **options)


def test_a_fit_refuses_no_prompts_and_a_single_one():
    model = ll.load("walks")
    for kind in (ll.TunedLens, ll.JacobianLens):
        with pytest.raises(CaptureError, match="^expected at least one prompt, got none$"):
            kind.fit(model, [])
    message = "expected at least 2 prompts, one of them to hold out, got 1: pass more"
    with pytest.raises(LensError, match=f"^{message}$"):
        ll.TunedLens.fit(model, "1 steps from Ann", iterations=1)


def test_a_fit_refuses_another_models_trajectory():
    message = (
        "expected a trajectory of 'loop' (loop, weights 000000000000), got one of 'loop' (loop, weights 000000000000): "
        "capture it with this model"
    )
    with pytest.raises(LensError, match=f"^{re.escape(message)}$"):
        ll.TunedLens.fit(LOOP, loop_run(Loop(seed=1)))


def test_a_jacobian_lens_refuses_a_model_that_cannot_step_and_one_that_hides_its_residual():
    message = (
        "expected a model that can step, got 'Mine' (wrapped), whose loop runs inside its own forward: fit a "
        "TunedLens, which needs its states alone"
    )
    model = hooked()
    with pytest.raises(LensError, match=f"^{re.escape(message)}$"):
        ll.JacobianLens.fit(model, ll.capture(model, tokens=[[1, 2]]))
    message = (
        "expected a model that shows what its last norm reads, got 'scripted' (scripted), which does not: give it a "
        "method residual(state, context)"
    )
    plain = Scripted(torch.zeros(3, 4))
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"):
        ll.JacobianLens.fit(plain, ll.capture(plain, tokens=[[1, 2]]))


@pytest.mark.parametrize("kind", [ll.TunedLens, ll.JacobianLens])
def test_a_lens_refuses_another_model_when_it_is_loaded_and_when_it_is_used(kind, tmp_path, raven):
    path = kind.fit(LOOP, loop_run(LOOP)).save(tmp_path / "lens.safetensors")
    weights = raven.fingerprint[:12]
    message = (
        f"expected the model of this {kind.kind} lens, 'loop' (loop, weights 000000000000), got '{raven.name}' (raven, "
        f"weights {weights}): fit one to it"
    )
    with pytest.raises(LensError, match=f"^{re.escape(message)}$"):
        kind.load(path, raven)
    traj = ll.capture(raven, tokens=[[1, 2]], iterations=1)
    for lens in (kind.load(path), str(path)):
        with pytest.raises(LensError, match=f"^{re.escape(message)}$"):
            ll.decode(traj, lens)


@pytest.mark.parametrize("kind", [ll.TunedLens, ll.JacobianLens])
def test_a_lens_refuses_an_iteration_that_it_was_not_fitted_for(kind):
    traj = loop_run(LOOP)
    lens = kind.fit(LOOP, traj, iterations=[1, 4])
    message = (
        f"expected an iteration that this {kind.kind} lens was fitted for (1, 4), got 2: fit it for that one too, or "
        "read the others with ll.logits(traj, lens, iterations=[...])"
    )
    with pytest.raises(LensError, match=f"^{re.escape(message)}$"):
        ll.logits(traj, lens, iterations=[2])


def test_what_is_no_lens_is_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("no lens")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("text", "other"):
        path = str(tmp_path / f"{name}.safetensors")
        for read in (ll.TunedLens.load, ll.JacobianLens.load, lambda p: ll.decode(loop_run(LOOP), p)):
            with pytest.raises(LensError) as caught:
                read(path)
            told = (
                re.escape(f"expected a lens in {path}, got a file that is none (")
                + ".*"
                + re.escape("): fit one and save it there")
            )
            assert re.fullmatch(told, str(caught.value))


def test_a_lens_of_the_other_kind_a_missing_file_and_a_bad_path_are_refused(tmp_path):
    lens = ll.TunedLens.fit(LOOP, loop_run(LOOP), epochs=1)
    path = lens.save(tmp_path / "lens.safetensors")
    message = f"expected a jacobian lens in {path}, got a tuned one: pass the path as lens= to ll.decode"
    with pytest.raises(LensError, match=f"^{re.escape(message)}$"):
        ll.JacobianLens.load(path)
    message = "expected a saved lens at gone.safetensors, got no file: fit one with latentlens fit-lens"
    with pytest.raises(LensError, match=f"^{re.escape(message)}$"):
        ll.decode(loop_run(LOOP), "gone.safetensors")
    out = tmp_path / "lens.pt"
    message = f"expected a file name x.safetensors in a folder that exists, got {out}: choose another path"
    with pytest.raises(LensError, match=f"^{re.escape(message)}$"):
        lens.save(out)
    tensors = lens.tensors() | {"bias": torch.zeros(2, WIDTH)}
    lens.tensors = lambda: tensors
    bad = lens.save(tmp_path / "bad.safetensors")
    with pytest.raises(LensError, match="a file that is none"):
        ll.TunedLens.load(bad)
    assert math.isfinite(float(ll.TunedLens.load(path).curve[0, 0]))
