"""Huginn's architecture against the authors' own numbers, and the contract that every family keeps."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import contract
import pytest
import torch
from safetensors.torch import load_file, save_file
from toys import change_config

import latentlens as ll
from latentlens.errors import CaptureError, ModelError

IDS = torch.randint(0, 256, (3, 11), generator=torch.Generator().manual_seed(1))


def states_of(model, ids, iterations, **options):
    kept = []
    logits = model.run(
        ids, iterations=iterations, on_state=lambda s, at: kept.append(s) if at.layer is None else None, **options
    )
    return torch.stack(kept), logits


def test_states_and_both_readouts_are_the_authors_own_at_every_iteration(raven, reference):
    states, logits = states_of(raven, reference["ids"], 16, initial_state=reference["states"][0])
    context = raven.begin(reference["ids"], initial_state=reference["states"][0])
    coda = torch.stack([raven.finish(state, context) for state in states])
    assert (context.inputs - reference["prelude"]).abs().max() < 1e-4
    assert (states - reference["states"]).abs().max() < 1e-4
    assert (coda - reference["coda_logits"]).abs().max() < 1e-4
    assert (raven.unembed(raven.norm(states)) - reference["lnf_logits"]).abs().max() < 1e-4
    assert (logits - reference["coda_logits"][-1]).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_finish_is_what_the_model_says_after_that_many_iterations(folder, dtype):
    model = ll.load(str(folder), dtype=dtype)
    traj = ll.capture(model, tokens=IDS, iterations=5)
    assert traj.states.dtype == model.dtype
    context = model.begin(IDS)
    for r in range(1, 6):
        own = model.run(IDS, iterations=r)
        contract.holds("raven, native", model, model.finish(traj.states[:, r], context), own)


def test_a_prompt_has_the_same_states_alone_and_in_a_padded_batch(raven):
    mask = torch.tensor([[True] * 11, [True] * 7 + [False] * 4, [True] * 4 + [False] * 7])
    batch = ll.capture(raven, tokens=IDS, mask=mask, iterations=8)
    for row, length in enumerate([11, 7, 4]):
        alone = ll.capture(raven, tokens=IDS[row : row + 1, :length], iterations=8)
        assert (batch.states[row, :, :length] - alone.states[0]).abs().max() < 1e-4
        assert (batch.states[row, :, length:] == 0).all()


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(raven):
    first, again, other = (ll.capture(raven, tokens=IDS, iterations=4, seed=s).states for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("length", [1, 2, 7, 10])
def test_the_start_depends_on_seed_and_position_alone(raven, length):
    whole, part = raven.begin(IDS, seed=5).state, raven.begin(IDS[:2, :length], seed=5).state
    assert torch.equal(whole[:2, :length], part)
    assert torch.equal(whole[0], whole[1])


def test_the_start_is_a_normal_cut_at_three_standard_deviations(raven):
    like = torch.zeros(1, 4096, 64)
    state = raven.start(like, seed=0) / (raven.config.state_std * raven.config.embed_scale)
    assert 2.9 < state.abs().max() <= 3.0
    # A unit normal cut at 3 has standard deviation sqrt(1 - 2 * 3 phi(3) / (2 Phi(3) - 1)) = 0.98658.
    assert state.std().item() == pytest.approx(0.98658, abs=0.005)
    assert state.mean().item() == pytest.approx(0, abs=0.01)


def test_stop_answers_from_the_state_it_was_said_at(raven):
    def stop_at_two(state, at):
        return ll.STOP if at == ll.At(2) else None

    assert torch.equal(raven.run(IDS, iterations=9, on_state=stop_at_two), raven.run(IDS, iterations=2))


def test_a_returned_state_replaces_the_models_own(raven):
    given = torch.randn(3, 11, 64)
    swapped = raven.run(IDS, iterations=5, on_state=lambda s, at: given if at == ll.At(2) else None)
    assert torch.equal(swapped, raven.run(IDS, iterations=3, initial_state=given))


def test_a_stop_within_an_iteration_is_refused(raven):
    message = (
        "expected STOP at the end of an iteration, got it at layer 0 of iteration 1: return it where at.layer is None"
    )
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"):
        raven.run(IDS, iterations=2, on_state=lambda s, at: ll.STOP if at.layer == 0 else None)


def test_a_replacement_of_another_shape_is_refused(raven):
    message = "expected on_state to return None, STOP or a tensor of shape [3, 11, 64] at iteration 0, got [2]"
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"):
        raven.run(IDS, iterations=2, on_state=lambda s, at: torch.zeros(2))


def test_layers_are_announced_in_order_and_the_last_is_the_state(raven):
    seen = []
    raven.run(IDS, iterations=2, on_state=lambda s, at: seen.append((at, s)) and None)
    assert [at for at, _ in seen] == [(0, None), (1, 0), (1, 1), (1, None), (2, 0), (2, 1), (2, None)]
    assert torch.equal(seen[2][1], seen[3][1])


def test_transformer_lens_hooks_see_every_iteration_and_its_cache_keeps_the_last(raven):
    numbers, states = [], []

    def keep(state, hook):
        numbers.append(hook.ctx["iteration"])
        states.append(state)

    raven.run_with_hooks(IDS, iterations=4, fwd_hooks=[("hook_state", keep)])
    own = ll.capture(raven, tokens=IDS, iterations=4).states
    assert numbers == [0, 1, 2, 3, 4]
    assert torch.equal(torch.stack(states, dim=1), own)
    logits, cache = raven.run_with_cache(IDS, iterations=4)
    assert torch.equal(cache["hook_state"], own[:, -1])
    assert torch.equal(logits, raven.run(IDS, iterations=4))


def test_two_threads_do_not_mix_their_states(raven):
    ids = [IDS[:1], IDS[1:2]]
    own = [ll.capture(raven, tokens=i, iterations=12, progress=False).states for i in ids]
    got: dict[int, torch.Tensor] = {}

    def work(number: int) -> None:
        for _ in range(5):
            got[number] = ll.capture(raven, tokens=ids[number], iterations=12, progress=False).states

    threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(got[0], own[0])
    assert torch.equal(got[1], own[1])


def test_embeddings_may_be_given_in_place_of_tokens(raven):
    assert torch.equal(raven.run(embeds=raven.embed(IDS), iterations=3), raven.run(IDS, iterations=3))


def test_a_prompt_longer_than_the_block_is_refused(raven):
    with pytest.raises(CaptureError, match=r"^expected at most 96 tokens \(the model's block_size\), got 97"):
        raven.run(torch.zeros(1, 97, dtype=torch.int64))


def test_an_untied_head_and_shards_load(folder, raven):
    tensors = load_file(folder / "model.safetensors")
    head = torch.randn(256, 64)
    (folder / "model.safetensors").unlink()
    tensors["lm_head.weight"] = head
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[:20], "model-00002-of-00002.safetensors": names[20:]}
    for file, keys in shards.items():
        save_file({key: tensors[key] for key in keys}, folder / file)
    weight_map = {key: file for file, keys in shards.items() for key in keys}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    change_config(folder, tie_embeddings=False, torch_dtype=None)
    model = ll.load(str(folder))
    kept = []
    logits = model.run(IDS, iterations=3, on_state=lambda s, at: kept.append(s) and None)
    assert torch.equal(kept[-1], states_of(raven, IDS, 3)[0][-1])
    assert torch.equal(model.lm_head.weight, head)
    assert not torch.equal(logits, raven.run(IDS, iterations=3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"injection_type": "gate"}, "expected injection_type to be 'linear' in the config, got 'gate'"),
        ({"bias": True}, "expected bias to be False in the config, got True"),
        ({"nonlin_name": "ReLU"}, "expected nonlin_name to be 'SiLU' in the config, got 'ReLU'"),
        ({"test_time_noise": 0.1}, "expected test_time_noise to be 0 or None in the config, got 0.1"),
        ({"norm_class_name": "LayerNorm"}, "expected norm_class_name to be"),
        ({"n_embd": "64"}, "expected n_embd to be a whole number of 1 or more in the config, got '64'"),
        ({"num_key_value_heads": 2}, "expected num_key_value_heads to be 4 in the config, got 2"),
        ({"intermediate_size": 96}, "expected transformer.coda.0.mlp.fc.weight of shape [192, 64]"),
        ({"n_layers_in_coda": 2}, "expected the tensor transformer.coda.1.attn.Wqkv.weight in"),
        ({"n_layers_in_coda": 1, "tie_embeddings": False}, "expected the tensor lm_head.weight in"),
        ({"qk_bias": False}, "expected only known tensors in"),
        ({"model_type": "gpt9"}, "expected model_type to be one of huginn_raven, raven, ouro, dory"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(folder: Path, change, message):
    change_config(folder, **change)
    with pytest.raises(ModelError, match=f"^{re.escape(message)}"):
        ll.load(str(folder))


def test_inert_keys_of_a_config_are_ignored(folder):
    change_config(folder, torch_dtype=None, use_cache=True, anything_else={"a": 1})
    assert ll.load(str(folder)).dtype == torch.float32


def test_the_fingerprint_changes_with_the_weights_and_not_without(folder):
    model = ll.load(str(folder))
    before, kept = model.fingerprint, model.transformer.ln_f.weight.clone()
    assert model.fingerprint == before == ll.load(str(folder)).fingerprint
    with torch.no_grad():
        model.transformer.ln_f.weight += 1
    changed = model.fingerprint
    assert changed != before
    with torch.no_grad():
        model.transformer.ln_f.weight.copy_(kept)
    assert model.fingerprint == before
