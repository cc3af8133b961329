"""What a readout costs: against the bare product of the states with the unembedding, the peer, and in memory.

The default set is top-10, probability and rank of four tracked tokens, entropy, KL to the final and from the step
before, commitment: at most 1.6 x on a small head and 1.15 x on a wide one; with any other statistic at most 3 x.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from heads import made_up

import latentlens as ll
from latentlens.quantities import ON_REQUEST

TRACKED = [1, 100, 200, 400]
TESTS = Path(__file__).parents[1]
MEMORY = """
import contextlib, sys, torch
import latentlens as ll
from heads import made_up
prompts, vocab, budget = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
traj = made_up(vocab, 64, 17, 59, prompts)
ll.decode(made_up(vocab, 64, 2, 2), "logit", progress=False)  # what is loaded once is no part of it
def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
with contextlib.suppress(OSError):  # the peak begins anew; where it may not, making the states counts too
    open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
ll.decode(traj, "logit", budget=budget, progress=False)
print(status("VmHWM") - before)
"""


def bare(traj: ll.Trajectory):
    """The product itself, into fresh memory each time."""
    states, weight = traj.states.reshape(-1, traj.model.d_model), traj.model.lm_head.weight
    return lambda: states @ weight.T


@pytest.fixture(scope="module")
def small_head() -> dict[int, ll.Trajectory]:
    """1,088 states before 49,152 tokens at d = 576 (SmolLM2's); made when first asked for."""
    return {}


def of_size(made: dict[int, ll.Trajectory], vocab: int, positions: int) -> ll.Trajectory:
    if vocab not in made:
        made[vocab] = made_up(vocab, 576, 17, positions)
    return made[vocab]


def test_the_default_set_on_a_small_head(compare, sized, small_head):
    traj = of_size(small_head, sized(49152, 512), sized(64, 2))
    compare(lambda: ll.decode(traj, "logit", track=TRACKED, progress=False), bare(traj), rounds=9)


def test_the_leaders_on_a_small_head(compare, sized, small_head):
    """With the tokens that lead, at most ten a position, in place of tracked ones."""
    traj = of_size(small_head, sized(49152, 512), sized(64, 2))
    compare(lambda: ll.decode(traj, "logit", progress=False), bare(traj), rounds=5)


@pytest.mark.parametrize("statistic", [*ON_REQUEST, "all"])
def test_one_more_statistic_on_a_small_head(compare, sized, small_head, statistic):
    traj = of_size(small_head, sized(49152, 512), sized(64, 2))
    compare(lambda: ll.decode(traj, "logit", track=TRACKED, statistics=statistic, progress=False), bare(traj), rounds=5)


def test_the_default_set_on_a_wide_head(compare, sized):
    """Huginn's: 65,536 tokens at d = 5,280, 256 states."""
    torch.manual_seed(0)
    traj = made_up(sized(65536, 512), sized(5280, 64), 16, sized(16, 2))
    compare(lambda: ll.decode(traj, "logit", track=TRACKED, progress=False), bare(traj), rounds=5)


def test_the_default_set_against_two_calls_of_transformerlens(compare, sized, tmp_path):
    """`logit_readout` of TransformerLens on the same states, for top-10 and for the rank of one target."""
    from heads import Head
    from toys import write_tokenizer
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.tools.analysis.logit_lens import logit_readout
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=sized(49152, 512), hidden_size=576, intermediate_size=64, num_hidden_layers=1, num_attention_heads=9,
        num_key_value_heads=3, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    write_tokenizer(tmp_path)
    PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token=".").save_pretrained(tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    module = LlamaForCausalLM(config).eval().requires_grad_(False)
    module.config.architectures = [type(module).__name__]
    bridge = TransformerBridge.boot_transformers("words", hf_model=module, tokenizer=tokenizer, device="cpu").eval()
    traj = made_up(config.vocab_size, 576, 17, sized(64, 2))
    traj.model = Head(config.vocab_size, 576, 17, module.lm_head.weight)
    states = traj.states.reshape(-1, 576)

    def peer() -> None:
        logit_readout(bridge, states, apply_ln=False, top_k=10)
        logit_readout(bridge, states, apply_ln=False, targets=[TRACKED[0]])

    compare(lambda: ll.decode(traj, "logit", track=TRACKED, progress=False), peer, rounds=5)


@pytest.mark.parametrize("prompts", [1, 100])
def test_memory_beyond_states_and_weights_stays_within_the_budget(benchmark, sized, found, prompts):
    """1,003 states and 100,300 states before 49,152 tokens; the readout itself is part of what is held."""
    budget = 512 * 2**20
    words = [sys.executable, "-c", MEMORY, str(sized(prompts, 1)), str(sized(49152, 512)), str(budget)]
    paths = os.pathsep.join([str(TESTS), *sys.path])
    done = benchmark.pedantic(
        lambda: subprocess.run(
            words, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": paths}
        ),
        rounds=1,
    )
    held = int(done.stdout)
    found(f"memory for {prompts * 1003} states: {held / 2**20:.0f} MB of {budget / 2**20:.0f}")
    assert held <= budget
