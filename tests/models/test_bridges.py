"""A TransformerLens bridge that the user already has: every iteration is kept, and the user's own hooks still fire."""

from __future__ import annotations

import re
import subprocess
import sys

import contract
import families
import pytest
import standins
import torch
import toys
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import latentlens as ll
from latentlens.errors import CaptureError, ModelError

IDS = torch.randint(3, 61, (2, 9), generator=torch.Generator().manual_seed(6))
MASK = torch.tensor([[True] * 9, [True] * 5 + [False] * 4])
# A bridge's name for the output that ends an iteration.
ENDS = {
    "raven": "core_block.1.hook_out",
    "raven_tuples": "core_block.1.hook_out",
    "ouro": "ln_final.hook_out",
    "hrm_text": "H_ln_final.hook_out",
    "llama": "blocks.{}.hook_out",
    "gpt2": "blocks.{}.hook_out",
    "gemma2": "blocks.{}.hook_out",
}
LOOPED = ("raven", "raven_tuples", "ouro", "hrm_text")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> PreTrainedTokenizerFast:
    """A fast tokenizer in a folder: a bridge asks for its name."""
    folder = tmp_path_factory.mktemp("words")
    toys.write_tokenizer(folder)
    PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token=".").save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def make(name, dtype=torch.float32):
    return (standins if name in standins.NAMES else families).make(name, dtype)


@pytest.fixture
def boot(tokenizer):
    from transformer_lens import TransformerBridge

    def boot(module):
        module.config.architectures = [type(module).__name__]
        dtype = next(module.parameters()).dtype
        return TransformerBridge.boot_transformers(
            "words", hf_model=module, tokenizer=tokenizer, device="cpu", dtype=dtype
        )

    return boot


def own_answer(bridge, name, iterations, start):
    """What the bridge itself says after so many iterations."""
    if name.startswith("raven"):
        return bridge(IDS, num_steps=iterations, input_states=start)
    if name == "ouro":
        bridge.original_model.model.total_ut_steps = iterations
        out = bridge(IDS, exit_at_step=iterations - 1, use_cache=False)
        bridge.original_model.model.total_ut_steps = 4
        return out
    if name == "hrm_text":
        before, bridge.original_model.config.H_cycles = bridge.original_model.config.H_cycles, iterations
        out = bridge(IDS, use_cache=False)
        bridge.original_model.config.H_cycles = before
        return out
    return bridge(IDS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ENDS)
def test_finish_is_the_bridges_own_answer_at_every_iteration(name, dtype, boot):
    bridge = boot(make(name, dtype))
    model = ll.wrap(bridge)
    traj = ll.capture(model, tokens=IDS, mask=MASK, layers=True)
    context = model.begin(IDS, mask=MASK)
    with torch.no_grad():
        for r in range(1, 1 + model.iterations) if name in LOOPED else [model.iterations]:
            own = own_answer(bridge, name, r, context.state)[MASK]
            contract.holds(f"{name}, bridge", model, model.finish(traj.states[:, r], context)[MASK], own)


@pytest.mark.parametrize("name", ENDS)
def test_a_bridge_has_the_states_and_the_fingerprint_of_the_module_in_it(name, boot):
    plain = ll.wrap(make(name))
    bridged = ll.wrap(boot(make(name)))
    own, traj = (ll.capture(m, tokens=IDS, layers=True) for m in (plain, bridged))
    scale = own.states.abs().max()
    assert (traj.states - own.states).abs().max() < 1e-5 * scale
    assert (traj.layer_states - own.layer_states).abs().max() < 1e-5 * scale
    # A bridge to GPT-2 splits a fused weight in three.
    assert (bridged.fingerprint == plain.fingerprint) is (name != "gpt2")


@pytest.mark.parametrize("name", LOOPED)
def test_every_iteration_is_kept_where_the_bridges_own_cache_keeps_the_last(name, boot):
    bridge = boot(make(name))
    model = ll.wrap(bridge)
    traj = ll.capture(model, tokens=IDS)
    extra = {"input_states": traj.states[:, 0]} if name.startswith("raven") else {}
    with torch.no_grad():
        _, cache = bridge.run_with_cache(IDS, **extra)
    assert traj.states.shape[1] == 1 + model.iterations
    assert (cache[ENDS[name]] - traj.states[:, -1]).abs().max() < 1e-5
    assert not torch.allclose(traj.states[:, -2], traj.states[:, -1], atol=1e-3)


