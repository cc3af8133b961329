"""Lenses that are fitted: against closed forms, autograd written independently, and the model's own answers."""

from __future__ import annotations

import math
from pathlib import Path

import families
import numpy as np
import pytest
import torch
from loops import LAST, WIDTH, Loop, loop_run
from torch import Tensor

import latentlens as ll
from latentlens.models import walks

DATA = Path(__file__).parent / "data"


def test_the_jacobian_of_a_linear_loop_is_a_power_of_its_matrix_and_its_lens_is_exact():
    model = Loop()
    traj = loop_run(model)
    lens = ll.JacobianLens.fit(model, traj)
    for r in range(LAST + 1):
        assert torch.allclose(lens.jacobian[r], torch.linalg.matrix_power(model.a, LAST - r), atol=1e-5)
    assert np.allclose(lens.gain, 1, atol=1e-5)
    said = ll.logits(traj, lens)
    assert torch.allclose(said, said[:, -1:].expand_as(said), atol=1e-4, equal_nan=True)


def test_a_loop_that_forgets_has_the_gain_of_its_powers_and_what_does_not_arrive_has_no_logits():
    model = Loop(shrink=0.1, share=1.0)
    traj = loop_run(model)
    lens = ll.JacobianLens.fit(model, traj, least=0.01)
    states = traj.states.transpose(1, 2)[traj.mask].transpose(0, 1)
    length = states[-1].norm(dim=-1)
    for r in range(LAST + 1):
        assert float(lens.gain[r]) == pytest.approx(
            float((0.1 ** (LAST - r) * states[r].norm(dim=-1) / length).mean()), rel=1e-4
        )
    carried = torch.stack([0.1 ** (LAST - r) * states[r].norm(dim=-1) for r in range(LAST + 1)])
    said = ll.logits(traj, lens).transpose(1, 2)[traj.mask].transpose(0, 1)
    assert torch.equal(said.isnan().all(-1), carried < 0.01 * length.mean())
    assert torch.equal(said.isnan().all(-1), said.isnan().any(-1))
    assert said.isnan().any(-1).float().mean() == pytest.approx(0.4, abs=0.2)
    out = ll.decode(traj, lens)
    read = (carried >= 0.01 * length.mean()).numpy()
    for name in ("entropy", "top_prob"):
        values = out[name].transpose("iteration", "prompt", "position", ...).values[:, traj.mask]
        assert np.array_equal(np.isfinite(values).reshape(*read.shape, -1)[..., 0], read)


def test_with_an_offset_the_jacobian_lens_of_a_linear_loop_with_input_is_a_taylor_series():
    model = Loop(shrink=0.5, share=1.0)
    traj = loop_run(model)
    lens = ll.JacobianLens.fit(model, traj, offset=True, least=0)
    states = traj.states.transpose(1, 2)[traj.mask].transpose(0, 1).double()
    for r in range(LAST + 1):
        power = torch.linalg.matrix_power(model.a.double(), LAST - r)
        own = (states[r] - states[r].mean(0)) @ power.T + states[-1].mean(0)
        assert torch.allclose(lens.carried(states[r].float()[None], r)[0].double(), own, atol=1e-4)


def exact_jacobian(model: ll.LatentModel, ids: Tensor, iteration: int, last: int, position: int) -> Tensor:
    """d h / d s at one position, by torch's own Jacobian of the rest of the model."""
    with torch.no_grad():
        context = model.begin(ids)
        state = context.state
        for _ in range(iteration):
            state = model.step(state, context)

    def rest(row: Tensor) -> Tensor:
        s = torch.cat([state[:, :position], row[None, None], state[:, position + 1 :]], dim=1)
        for _ in range(last - iteration):
            s = model.step(s, context)
        return model.residual(s, context)[0, position]

    return torch.autograd.functional.jacobian(rest, state[0, position].clone())


def test_the_jacobian_of_one_position_is_torchs_own_jacobian_averaged_over_prompts(raven):
    ids = torch.randint(256, (2, 5), generator=torch.Generator().manual_seed(0))
    lens = ll.JacobianLens.fit(raven, ll.capture(raven, tokens=ids, iterations=3), positions=-1)
    for r in range(4):
        own = sum(exact_jacobian(raven, row[None], r, 3, 4) for row in ids) / 2
        assert torch.allclose(lens.jacobian[r], own, atol=1e-5 * float(own.abs().max()) + 1e-6)


def test_what_one_position_does_to_another_averages_out(raven):
    ids = torch.randint(256, (1, 4), generator=torch.Generator().manual_seed(0))
    own = sum(exact_jacobian(raven, ids, 1, 3, p) for p in range(4)) / 4
    apart = []
    for copies in (2, 32):
        traj = ll.capture(raven, tokens=ids.expand(copies, -1), iterations=3)
        lens = ll.JacobianLens.fit(raven, traj, iterations=[1], batch_size=32)
        apart.append(float((lens.jacobian[0] - own).norm() / own.norm()))
    assert apart[1] < apart[0] / 2.5  # a quarter, were it noise alone


