"""The contract of every family that is looked into through hooks: `finish(s_r)` is the model's own answer after r."""

from __future__ import annotations

import re
import threading

import contract
import families
import pytest
import torch
from torch import nn

import latentlens as ll
from latentlens.errors import CaptureError, ModelError

IDS = torch.randint(3, 61, (2, 9), generator=torch.Generator().manual_seed(1))
MASK = torch.tensor([[True] * 9, [True] * 6 + [False] * 3])
LOOPED = ("dory", "hrm_text", "inkling2_loop", "albert")


def own_answer(module: nn.Module, field: str | None, count: int, mask: torch.Tensor | None = None) -> torch.Tensor:
    """What the module says by itself after `count` iterations, with nothing of latentlens in the way."""
    if field is not None:
        before, _ = getattr(module.config, field), setattr(module.config, field, count)
    extra = {} if mask is None else {"attention_mask": mask.long()}
    try:
        with torch.no_grad():
            return (
                module(IDS, use_cache=False, **extra).logits
                if "cache" in str(type(module).forward.__doc__)
                else module(IDS, **extra).logits
            )
    finally:
        if field is not None:
            setattr(module.config, field, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", families.FAMILIES)
def test_finish_is_the_models_own_answer_at_every_iteration_that_it_can_make(name, dtype):
    module = families.make(name, dtype)
    model = ll.wrap(module)
    traj = ll.capture(model, tokens=IDS, mask=MASK, layers=True)
    assert traj.states.dtype == dtype
    context = model.begin(IDS, mask=MASK)
    counts = range(1, model.iterations + 1) if name in LOOPED else [model.iterations]
    for r in counts:
        own = own_answer(module, model.spec.count, r, MASK if model.spec.bidirectional else None)[MASK]
        with torch.no_grad():
            contract.holds(name, model, model.finish(traj.states[:, r], context)[MASK], own)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_states_are_those_of_hooks_set_by_hand(name):
    module = families.make(name)
    model = ll.wrap(module)
    by_hand: list[torch.Tensor] = []
    for path in dict.fromkeys(model.spec.states):
        module.get_submodule(path).register_forward_hook(
            lambda m, a, out: by_hand.append((out if isinstance(out, torch.Tensor) else out[0]).clone())
        )
    own_answer(module, None, 0)
    expected = torch.stack(by_hand, dim=1)
    traj = ll.capture(model, tokens=IDS)
    assert torch.equal(traj.states[:, 1:], expected)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_padded_prompt_has_the_states_that_it_has_alone(name):
    model = ll.wrap(families.make(name))
    batch = ll.capture(model, tokens=IDS, mask=MASK)
    alone = ll.capture(model, tokens=IDS[1:, :6])
    scale = alone.states.abs().max()
    assert (batch.states[1, :, :6] - alone.states[0]).abs().max() < 1e-4 * max(scale, 1)


@pytest.mark.parametrize("name", LOOPED)
def test_the_start_is_what_the_family_says(name):
    module = families.make(name)
    start = ll.capture(ll.wrap(module), tokens=IDS).states[:, 0]
    with torch.no_grad():
        if name == "albert":
            expected = module.albert.encoder.embedding_hidden_mapping_in(module.albert.embeddings(IDS))
        elif name == "hrm_text":
            expected = module.model.embed_tokens(IDS) * 5.0
        else:
            kept = []
            handle = module.model.layers[1].register_forward_hook(lambda m, a, out: kept.append(out))
            module(IDS, use_cache=False)
            handle.remove()
            expected = kept[0]
    assert torch.equal(start, expected)


@pytest.mark.parametrize("name", LOOPED)
def test_the_number_of_iterations_can_be_chosen_and_the_config_comes_back(name):
    module = families.make(name)
    model = ll.wrap(module)
    before = module.config.to_dict()
    traj = ll.capture(model, tokens=IDS, iterations=2)
    longer = ll.capture(model, tokens=IDS, iterations=7)
    assert (traj.iterations, longer.iterations) == (2, 7)
    assert torch.equal(longer.states[:, :3], traj.states)
    assert module.config.to_dict() == before


def test_a_decoder_refuses_another_number_of_iterations():
    model = ll.wrap(families.make("llama"))
    message = (
        "expected iterations=3 for 'LlamaForCausalLM' (decoder), got 5: its number of iterations is fixed, leave it out"
    )
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"):
        ll.capture(model, tokens=IDS, iterations=5)


@pytest.mark.parametrize("name", ["dory", "inkling2_loop", "llama"])
def test_hooks_and_config_are_as_before_also_after_an_exception_in_the_middle(name):
    module = families.make(name)
    model = ll.wrap(module)
    before = module.config.to_dict()

    def fail(state, at):
        if at.iteration == 2:
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        model.run(IDS, iterations=model.iterations, on_state=fail)
    assert module.config.to_dict() == before
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in module.modules())
    assert torch.equal(model.run(IDS), own_answer(module, None, 0))


