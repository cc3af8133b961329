"""Inkling 2 Loop beyond the contract that all families share: block states, no passes, refusals, interventions."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import contract
import families
import pytest
import torch
from torch import nn

import latentlens as ll
from latentlens.errors import CaptureError

IDS = torch.randint(3, 61, (2, 9), generator=torch.Generator().manual_seed(1))
CONFIG = families.INKLING
START, STOP = CONFIG["loop_layer_index_start"], CONFIG["loop_layer_index_end"]


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return families.make("inkling2_loop")


@pytest.fixture(scope="module")
def traj(module):
    return ll.capture(ll.wrap(module), tokens=IDS, iterations=6)


def answer(module: nn.Module, passes: int, tokens: torch.Tensor = IDS) -> torch.Tensor:
    """What the module says by itself after so many passes."""
    before, module.config.loop_num_passes = module.config.loop_num_passes, passes
    try:
        with torch.no_grad():
            return module(tokens, use_cache=False).logits
    finally:
        module.config.loop_num_passes = before


def off(said: torch.Tensor, own: torch.Tensor) -> float:
    return float((said - own).abs().max() / (own.max() - own.min()))


def test_state_and_block_states_are_what_the_layers_after_the_loop_are_handed(module, traj):
    handed: list[tuple[torch.Tensor, torch.Tensor]] = []
    handle = module.model.layers[STOP].register_forward_pre_hook(lambda _, args: handed.append(args[:2]))
    for passes in range(1, 7):
        answer(module, passes)
    handle.remove()
    assert sorted(traj.aux) == ["block.0", "block.1"]
    for r, (hidden, blocks) in enumerate(handed, start=1):
        assert torch.equal(traj.states[:, r], hidden)
        kept = [traj.states[:, 0], traj.aux["block.0"][:, r - 1], traj.aux["block.1"][:, r - 1]]
        assert torch.equal(blocks[..., 1:, :], torch.stack(kept, dim=-2))
        assert torch.equal(blocks[..., 0, :], handed[0][1][..., 0, :])


def test_the_answers_differ_from_pass_to_pass_so_that_the_contract_says_something(module):
    own = [answer(module, passes) for passes in range(1, 5)]
    assert all(off(a, b) > 1e-3 for a, b in pairwise(own))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_iteration_is_decoded_as_the_models_own_answer_also_beyond_its_own_number(dtype):
    module = families.make("inkling2_loop", dtype)
    model = ll.wrap(module)
    said = ll.logits(ll.capture(model, tokens=IDS, iterations=6))
    assert said.dtype == torch.float32
    for r in range(1, 7):
        contract.holds("inkling2_loop", model, said[:, r], answer(module, r))


def test_no_passes_is_the_model_without_its_looped_layers(module, traj):
    from transformers.models.inkling2_loop import Inkling2LoopForCausalLM, Inkling2LoopTextConfig

    gone = STOP - START
    options = CONFIG | {
        "num_hidden_layers": CONFIG["num_hidden_layers"] - gone,
        "layer_types": CONFIG["layer_types"][gone:],
        "loop_layer_index_end": START,
        "loop_num_passes": 1,
    }
    short = Inkling2LoopForCausalLM(Inkling2LoopTextConfig(**options)).eval()
    tensors = {}
    for name, tensor in module.state_dict().items():
        found = re.match(r"model\.layers\.(\d+)\.", name)
        number = int(found[1]) if found else -1
        if (found and START <= number < STOP) or "message_input" in name:
            continue
        place = f"model.layers.{number - gone}." if number >= STOP else f"model.layers.{number}."
        tensors[place + name[found.end() :] if found else name] = tensor
    missing = short.load_state_dict(tensors, strict=False)
    assert missing.missing_keys == ["model.message_input.query"]
    assert missing.unexpected_keys == []
    with torch.no_grad():
        own = short(IDS, use_cache=False).logits
    assert off(ll.logits(traj, iterations=[0])[:, 0], own) <= 1e-5
    assert len(module.model.layers) == CONFIG["num_hidden_layers"]


def test_a_state_is_found_among_those_of_another_batch(module, traj):
    model = ll.wrap(module)
    context = model.begin(IDS[:1])
    with torch.no_grad():
        for r in range(1, 5):
            assert off(model.finish(traj.states[:1, r], context), answer(module, r)[:1]) <= 1e-5


@pytest.mark.parametrize(("iteration", "where"), [(None, "one of iterations 0 to 4"), (3, "iteration 3")])
def test_a_state_that_is_not_of_its_own_run_is_refused(module, traj, iteration, where):
    model = ll.wrap(module)
    context = replace(model.begin(IDS), iteration=iteration)
    message = (
        f"expected the state that 'Inkling2LoopForCausalLM' (inkling2_loop) itself has after {where} of these tokens, "
        'got another: what follows its loop reads more than the state; replace states during a run, or use lens="logit"'
    )
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"), torch.no_grad():
        model.finish(traj.states[:, 3].roll(1, dims=0), context)


def test_a_state_of_another_iteration_than_it_is_said_to_be_of_is_refused(module, traj):
    model = ll.wrap(module)
    with pytest.raises(CaptureError, match="has after iteration 2 of these tokens, got another"), torch.no_grad():
        model.finish(traj.states[:, 1], replace(model.begin(IDS), iteration=2))


@pytest.mark.parametrize(
    "where", [ll.At(0), ll.At(1), ll.At(2, 1), ll.At(2, 2), ll.At(3, "block.0"), ll.At(3, "block.1"), ll.At(3, 5)]
)
def test_stopping_answers_as_a_run_of_that_many_passes_with_the_same_replacement(module, where):
    model = ll.wrap(module)
    noise = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(2))

    def disturb(state: torch.Tensor, at: ll.At) -> torch.Tensor | None:
        return state + noise if at == where else None

    def stop(state: torch.Tensor, at: ll.At) -> object:
        return ll.STOP if at == ll.At(3) else disturb(state, at)

    with torch.no_grad():
        whole = model.run(IDS, iterations=3, on_state=disturb)
        assert off(model.run(IDS, iterations=5, on_state=stop), whole) <= 1e-5
        assert off(whole, answer(module, 3)) > 1e-3


def test_stopping_before_the_first_pass_is_an_answer_after_none(module, traj):
    with torch.no_grad():
        said = ll.wrap(module).run(IDS, on_state=lambda state, at: ll.STOP)
    assert torch.equal(said, ll.logits(traj, iterations=[0])[:, 0])


def test_a_loop_of_one_block_has_no_block_states_of_its_own():
    from transformers.models.inkling2_loop import Inkling2LoopForCausalLM, Inkling2LoopTextConfig

    options = CONFIG | {"num_hidden_layers": 4, "layer_types": CONFIG["layer_types"][:4], "loop_layer_index_end": 4}
    module = Inkling2LoopForCausalLM(Inkling2LoopTextConfig(**options)).eval()
    traj = ll.capture(ll.wrap(module), tokens=IDS, iterations=3)
    assert traj.aux == {}
    assert off(ll.logits(traj, iterations=[2])[:, 0], answer(module, 2)) <= 1e-5


def test_the_model_that_sees_images_too_is_run_on_text():
    from transformers.models.inkling2_loop import Inkling2LoopConfig, Inkling2LoopForConditionalGeneration

    torch.manual_seed(0)
    vision = {"model_type": "inkling2_vision", "text_hidden_size": 32}
    config = Inkling2LoopConfig(text_config=CONFIG, vision_config=vision, image_token_id=2)
    with torch.device("meta"):
        module = Inkling2LoopForConditionalGeneration(config)
    del module.model.vision_tower  # it has no part in a text, and is large
    module = module.to_empty(device="cpu").eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.2)
    model = ll.wrap(module)
    assert (model.iterations, model.n_layers, model.d_model, model.vocab_size) == (4, 6, 32, 61)
    traj = ll.capture(model, tokens=IDS, iterations=2)
    own = []
    for passes in (1, 2):
        config.text_config.loop_num_passes = passes
        with torch.no_grad():
            own.append(module(IDS, use_cache=False).logits)
    config.text_config.loop_num_passes = 4
    said = ll.logits(traj, iterations=[1, 2])
    assert max(off(said[:, 0], own[0]), off(said[:, 1], own[1])) <= 1e-5


def test_a_saved_folder_is_loaded_and_named(module, tmp_path):
    module.save_pretrained(tmp_path)
    model = ll.load(str(tmp_path))
    assert model.family == "inkling2_loop"
    with torch.no_grad():
        assert off(model.run(IDS, iterations=3), answer(module, 3)) <= 1e-5