def test_a_tuned_lens_recovers_the_map_from_each_state_to_the_last():
    model = Loop()
    traj = loop_run(model, prompts=120)
    lens = ll.TunedLens.fit(model, traj, epochs=60, batch_size=32, patience=60)
    assert float(lens.curve[0, 0]) > 0.3
    assert (lens.curve.min("epoch") < 2e-3).all()
    assert float(lens.curve[0, -1]) == pytest.approx(0, abs=1e-6)
    x = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(1))
    for r in range(LAST + 1):
        said = lens.translated(x[None], r)[0]
        own = x @ torch.linalg.matrix_power(model.a, LAST - r).T
        assert float((said - own).norm() / own.norm()) < 0.1


def bits_missed(traj: ll.Trajectory, lens: ll.Lens | str, positions: list[int] | None = None) -> Tensor:
    """KL(p_R || lens) with the model's own p_R, `[prompt, iteration, position]`, in float64."""
    own = ll.logits(traj, iterations=[-1], positions=positions).double().log_softmax(-1)
    said = ll.logits(traj, lens, positions=positions).double().log_softmax(-1)
    return (own.exp() * (own - said)).sum(-1) / math.log(2)


def test_epoch_0_of_the_curve_is_the_logit_lens_on_the_prompts_held_out():
    model = ll.load("walks")
    prompts = walks.sample(3, steps=1, seed=3)
    traj = ll.capture(model, prompts, iterations=3)
    lens = ll.TunedLens.fit(model, traj, epochs=1, held_out=0.3)
    missed = bits_missed(traj, "logit")
    own = [row.nanmean(-1) for row in missed]
    curve = torch.from_numpy(lens.curve.values[0]).double()
    assert min(float((curve - row).abs().max()) for row in own) < 1e-4


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_lens_is_fitted_to_every_family_without_touching_its_weights(name):
    module = families.make(name)
    model, before = ll.wrap(module), {k: v.clone() for k, v in module.state_dict().items()}
    asked = [p.requires_grad for p in module.parameters()]
    traj = ll.capture(model, tokens=torch.randint(3, 61, (4, 6), generator=torch.Generator().manual_seed(1)))
    lens = ll.TunedLens.fit(model, traj, epochs=2, batch_size=2)
    assert np.isfinite(lens.curve).all()
    assert (lens.curve.min("epoch") <= lens.curve[0]).all()
    assert ll.logits(traj, lens).shape == (4, traj.iterations + 1, 6, model.vocab_size)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert [p.requires_grad for p in module.parameters()] == asked
    assert all(p.grad is None for p in module.parameters())


def test_where_states_are_normed_the_last_one_needs_no_translator_and_the_start_is_normed():
    model = ll.load(str(DATA / "ouro_random"))
    traj = ll.capture(model, tokens=torch.randint(256, (4, 6), generator=torch.Generator().manual_seed(1)))
    tuned = ll.TunedLens.fit(model, traj, epochs=2)
    logit = ll.decode(traj, "logit").missing_bits
    assert float(tuned.curve[0, -1]) == pytest.approx(0, abs=1e-6)
    assert float(tuned.curve[0, 0]) == pytest.approx(float(logit[:, 0].mean()), rel=0.5)
    jacobian = ll.JacobianLens.fit(model, traj, positions=-1)
    assert torch.allclose(jacobian.jacobian[-1], torch.eye(model.d_model), atol=1e-6)
    own, said = ll.logits(traj, iterations=[-1]), ll.logits(traj, jacobian, iterations=[-1])
    assert torch.allclose(own, said, atol=1e-5)


def test_a_lens_of_a_bfloat16_model_answers_in_bfloat16():
    model = ll.load(str(DATA / "raven_random"), dtype=torch.bfloat16)
    traj = ll.capture(
        model, tokens=torch.randint(256, (4, 6), generator=torch.Generator().manual_seed(1)), iterations=2
    )
    tuned = ll.TunedLens.fit(model, traj, epochs=2)
    jacobian = ll.JacobianLens.fit(model, traj, positions=-1)
    assert tuned.maps.left.dtype == jacobian.jacobian.dtype == torch.float32
    assert ll.logits(traj, tuned).dtype == ll.logits(traj, jacobian).dtype == torch.bfloat16


@pytest.fixture(scope="module")
def walker() -> tuple[ll.LatentModel, ll.TunedLens]:
    model = ll.load("walks")
    prompts = [prompt for steps in (1, 2, 3) for prompt in walks.sample(60, steps=steps, seed=steps)]
    return model, ll.TunedLens.fit(model, prompts, iterations=6, epochs=6, positions=-1)


def test_on_prompts_that_it_never_saw_the_tuned_lens_is_nearer_to_the_model_than_the_logit_lens(walker):
    model, lens = walker
    unseen = [prompt for steps in (1, 2, 3) for prompt in walks.sample(10, steps=steps, seed=100 + steps)]
    traj = ll.capture(model, unseen, iterations=6)
    tuned, logit = (bits_missed(traj, name, [-1]).mean((0, 2)) for name in (lens, "logit"))
    assert bool((tuned[:-1] < logit[:-1]).all())


