"""Ouro's architecture against the authors' own numbers."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import contract
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toys import change_config

import latentlens as ll
from latentlens.errors import CaptureError, ModelError
from latentlens.exits import exit_iteration, exit_pdf

DATA = Path(__file__).parent.parent / "data" / "ouro_random"


@pytest.fixture(scope="module")
def ouro() -> ll.LatentModel:
    return ll.load(str(DATA))


@pytest.fixture(scope="module")
def authors() -> dict[str, torch.Tensor]:
    return load_file(DATA / "reference.safetensors")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(DATA / name, tmp_path / name)
    return tmp_path


def test_states_and_logits_are_the_authors_own_at_every_iteration(ouro, authors):
    traj = ll.capture(ouro, tokens=authors["ids"], iterations=4)
    assert (traj.states.transpose(0, 1) - authors["states"]).abs().max() < 1e-4
    logits = ll.logits(traj, iterations=[1, 2, 3, 4]).transpose(0, 1)
    assert (logits - authors["logits"]).abs().max() < 1e-4


def test_the_exit_pdf_is_the_authors_own_and_its_cdf_ends_at_one(ouro, authors):
    out = ll.decode(ll.capture(ouro, tokens=authors["ids"], iterations=4))
    assert np.allclose(out.exit_pdf[:, 1:].transpose("iteration", ...), authors["exit_pdf"], atol=1e-6)
    assert np.isnan(out.exit_pdf[:, 0]).all()
    assert np.allclose(out.exit_cdf[:, -1], 1)
    assert np.allclose(out.exit_cdf[:, 1:], np.cumsum(out.exit_pdf[:, 1:], axis=1))
    assert (out.exit_iteration == exit_iteration(authors["exit_pdf"], 1.0).numpy()).all()


def test_the_default_answer_is_that_of_each_positions_own_exit(ouro, authors):
    pdf = exit_pdf(ouro.gate(authors["states"][1:]))
    chosen = exit_iteration(pdf, ouro.exit_threshold)
    picked = authors["logits"].gather(0, (chosen - 1)[None, ..., None].expand(1, -1, -1, 256))[0]
    assert (picked - authors["model_logits"]).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_finish_is_what_the_model_says_after_that_many_iterations(dtype):
    model = ll.load(str(DATA), dtype=dtype)
    ids = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(2))
    mask = torch.tensor([[True] * 9, [True] * 5 + [False] * 4])
    traj = ll.capture(model, tokens=ids, mask=mask, iterations=5, layers=True)
    assert traj.layer_states.shape[:3] == (2, 5, 2)
    context = model.begin(ids)
    for r in range(1, 6):
        own = model.run(ids, iterations=r)[mask]
        contract.holds("ouro, native", model, model.finish(traj.states[:, r], context)[mask], own)


def test_the_start_is_normed_before_it_is_read(ouro):
    ids = torch.tensor([[3, 4]])
    traj = ll.capture(ouro, tokens=ids)
    own = ouro.unembed(ouro.norm(ouro.embed(ids)))
    assert torch.allclose(ll.logits(traj, "coda", iterations=[0])[0, 0], own[0], atol=1e-6)
    assert torch.allclose(ll.logits(traj, "logit", iterations=[0])[0, 0], own[0], atol=1e-6)


def test_a_model_without_randomness_accepts_and_records_a_seed(ouro):
    first, second = (ll.capture(ouro, tokens=[[1, 2]], seed=s) for s in (0, 9))
    assert torch.equal(first.states, second.states)
    assert second.seed == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_sliding_window": True}, "expected use_sliding_window to be False in the config, got True"),
        ({"hidden_act": "gelu"}, "expected hidden_act to be 'silu' in the config, got 'gelu'"),
        ({"rope_scaling": {"type": "yarn"}}, "expected rope_scaling to be None in the config, got {'type': 'yarn'}"),
        ({"layer_types": ["sliding_attention"] * 2}, "expected every layer_types to be 'full_attention' in the config"),
        ({"num_key_value_heads": 2}, "expected model.layers.0.self_attn.k_proj.weight of shape [32, 64] in"),
        ({"num_hidden_layers": 1}, "expected only known tensors in"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(copy, change, message):
    change_config(copy, **change)
    with pytest.raises(ModelError, match=f"^{re.escape(message)}"):
        ll.load(str(copy))


def test_a_prompt_longer_than_the_model_allows_is_refused(ouro):
    with pytest.raises(CaptureError, match=r"^expected at most 128 tokens \(max_position_embeddings\), got 129"):
        ouro.run(torch.zeros(1, 129, dtype=torch.int64))
