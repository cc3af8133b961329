"""Huginn and Ouro in remote code, by stand-ins: against the authors' numbers, the native models and themselves."""

from __future__ import annotations

import re

import contract
import numpy as np
import pytest
import standins
import torch
from safetensors.torch import load_file

import latentlens as ll
from latentlens.errors import CaptureError, ModelError

IDS = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(4))
MASK = torch.tensor([[True] * 9, [True] * 6 + [False] * 3])
RAVENS = ("raven", "raven_tuples")
NAMES = standins.NAMES


def own_answer(module, iterations, start):
    """What a stand-in says by itself after so many iterations, with nothing of latentlens in the way."""
    if isinstance(module, standins.RavenForCausalLM):
        return module(IDS, num_steps=iterations, input_states=start).logits
    before, module.model.total_ut_steps = module.model.total_ut_steps, iterations
    out = module(IDS, exit_at_step=iterations - 1, use_cache=False).logits
    module.model.total_ut_steps = before
    return out


def as_before(module):
    """Everything about a module that a run might leave changed."""
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in module.modules()]
    return module.config.to_dict(), hooks, getattr(getattr(module, "model", None), "total_ut_steps", None)


@pytest.mark.parametrize("name", RAVENS)
def test_huginns_states_and_both_readouts_are_the_authors_own(name, reference):
    model = ll.wrap(standins.make(name))
    traj = ll.capture(model, tokens=reference["ids"], iterations=16, initial_state=reference["states"][0])
    assert (traj.states.transpose(0, 1) - reference["states"]).abs().max() < 1e-4
    assert (ll.logits(traj).transpose(0, 1) - reference["coda_logits"]).abs().max() < 1e-4
    assert (ll.logits(traj, lens="logit").transpose(0, 1) - reference["lnf_logits"]).abs().max() < 1e-4


def test_ouros_states_answers_and_exits_are_the_authors_own():
    module, authors = standins.make("ouro"), load_file(standins.DATA / "ouro_random" / "reference.safetensors")
    traj = ll.capture(ll.wrap(module), tokens=authors["ids"])
    assert (traj.states.transpose(0, 1) - authors["states"]).abs().max() < 1e-4
    assert (ll.logits(traj)[:, 1:].transpose(0, 1) - authors["logits"]).abs().max() < 1e-4
    out = ll.decode(traj)
    assert np.allclose(out.exit_pdf[:, 1:].transpose("iteration", ...), authors["exit_pdf"], atol=1e-6)
    assert module.model.cached == 0  # the cache of keys and values was never asked for
    assert (module(authors["ids"]).logits - authors["model_logits"]).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_finish_is_the_modules_own_answer_at_every_iteration(name, dtype):
    module = standins.make(name, dtype)
    model = ll.wrap(module)
    traj = ll.capture(model, tokens=IDS, mask=MASK, iterations=7, layers=True)
    assert traj.states.dtype == dtype
    context = model.begin(IDS, mask=MASK)
    for r in range(1, 8):
        own = own_answer(module, r, context.state)[MASK]
        contract.holds(f"{name}, remote code", model, model.finish(traj.states[:, r], context)[MASK], own)
        contract.holds(f"{name}, remote code", model, model.run(IDS, iterations=r)[MASK], own)


@pytest.mark.parametrize("name", NAMES)
def test_states_and_layers_are_those_of_hooks_set_by_hand(name):
    module = standins.make(name)
    model = ll.wrap(module)
    start = model.begin(IDS).state
    states, layers = [], []
    paths = [(model.spec.states[0], states), *((path, layers) for path in model.spec.layers)]
    handles = [
        module.get_submodule(path).register_forward_hook(
            lambda m, a, out, kept=kept: kept.append(out if isinstance(out, torch.Tensor) else out[0])
        )
        for path, kept in paths
    ]
    own_answer(module, 4, start)
    for handle in handles:
        handle.remove()
    traj = ll.capture(model, tokens=IDS, iterations=4, layers=True)
    assert torch.equal(traj.states[:, 1:], torch.stack(states, dim=1))
    assert torch.equal(traj.layer_states.flatten(1, 2), torch.stack(layers, dim=1))


@pytest.mark.parametrize("name", RAVENS)
def test_a_seed_gives_the_native_models_start_and_states(name, raven):
    model = ll.wrap(standins.make(name))
    for seed in (0, 7):
        torch.manual_seed(123)
        traj = ll.capture(model, tokens=IDS, iterations=5, seed=seed)
        own = ll.capture(raven, tokens=IDS, iterations=5, seed=seed)
        assert torch.equal(traj.states[:, 0], own.states[:, 0])
        assert (traj.states - own.states).abs().max() < 1e-4
        assert torch.equal(ll.capture(model, tokens=IDS, iterations=5, seed=seed).states, traj.states)


