"""A tiny random model of every family that is looked into through hooks, from transformers itself."""

from __future__ import annotations

import torch
from torch import nn

BASE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


INKLING = {
    "vocab_size": 64, "unpadded_vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 10, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2,
    "swa_head_dim": 8, "sliding_window_size": 4, "d_rel": 4, "rel_extent": 6, "max_position_embeddings": 64,
    "moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "route_scale": 2.0,
    "n_layers_per_attn_res_block": 2, "loop_layer_index_start": 2, "loop_layer_index_end": 8, "loop_num_passes": 4,
    "loop_gate_rank": 8, "layer_types": ["hybrid_sliding", "hybrid"] * 5, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip


def dory() -> nn.Module:
    from transformers.models.dory import DoryConfig, DoryForCausalLM

    config = DoryConfig(
        **BASE, num_hidden_layers=6, num_key_value_heads=2, head_dim=8, n_input_layers=2, n_recurrent_layers=3,
        n_output_layers=1, n_recurrent_loops=4, sliding_window=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return DoryForCausalLM(config)


def hrm_text() -> nn.Module:
    from transformers.models.hrm_text import HrmTextConfig, HrmTextForCausalLM

    config = HrmTextConfig(
        **BASE, num_layers_per_stack=2, num_hidden_layers=24, H_cycles=3, L_cycles=3, head_dim=8, embedding_scale=5.0,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return HrmTextForCausalLM(config)


def inkling2_loop() -> nn.Module:
    from transformers.models.inkling2_loop import Inkling2LoopForCausalLM, Inkling2LoopTextConfig

    module = Inkling2LoopForCausalLM(Inkling2LoopTextConfig(**INKLING))
    # What a new model starts at zero is what carries messages and block states: with zeros they would not matter.
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.normal_(std=0.5)
    return module


def albert() -> nn.Module:
    from transformers import AlbertConfig, AlbertForMaskedLM

    config = AlbertConfig(**BASE, embedding_size=16, num_hidden_layers=5, inner_group_num=2, hidden_dropout_prob=0.0)
    return AlbertForMaskedLM(config)


def decoder(kind: str) -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    if kind == "gpt2":
        options = {
            "vocab_size": 61,
            "n_embd": 32,
            "n_layer": 3,
            "n_head": 4,
            "n_positions": 64,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
    else:
        options = {**BASE, "num_hidden_layers": 3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if kind in ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "mistral", "phi3"):
        options["num_key_value_heads"] = 2
    if kind in ("qwen3", "gemma", "gemma2", "gemma3_text"):
        options["head_dim"] = 8
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **options))


DECODERS = ("llama", "gpt2", "gpt_neox", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "mistral", "phi3")
FAMILIES = {"dory": dory, "hrm_text": hrm_text, "inkling2_loop": inkling2_loop, "albert": albert} | {
    kind: (lambda kind=kind: decoder(kind)) for kind in DECODERS
}


def make(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The same tiny model every time, with weights large enough that every layer matters."""
    torch.manual_seed(3)
    module = FAMILIES[name]().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 2:
                parameter.mul_(3)
    module = module.to(dtype)
    for kept in getattr(module, "_keep_in_fp32_modules_strict", None) or ():  # as from_pretrained keeps them
        for path, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if kept in path:
                tensor.data = tensor.data.float()
    return module