@pytest.mark.parametrize("name", ENDS)
def test_the_users_own_hooks_fire_at_every_iteration_and_what_they_change_is_seen(name, boot):
    bridge = boot(make(name))
    model = ll.wrap(bridge)
    own = ll.capture(model, tokens=IDS)
    hooks = sorted({ENDS[name].format(i) for i in range(3)})
    seen: list[torch.Tensor] = []
    for hook in hooks:
        bridge.add_hook(hook, lambda out, hook: seen.append(out.clone()) and None)
    assert torch.equal(ll.capture(model, tokens=IDS).states, own.states)
    assert torch.equal(torch.stack(seen, dim=1), own.states[:, 1:])
    bridge.reset_hooks()
    bridge.add_hook(hooks[0], lambda out, hook: out * 0)
    changed = ll.capture(model, tokens=IDS).states
    assert (changed[:, 1] == 0).all()
    bridge.reset_hooks()
    assert torch.equal(ll.capture(model, tokens=IDS).states, own.states)
    assert len(seen) == model.iterations


@pytest.mark.parametrize("name", ["ouro", "hrm_text", "llama"])
def test_the_bridge_is_as_before_also_after_an_exception(name, boot):
    bridge = boot(make(name))
    model = ll.wrap(bridge)
    config, own = bridge.original_model.config.to_dict(), bridge(IDS)
    hooks = {n: len(m._forward_hooks) + len(m._forward_pre_hooks) for n, m in bridge.original_model.named_modules()}

    def fail(state, at):
        if at.iteration == 2:
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        model.run(IDS, on_state=fail)
    assert bridge.original_model.config.to_dict() == config
    assert hooks == {
        n: len(m._forward_hooks) + len(m._forward_pre_hooks) for n, m in bridge.original_model.named_modules()
    }
    assert torch.equal(bridge(IDS), own)


def test_a_bridge_whose_weights_were_folded_is_read_as_it_is_now(boot):
    bridge = boot(make("gpt2"))
    bridge.enable_compatibility_mode()
    traj = ll.capture(ll.wrap(bridge), tokens=IDS)
    assert torch.allclose(ll.logits(traj, iterations=[3])[:, 0], bridge(IDS), atol=1e-5)


def test_prompts_go_through_the_bridges_tokenizer(boot, tokenizer):
    traj = ll.capture(ll.wrap(boot(make("llama"))), "a b c")
    assert traj.tokens[0].tolist() == tokenizer("a b c", add_special_tokens=False)["input_ids"]


def test_a_bridge_of_an_unknown_architecture_is_refused_and_can_be_wrapped_by_name(boot):
    module = LlamaForCausalLM(LlamaConfig(**families.BASE, num_hidden_layers=2, num_key_value_heads=2))
    module.config.model_type = "novel"
    bridge = boot(module)
    message = (
        "expected a bridge of a known family, got LlamaForCausalLM (model_type 'novel'): say where its loop is with "
        'll.wrap(bridge, loop="...", norm="...", unembed="..."), by the names in bridge.original_model'
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        ll.wrap(bridge)
    model = ll.wrap(bridge, loop="model.layers.1", norm="model.norm", unembed="lm_head")
    assert torch.allclose(model.run(IDS), bridge(IDS), atol=1e-6)


def test_a_bridge_to_a_model_elsewhere_is_refused():
    from transformer_lens.model_bridge.remote_bridge import RemoteBridge

    class Elsewhere(RemoteBridge):
        def __init__(self) -> None:
            self._driver = None

    message = "expected a bridge with a torch module inside, got Elsewhere to a model that runs somewhere else: boot it"
    with pytest.raises(ModelError, match=f"^{re.escape(message)}"):
        ll.wrap(Elsewhere())


def test_a_wrong_number_of_iterations_is_refused(boot):
    message = "expected iterations=3 for 'LlamaForCausalLM' (decoder), got 5: its number of iterations is fixed"
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}"):
        ll.capture(ll.wrap(boot(make("llama"))), tokens=IDS, iterations=5)


def test_wrapping_a_module_does_not_import_transformer_lens():
    code = (
        "import sys, torch, latentlens as ll\n"
        "model = torch.nn.ModuleDict({'core': torch.nn.Linear(2, 2), 'head': torch.nn.Linear(2, 3)})\n"
        "ll.wrap(model, loop='core', unembed='head', iterations=1)\n"
        "print('transformer_lens' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