def test_ouro_has_the_native_models_states_gate_and_continuation():
    model, native = ll.wrap(standins.make("ouro")), ll.load(str(standins.DATA / "ouro_random"))
    traj, own = (ll.capture(m, tokens=IDS, mask=MASK, iterations=6) for m in (model, native))
    assert (traj.states - own.states).abs().max() < 1e-4
    assert (model.gate(traj.states[:, 1:]) - native.gate(own.states[:, 1:])).abs().max() < 1e-5
    # s_0 is the one state that no norm has seen yet: both read it through the norm, also beside pads.
    assert (ll.logits(traj, iterations=[0]) - ll.logits(own, iterations=[0]))[:, 0][MASK].abs().max() < 1e-4
    authors = load_file(standins.DATA / "ouro_random" / "reference.safetensors")["greedy"][0]
    gen = ll.generate(model, tokens=authors[None, :13], max_new_tokens=8, threshold=1.0)
    assert gen.tokens.tolist() == authors.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_a_padded_prompt_has_the_states_that_it_has_alone(name):
    model = ll.wrap(standins.make(name))
    batch = ll.capture(model, tokens=IDS, mask=MASK)
    alone = ll.capture(model, tokens=IDS[1:, :6])
    assert (batch.states[1, :, :6] - alone.states[0]).abs().max() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_the_module_is_as_before_also_after_an_exception_in_the_middle(name):
    module = standins.make(name)
    model, before = ll.wrap(module), as_before(module)

    def fail(state, at):
        if at.iteration == 2:
            raise RuntimeError("in the middle")

    ll.capture(model, tokens=IDS, iterations=9)
    assert as_before(module) == before
    with pytest.raises(RuntimeError, match="in the middle"):
        model.run(IDS, iterations=9, on_state=fail)
    assert as_before(module) == before
    assert model.iterations == {"raven": 6, "ouro": 4}[model.family]


@pytest.mark.parametrize("name", NAMES)
def test_a_stop_answers_from_there_and_a_replacement_goes_on_from_there(name):
    model = ll.wrap(standins.make(name))
    stopped = model.run(IDS, iterations=6, on_state=lambda s, at: ll.STOP if at == ll.At(2) else None)
    short = model.run(IDS, iterations=2)
    assert (stopped - short).abs().max() <= 1e-5 * (short.max() - short.min())
    states = ll.capture(model, tokens=IDS, iterations=6).states
    swapped = model.run(IDS, iterations=6, on_state=lambda s, at: states[:, 1] if at == ll.At(2) else None)
    once = model.run(IDS, iterations=5)
    assert (swapped - once).abs().max() <= 1e-5 * (once.max() - once.min())


def test_ouro_answers_from_the_last_iteration_also_where_its_own_answer_exits_early():
    module = standins.make("ouro")
    module.config.early_exit_threshold = 0.3
    model = ll.wrap(module)
    assert model.exit_threshold == 0.3
    assert torch.equal(model.run(IDS), own_answer(module, 4, None))
    assert not torch.allclose(model.run(IDS), module(IDS).logits, atol=1e-3)


def test_a_given_start_is_used_and_another_shape_is_refused():
    model = ll.wrap(standins.make("raven"))
    given = torch.randn(2, 9, 64)
    assert torch.equal(ll.capture(model, tokens=IDS, initial_state=given).states[:, 0], given)
    message = "expected initial_state of shape [2, 9, 64] [prompt, position, d_model], got [2, 4, 64]"
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"):
        model.run(IDS, initial_state=given[:, :4])


def test_the_count_is_kept_in_training_and_reaches_a_call_of_the_users_own():
    module = standins.make("raven").train()
    model = ll.wrap(module, call=lambda tokens, mask: module(tokens).logits)
    assert ll.capture(model, tokens=IDS, iterations=11).iterations == 11


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("test_time_noise", 0.1, "expected test_time_noise to be 0 in the config, got 0.1: set it to 0 to look inside"),
        ("injection_type", "add", "expected injection_type to be 'linear' in the config, got 'add': this variant of"),
    ],
)
def test_a_huginn_that_is_not_understood_is_refused_by_name(key, value, message):
    module = standins.make("raven")
    setattr(module.config, key, value)
    with pytest.raises(ModelError, match=f"^{re.escape(message)}"):
        ll.wrap(module)


class WithoutCount(standins.RavenForCausalLM):
    """A revision whose call takes no count."""

    def forward(self, input_ids, use_cache=False):
        return super().forward(input_ids)


def test_a_call_that_takes_no_count_is_refused():
    module = WithoutCount(standins.make("raven").config)
    message = "expected WithoutCount to take num_steps=, got a forward with input_ids, use_cache: load a revision"
    with pytest.raises(ModelError, match=f"^{re.escape(message)}"):
        ll.wrap(module)


class Early(standins.OuroModel):
    """An inner model that never iterates more than twice."""

    def forward(self, input_ids, **kwargs):
        self.total_ut_steps = min(self.total_ut_steps, 2)
        return super().forward(input_ids, **kwargs)


def test_a_module_that_stops_early_is_refused_with_both_numbers():
    module = standins.make("ouro")
    module.model.__class__ = Early
    message = "expected 4 iterations of 'OuroForCausalLM' (ouro), got 2: pass iterations=2, or switch its exit off"
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"):
        ll.capture(ll.wrap(module), tokens=IDS)
    assert ll.capture(ll.wrap(module), tokens=IDS, iterations=2).iterations == 2
