"""Latent chain of thought: every state is the one of a loop written by hand with `inputs_embeds`, and answers as it does."""

from __future__ import annotations

import re

import contract
import families
import pytest
import torch
from torch import Tensor, nn

import latentlens as ll
from latentlens.errors import CaptureError
from latentlens.models.latent_cot import LatentThoughts

IDS = torch.randint(3, 61, (2, 7), generator=torch.Generator().manual_seed(4))
LATENTS = 3
NORMS = {"llama": "model.norm", "gpt2": "transformer.ln_f", "gemma2": "model.norm", "dory": "model.norm"}


def by_hand(name: str, module: nn.Module, ids: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Normed states and logits at the last position after 0, 1 ... latents, and the embeddings that led there."""
    normed: list[Tensor] = []
    handle = module.get_submodule(NORMS[name]).register_forward_hook(lambda m, a, out: normed.append(out))
    embeds, states, logits = module.get_input_embeddings()(ids), [], []
    for _ in range(LATENTS + 1):
        logits.append(module(inputs_embeds=embeds, use_cache=False).logits[:, -1])
        states.append(normed[-1][:, -1])
        fed, embeds = embeds, torch.cat([embeds, states[-1][:, None]], dim=1)
    handle.remove()
    return states, torch.stack(logits, dim=1), fed


def longest(seen: list[Tensor]) -> Tensor:
    return max(seen, key=lambda states: states.shape[1])


def off(said: Tensor, own: Tensor) -> float:
    return float((said - own).float().abs().max() / (own.max() - own.min()).float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NORMS)
def test_states_and_answers_are_those_of_a_loop_written_by_hand(name, dtype):
    module = families.make(name, dtype)
    traj = ll.latent_cot(ll.wrap(module), tokens=IDS, latents=LATENTS)
    model = traj.needs_model()
    with torch.no_grad():
        states, logits, _ = by_hand(name, module, IDS)
    assert traj.states.shape == (2, LATENTS + 1, 1, 32)
    assert traj.states.dtype == dtype
    assert torch.equal(traj.states[:, :, 0], torch.stack(states, dim=1))
    for lens in ("coda", "logit"):
        contract.holds(f"latent_cot over {name}", model, ll.logits(traj, lens=lens)[:, :, 0], logits)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_the_last_state_is_what_the_models_own_generate_goes_on_from(name):
    module = families.make(name)
    out = ll.decode(ll.latent_cot(ll.wrap(module), tokens=IDS[:1], latents=LATENTS), top_k=1)
    with torch.no_grad():
        fed = by_hand(name, module, IDS[:1])[2]
        written = module.generate(inputs_embeds=fed, max_new_tokens=1, do_sample=False)
    assert int(out.top_token[0, -1, 0, 0]) == int(written[0, -1])


@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3_text"])
def test_what_is_fed_back_is_the_embedding_as_the_first_layer_sees_it(name):
    module = families.make(name)
    seen: list[Tensor] = []

    def keep(layer: nn.Module, args: tuple, kwargs: dict) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    handle = module.model.layers[0].register_forward_pre_hook(keep, with_kwargs=True)
    traj = ll.latent_cot(ll.wrap(module), tokens=IDS, latents=LATENTS)
    handle.remove()
    assert torch.equal(longest(seen)[:, 7:], traj.states[:, :LATENTS, 0])
    with torch.no_grad():
        assert torch.equal(longest(seen)[:, :7], module.get_input_embeddings()(IDS))


def test_gpt2_adds_its_position_embedding_to_what_is_fed_back():
    module = families.make("gpt2")
    seen: list[Tensor] = []
    handle = module.transformer.h[0].register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    traj = ll.latent_cot(ll.wrap(module), tokens=IDS, latents=LATENTS)
    handle.remove()
    expected = traj.states[:, :LATENTS, 0] + module.transformer.wpe.weight[7 : 7 + LATENTS]
    assert torch.allclose(longest(seen)[:, 7:], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "hrm_text", "inkling2_loop"])
def test_a_padded_prompt_thinks_as_it_does_alone(name):
    model = ll.wrap(families.make(name))
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    batch = ll.latent_cot(model, tokens=IDS, mask=mask, latents=LATENTS)
    alone = ll.latent_cot(model, tokens=IDS[1:, :4], latents=LATENTS)
    assert (batch.states[1] - alone.states[0]).abs().max() < 1e-4 * max(alone.states.abs().max(), 1)
    assert batch.tokens.tolist() == [[int(IDS[0, 6])], [int(IDS[1, 3])]]
    assert batch.aux["prompt_tokens"].tolist() == [IDS[0].tolist(), [*IDS[1, :4].tolist(), -1, -1, -1]]


@pytest.mark.parametrize("name", [n for n in families.FAMILIES if n != "albert"])
def test_s_0_answers_as_the_model_itself_does_at_the_prompts_last_token(name):
    module = families.make(name)
    said = ll.logits(ll.latent_cot(ll.wrap(module), tokens=IDS, latents=1), iterations=[0])[:, 0, 0]
    with torch.no_grad():
        own = module(IDS, use_cache=False).logits[:, -1]
    assert off(said, own) <= 1e-5


def test_a_native_model_makes_all_of_its_iterations_for_every_latent():
    model = ll.load("walks")
    prompt = "Ann : Bob . Bob : Ann . 1 steps from Ann"
    traj = ll.latent_cot(model, prompt, latents=LATENTS, seed=5)
    ids = torch.tensor([model.tokenizer.encode(prompt)])
    with torch.no_grad():
        embeds = model.embed(ids)
        for r in range(LATENTS + 1):
            own = model.run(embeds=embeds, seed=5)[:, -1]
            assert off(ll.logits(traj, iterations=[r])[:, 0, 0], own) <= 1e-5
            context = model.begin(embeds=embeds, seed=5)
            state = context.state
            for _ in range(model.iterations):
                state = model.step(state, context)
            last = model.hidden(state, context)[:, -1:]
            assert torch.allclose(traj.states[:, r], last, atol=1e-5)
            embeds = torch.cat([embeds, traj.states[:, r]], dim=1)
    assert traj.prompts == [prompt]


def test_a_replaced_latent_is_what_is_fed_back_and_a_stop_answers_from_there():
    module = families.make("llama")
    thoughts = LatentThoughts(ll.wrap(module))
    other = torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        said = thoughts.run(IDS, iterations=1, on_state=lambda s, at: other if at == ll.At(0) else None)
        own = module(inputs_embeds=torch.cat([module.get_input_embeddings()(IDS), other], dim=1)).logits[:, -1:]
        assert off(said, own) <= 1e-5
        stopped = thoughts.run(IDS, on_state=lambda s, at: ll.STOP if at == ll.At(2) else None)
        assert off(stopped, thoughts.run(IDS, iterations=2)) <= 1e-5


def test_it_is_decoded_drawn_stored_and_read_again_like_any_trajectory(tmp_path):
    model = ll.load("walks")
    traj = ll.latent_cot(model, ["Ann : Bob . Bob : Ann . 1 steps from Ann", "Ann : Bob . 1 steps from Ann"], latents=2)
    out = ll.decode(traj)
    assert dict(out.sizes)["position"] == 1
    assert out.entropy.shape == (2, 3, 1)
    ll.figures.stream(out, position=-1).plotly()
    back = ll.Trajectory.load(traj.save(tmp_path / "thoughts.zarr"), model=LatentThoughts(model))
    assert torch.equal(ll.logits(back), ll.logits(traj))


def test_hooks_and_config_are_as_before_afterwards():
    module = families.make("dory")
    before, own = module.config.to_dict(), module(IDS, use_cache=False).logits
    ll.logits(ll.latent_cot(ll.wrap(module), tokens=IDS, latents=2))
    assert module.config.to_dict() == before
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in module.modules())
    assert torch.equal(module(IDS, use_cache=False).logits, own)


class Homemade(nn.Module):
    """A module that knows no embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.core, self.head = nn.Embedding(13, 6), nn.Linear(6, 6), nn.Linear(6, 13)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.core(self.embed(tokens)))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda: ll.wrap(families.make("albert")), {}, "expected a model whose tokens see those before them alone, got 'AlbertForMaskedLM' (albert), whose tokens see each other: it has no next position to feed a state into; use ll.capture"),
        (lambda: ll.wrap(Homemade(), loop="core", unembed="head"), {}, "expected a model that runs from embeddings, got 'Homemade' (wrapped), whose forward takes no inputs_embeds: give it that argument"),
        (lambda: ll.wrap(families.make("llama")), {"latents": 0}, "expected latents to be a whole number of 1 or more, got 0"),
        (lambda: ll.wrap(families.make("llama")), {"seed": -1}, "expected seed to be a whole number of 0 or more, got -1"),
        (lambda: families.make("llama"), {}, "expected a model that ll.load returns, got LlamaForCausalLM: load it first"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(make, options, message):
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"):
        ll.latent_cot(make(), tokens=[[1, 2, 3]], **options)


def test_what_thoughts_cannot_do_is_refused_with_the_reason():
    thoughts = LatentThoughts(ll.wrap(families.make("llama")))
    with pytest.raises(
        CaptureError, match=r"^expected a model that can step, got the latent chain of thought of 'Llama"
    ):
        thoughts.step(torch.zeros(1), thoughts.begin(IDS))
    with pytest.raises(CaptureError, match=r"^expected no initial_state for the latent chain of thought of 'Llama"):
        thoughts.run(IDS, initial_state=torch.zeros(2, 1, 32))
    with pytest.raises(
        CaptureError, match=r"^expected either tokens or embeds, got both or neither: pass one of them$"
    ):
        thoughts.run()
    message = (
        "expected a state for each of 7 positions, got 1: a latent chain of thought is captured with ll.latent_cot"
    )
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"):
        ll.capture(thoughts, tokens=IDS)
