"""What looking costs: capture against the same run without it; targets are at most 1.05."""

from __future__ import annotations

import pytest
import torch

import latentlens as ll
from latentlens.models import walks
from latentlens.models.raven import Raven, RavenConfig

GRAPH = "Ann : Bob Cal . Bob : Dee Ann . Cal : Dee Eve . Dee : Ann Bob . Eve : Cal Dee ."


@pytest.fixture(scope="module")
def model() -> ll.LatentModel:
    return ll.load("walks")


def test_capture_against_the_bare_run_of_walks(compare, sized, model):
    """64 prompts, 24 iterations."""
    traj = ll.capture(model, [f"{GRAPH} {n % 5} steps from Ann" for n in range(sized(64, 4))], iterations=1)

    def bare() -> None:
        with torch.no_grad():
            model.run(traj.tokens, iterations=24, mask=traj.mask)

    compare(
        lambda: ll.capture(model, tokens=traj.tokens, mask=traj.mask, iterations=24, progress=False), bare, rounds=61
    )


def test_capture_against_the_bare_run_of_huginns_layout(compare, sized):
    """n_embd 1,024, 16 iterations on 4 x 64 tokens."""
    torch.manual_seed(0)
    config = RavenConfig.from_dict(
        {
            "n_embd": sized(1024, 64),
            "n_heads": 16,
            "intermediate_size": sized(3072, 128),
            "padded_vocab_size": 4096,
            "n_layers_in_prelude": 2,
            "n_layers_in_recurrent_block": 4,
            "n_layers_in_coda": 2,
            "mean_recurrence": 16,
            "block_size": 128,
        }
    )
    model = Raven(config).eval().requires_grad_(False)
    ids = torch.randint(0, 4096, (4, 64))

    def bare() -> None:
        with torch.no_grad():
            model.run(ids, iterations=16)

    compare(lambda: ll.capture(model, tokens=ids, iterations=16, progress=False), bare, rounds=7)


def test_capture_against_the_bare_forward_of_a_hooked_dory(compare, sized):
    """Hidden size 512, 8 iterations of 4 layers on 4 x 64 tokens."""
    from transformers.models.dory import DoryConfig, DoryForCausalLM

    torch.manual_seed(0)
    config = DoryConfig(
        vocab_size=4096, hidden_size=sized(512, 64), intermediate_size=sized(1408, 96), num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=4, head_dim=64, n_input_layers=2, n_recurrent_layers=4, n_output_layers=2,
        n_recurrent_loops=8, sliding_window=128, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    compare_wrapped(compare, DoryForCausalLM(config), torch.randint(3, 4096, (4, 64)))


def test_capture_against_the_bare_forward_of_smollm2s_shape(compare, sized):
    """SmolLM2-135M's sizes with random weights, 64 tokens: its layers are the iterations."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=sized(49152, 512), hidden_size=576, intermediate_size=1536, num_hidden_layers=sized(30, 2), num_attention_heads=9,
        num_key_value_heads=3, tie_word_embeddings=True, pad_token_id=2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    compare_wrapped(compare, LlamaForCausalLM(config), torch.randint(3, sized(49152, 512), (1, 64)))


def compare_wrapped(compare, module: torch.nn.Module, ids: torch.Tensor) -> None:
    module.eval().requires_grad_(False)
    model = ll.wrap(module)

    def bare() -> None:
        with torch.no_grad():
            module(ids, use_cache=False)

    compare(lambda: ll.capture(model, tokens=ids, progress=False), bare, rounds=15)


def test_prompts_captured_and_decoded_a_second(rate, sized, model):
    """1,000 prompts, 24 iterations, the default readout at every position."""
    count = sized(1000, 10)
    prompts = [prompt for steps in range(5) for prompt in walks.sample(count // 5, steps, seed=steps)]
    rate(lambda: ll.decode(ll.capture(model, prompts, iterations=24, progress=False), progress=False), count, "prompts")