@pytest.mark.parametrize("name", LOOPED)
def test_a_stop_answers_from_there_and_a_replacement_goes_on_from_there(name):
    model = ll.wrap(families.make(name))
    with torch.no_grad():
        stopped = model.run(IDS, on_state=lambda s, at: ll.STOP if at == ll.At(2) else None)
        short = model.run(IDS, iterations=2)
        states = ll.capture(model, tokens=IDS).states
        swapped = model.run(IDS, on_state=lambda s, at: states[:, 1] if at == ll.At(2) else None)
    spread = short.max() - short.min()
    assert (stopped - short).abs().max() <= 1e-5 * spread
    assert (swapped - model.run(IDS)).abs().max() > 1e-3 * spread


def test_two_threads_on_one_module_do_not_mix():
    model = ll.wrap(families.make("dory"))
    own = [ll.capture(model, tokens=IDS[i : i + 1], progress=False).states for i in (0, 1)]
    got: dict[int, list[torch.Tensor]] = {0: [], 1: []}

    def work(number: int) -> None:
        for _ in range(5):
            got[number].append(ll.capture(model, tokens=IDS[number : number + 1], progress=False).states)

    threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(state, own[n]) for n in (0, 1) for state in got[n])


def test_both_timescales_of_hrm_are_kept():
    module = families.make("hrm_text")
    low: list[torch.Tensor] = []
    module.model.L_module.register_forward_hook(lambda m, a, out: low.append(out.clone()))
    traj = ll.capture(ll.wrap(module), tokens=IDS)
    assert sorted(traj.aux) == ["z_L.0", "z_L.1", "z_L.2"]
    for call, state in enumerate(low):
        assert torch.equal(traj.aux[f"z_L.{call % 3}"][:, call // 3], state)


def test_layers_are_kept_in_their_order():
    module = families.make("dory")
    outs: dict[int, list[torch.Tensor]] = {2: [], 3: [], 4: []}
    for number, kept in outs.items():
        module.model.layers[number].register_forward_hook(lambda m, a, out, kept=kept: kept.append(out.clone()))
    traj = ll.capture(ll.wrap(module), tokens=IDS, layers=True)
    for layer, number in enumerate((2, 3, 4)):
        assert torch.equal(traj.layer_states[:, :, layer], torch.stack(outs[number], dim=1))


def test_several_layer_groups_are_no_loop():
    module = families.make("albert")
    module.config.num_hidden_groups = 2
    with pytest.raises(ModelError, match=r"^expected num_hidden_groups to be 1 in the config, got 2"):
        ll.wrap(module)


class Homemade(nn.Module):
    """A module that somebody wrote an hour ago."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.core, self.norm = nn.Embedding(13, 6), nn.Linear(6, 6), nn.LayerNorm(6)
        self.head = nn.Linear(6, 13)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        state = self.embed(tokens)
        for _ in range(5):
            state = state + torch.tanh(self.core(state))
        return self.head(self.norm(state))


def test_a_homemade_module_is_wrapped_by_naming_its_parts():
    torch.manual_seed(0)
    module = Homemade()
    model = ll.wrap(module, loop="core", norm="norm", unembed="head")
    traj = ll.capture(model, tokens=[[1, 2, 3]])
    assert (model.iterations, model.d_model, model.vocab_size) == (5, 6, 13)
    assert traj.states.shape == (1, 6, 3, 6)
    with torch.no_grad():
        expected = module(torch.tensor([[1, 2, 3]]))
    assert torch.allclose(ll.logits(traj, iterations=[5])[0, 0], expected[0], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected a module of a known family, got Homemade (model_type None): say where its loop is with ll.wrap("),
        ({"loop": "cor", "unembed": "head"}, "expected a module named 'cor', got none in Homemade: near are core"),
        ({"loop": "core"}, "expected unembed= beside loop=, got none: name the module that makes logits"),
        ({"norm": "norm"}, "expected a module of a known family, got Homemade"),
        ({"loop": "core", "unembed": "head", "tokenizer": object()}, "expected a fast tokenizer (of the tokenizers library), got object"),
    ],
)  # fmt: skip
def test_a_wrong_name_lists_the_nearest_modules(options, message):
    with pytest.raises(ModelError, match=f"^{re.escape(message)}"):
        ll.wrap(Homemade(), **options)


def test_what_a_hooked_model_cannot_do_is_refused_with_the_reason():
    model = ll.wrap(families.make("dory"))
    with pytest.raises(
        CaptureError, match=r"^expected no initial_state for 'DoryForCausalLM' \(dory\), got one: its s_0"
    ):
        ll.capture(model, tokens=IDS, initial_state=torch.zeros(2, 9, 32))
    with pytest.raises(CaptureError, match=r"^expected a model that can step, got 'DoryForCausalLM' \(dory\)"):
        model.step(torch.zeros(1), model.begin(IDS))
    with pytest.raises(CaptureError, match=r"^expected tokens for 'DoryForCausalLM' \(dory\), got embeds"):
        model.run(embeds=torch.zeros(1, 1, 32))


def test_wrapping_does_not_copy_the_weights():
    module = families.make("llama")
    assert ll.wrap(module).module is module


@pytest.mark.parametrize("name", families.DECODERS)
def test_a_decoder_whose_layers_are_repeated_is_itself_at_one_iteration(name):
    module = families.make(name)
    model = ll.wrap(module, repeat=f"{ll.wrap(module).spec.states[0].rpartition('.')[0]}[1:2]")
    own = own_answer(module, None, 0)
    assert torch.equal(model.run(IDS, iterations=1), own)
    assert model.iterations == 1
    traj = ll.capture(model, tokens=IDS, iterations=4)
    assert traj.iterations == 4
    assert torch.equal(own_answer(module, None, 0), own)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3_text", "gpt2"])
def test_repeating_a_span_is_running_its_layers_again(name):
    module = families.make(name)
    home = ll.wrap(module).spec.states[0].rpartition(".")[0]
    model = ll.wrap(module, repeat=f"{home}[0:2]")
    twice = ll.capture(model, tokens=IDS, iterations=2)
    with torch.no_grad():
        fed = model.run(IDS, iterations=1, on_state=lambda s, at: twice.states[:, 1] if at == ll.At(0) else None)
        for r in (1, 2):
            said, own = model.finish(twice.states[:, r], model.begin(IDS)), model.run(IDS, iterations=r)
            contract.holds(f"{name}, repeated", model, said, own)
    assert torch.allclose(fed, model.run(IDS, iterations=2), atol=1e-4)


@pytest.mark.parametrize("repeat", ["model.layers[2:1]", "model.layers[0:9]", "model.layers", "model.norm[0:1]"])
def test_a_span_that_is_not_there_is_refused(repeat):
    with pytest.raises(ModelError, match=r"^expected repeat= to name layers (of a decoder, such as|from 0 to 3)"):
        ll.wrap(families.make("llama"), repeat=repeat)
