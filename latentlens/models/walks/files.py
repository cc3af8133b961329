"""The files of the shipped model, in Huginn's own format: config, weights, tokenizer.

In: sizes, or a model. Out: a folder that `ll.load` reads. Knows nothing about training.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Sequence, Split, WhitespaceSplit
from torch import Tensor

from latentlens.models.walks.task import PAD, UNKNOWN, VOCABULARY

PADDED_VOCABULARY = -(-len(VOCABULARY) // 16) * 16


def config(width: int, heads: int, mlp: int, iterations: int) -> dict[str, Any]:
    """Huginn's `config.json` for a model of two prelude blocks, one core block and one coda block."""
    std, depth = math.sqrt(2 / (5 * width)), 3 + iterations
    return {
        "architectures": ["RavenForCausalLM"],
        "model_type": "huginn_raven",
        "n_embd": width,
        "n_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": width // heads,
        "intermediate_size": mlp,
        "vocab_size": len(VOCABULARY),
        "padded_vocab_size": PADDED_VOCABULARY,
        "padding_multiple": 16,
        "block_size": 256,
        "n_layers": 4,
        "n_layers_in_prelude": 2,
        "n_layers_in_recurrent_block": 1,
        "n_layers_in_coda": 1,
        "mean_recurrence": iterations,
        "mean_backprop_depth": 6,
        "effective_expected_depth": depth,
        "sampling_scheme": "poisson-lognormal-filling",
        "block_class_name": "SandwichBlock",
        "norm_class_name": "RMSNorm_llama",
        "norm_eps": 1e-6,
        "mlp_class_name": "GatedMLP",
        "nonlin_name": "SiLU",
        "bias": False,
        "qk_bias": True,
        "rope_base": 50_000,
        "injection_type": "linear",
        "state_init": "like-init",
        "init_strategy": "takase",
        "init_values": {
            "std": std,
            "embedding": std,
            "out_proj": std / math.sqrt(2 * depth),
            "embed_scale": math.sqrt(width),
        },
        "test_time_noise": 0,
        "tie_embeddings": True,
        "torch_dtype": "float32",
    }


def tokenizer() -> Tokenizer:
    """One token a word; a colon or a full stop is a word, with or without a space before it.

    >>> tokenizer().encode("Ann:Bob Cal. 2 steps from Ann").tokens
    ['Ann', ':', 'Bob', 'Cal', '.', '2', 'steps', 'from', 'Ann']
    """
    out = Tokenizer(WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token=UNKNOWN))
    out.pre_tokenizer = Sequence([WhitespaceSplit(), Split(Regex("[:.]"), "isolated")])
    out.add_special_tokens([PAD, UNKNOWN])
    return out


def write(folder: Path, settings: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Write the three files of a model; a reader never finds half a file of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    tokenizer().save(str(folder / "tokenizer.json"))
    save_file({name: p.contiguous() for name, p in weights.items()}, folder / "new.safetensors", {"format": "pt"})
    (folder / "new.safetensors").replace(folder / "model.safetensors")