def test_the_same_seed_gives_the_same_lens_and_another_another():
    model = Loop()
    traj = loop_run(model)
    for options in ({}, {"rank": 2}, {"shared": True}):
        one, two, three = (ll.TunedLens.fit(model, traj, epochs=2, seed=seed, **options) for seed in (1, 1, 2))
        assert all(torch.equal(a, b) for a, b in zip(one.maps.parts(), two.maps.parts()))
        assert not torch.equal(one.maps.left, three.maps.left)
    one, two = (ll.JacobianLens.fit(model, traj, seed=1) for _ in range(2))
    assert torch.equal(one.jacobian, two.jacobian)


def test_a_translator_of_low_rank_has_that_rank_and_a_shared_one_reads_any_iteration():
    model = Loop()
    traj = loop_run(model)
    low = ll.TunedLens.fit(model, traj, rank=2, epochs=3)
    assert low.maps.left.shape == (LAST + 1, WIDTH, 2)
    for r in range(LAST):
        assert torch.linalg.matrix_rank(low.maps.left[r] @ low.maps.right[r]) == 2
    both = ll.TunedLens.fit(model, traj, rank=2, shared=True, epochs=3)
    assert both.maps.left.shape == (1, WIDTH, 2)
    assert np.isfinite(ll.decode(ll.capture(model, tokens=traj.tokens, iterations=9), both).entropy).all()


def test_some_iterations_can_be_fitted_alone():
    model = Loop()
    traj = loop_run(model)
    tuned = ll.TunedLens.fit(model, traj, iterations=[3, 1], epochs=1)
    assert tuned.iterations == [1, 3]
    assert ll.logits(traj, tuned, iterations=[1, 3]).shape[1] == 2
    jacobian = ll.JacobianLens.fit(model, traj, iterations=[3])
    assert torch.allclose(jacobian.jacobian[0], model.a, atol=1e-5)


def test_learning_stops_when_no_translator_gets_better_and_the_best_is_kept():
    model = Loop()
    lens = ll.TunedLens.fit(model, loop_run(model), epochs=50, patience=2, learning_rate=1e-9)
    assert len(lens.curve) < 51
    again = ll.TunedLens.fit(model, loop_run(model), epochs=20, learning_rate=300.0)
    assert float(again.curve.max()) > 2 * float(again.curve[0].max())
    unseen = ll.decode(ll.capture(model, tokens=[[1, 2, 3]]), again).missing_bits.mean(("prompt", "position"))
    plain = ll.decode(ll.capture(model, tokens=[[1, 2, 3]]), "logit").missing_bits.mean(("prompt", "position"))
    assert (unseen <= plain + 0.2).all()


@pytest.mark.parametrize("kind", ["tuned", "low", "shared", "jacobian", "offset"])
def test_a_saved_lens_says_the_same_by_object_and_by_path(kind, tmp_path):
    model = Loop()
    traj = loop_run(model)
    lens = {
        "tuned": lambda: ll.TunedLens.fit(model, traj, epochs=2),
        "low": lambda: ll.TunedLens.fit(model, traj, epochs=2, rank=1),
        "shared": lambda: ll.TunedLens.fit(model, traj, epochs=2, shared=True),
        "jacobian": lambda: ll.JacobianLens.fit(model, traj, least=0.2),
        "offset": lambda: ll.JacobianLens.fit(model, traj, offset=True),
    }[kind]()
    path = lens.save(tmp_path / "lens.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["lens.safetensors"]
    again = type(lens).load(path, model)
    own = ll.logits(traj, lens)
    assert torch.equal(own.nan_to_num(), ll.logits(traj, again).nan_to_num())
    assert torch.equal(own.nan_to_num(), ll.logits(traj, str(path)).nan_to_num())
    assert (again.about, again.iterations) == (lens.about, lens.iterations)
    if isinstance(lens, ll.TunedLens):
        assert again.curve.identical(lens.curve)
    else:
        assert again.gain.identical(lens.gain)
        assert (again.least, again.length, again.offset) == (lens.least, lens.length, lens.offset)


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("kind", [ll.TunedLens, ll.JacobianLens])
def test_a_fit_is_cancelled_by_its_progress_function(kind):
    model = Loop()
    told: list[tuple[float, str]] = []

    def stop(share: float, what: str) -> None:
        told.append((share, what))
        if what != "capture" and share > 0.2:
            raise Cancelled

    with pytest.raises(Cancelled):
        kind.fit(model, loop_run(model), progress=stop)
    assert told[-1][1] == f"fit {kind.name} lens"
    assert not model.u.requires_grad


def test_progress_reaches_the_end_also_where_learning_stops_early():
    model, told = Loop(), []
    ll.TunedLens.fit(
        model, loop_run(model), patience=1, learning_rate=1e-9, progress=lambda share, what: told.append(share)
    )
    assert told[-1] == pytest.approx(1)
