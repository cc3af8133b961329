"""Stand-ins for the authors' remote code of Huginn and Ouro, which no test may download: written for these tests.

They keep what latentlens leans on: the module names, the arguments of the call, where the count of iterations lives,
what a block returns, how `s_0` is drawn, and which iteration answers. With the weights in `tests/data` they compute the
authors' own reference numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

NAMES = ("raven", "raven_tuples", "ouro")
DATA = Path(__file__).parent.parent / "data"


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], eps=self.eps).type_as(x) * self.weight


class RavenConfig(PretrainedConfig):
    model_type = "huginn_raven"
    attribute_map = {"num_attention_heads": "n_heads", "hidden_size": "n_embd", "num_hidden_layers": "n_layers"}


class RavenAttention(nn.Module):
    def __init__(self, config: RavenConfig) -> None:
        super().__init__()
        width, self.heads = config.n_embd, config.n_heads
        self.Wqkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.qk_bias = nn.Parameter(torch.zeros(2, 1, self.heads, width // self.heads))

    def forward(self, x: Tensor, freqs_cis: Tensor, block_idx: Tensor, mask=None, past_key_values=None) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in self.Wqkv(x).chunk(3, dim=-1))
        q, k = (turn(part + bias, freqs_cis) for part, bias in zip((q, k), self.qk_bias, strict=True))
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        return self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


def turn(x: Tensor, freqs_cis: Tensor) -> Tensor:
    """Neighbouring pairs as complex numbers, turned by the table's angles in float32."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    angles = torch.view_as_complex(freqs_cis.float().contiguous())
    return torch.view_as_real(pairs * angles).flatten(-2).type_as(x)


class GatedMLP(nn.Module):
    def __init__(self, config: RavenConfig) -> None:
        super().__init__()
        self.fc = nn.Linear(config.n_embd, 2 * config.intermediate_size, bias=False)
        self.proj = nn.Linear(config.intermediate_size, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.fc(x).chunk(2, dim=-1)
        return self.proj(F.silu(gate) * up)


class SandwichBlock(nn.Module):
    """In the code's one known revision a block returns a tensor, in the other a tuple (with a map of attention)."""

    def __init__(self, config: RavenConfig) -> None:
        super().__init__()
        self.norm_1, self.norm_2, self.norm_3, self.norm_4 = (RMSNorm(config.n_embd, config.norm_eps) for _ in range(4))
        self.attn, self.mlp, self.tuples = RavenAttention(config), GatedMLP(config), config.tuples

    def forward(self, x: Tensor, freqs_cis: Tensor, step_idx: Tensor, mask=None, past_key_values=None):
        x = self.norm_2(x + self.attn(self.norm_1(x), freqs_cis, step_idx, mask, past_key_values))
        x = self.norm_4(x + self.mlp(self.norm_3(x)))
        return (x, None) if self.tuples else x


class RavenForCausalLM(PreTrainedModel):
    """Huginn: `num_steps` is an argument, `s_0` is drawn from torch's global generator."""

    config_class = RavenConfig
    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}

    def __init__(self, config: RavenConfig) -> None:
        super().__init__(config)
        prelude, core, coda = (
            nn.ModuleList(SandwichBlock(config) for _ in range(count))
            for count in (config.n_layers_in_prelude, config.n_layers_in_recurrent_block, config.n_layers_in_coda)
        )
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.padded_vocab_size, config.n_embd),
                "prelude": prelude,
                "adapter": nn.Linear(2 * config.n_embd, config.n_embd, bias=False),
                "core_block": core,
                "coda": coda,
                "ln_f": RMSNorm(config.n_embd, config.norm_eps),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.padded_vocab_size, bias=False)
        self.emb_scale = config.init_values["embed_scale"]
        half = config.n_embd // config.n_heads // 2
        self.register_buffer("freqs_cis", torch.zeros(1, config.block_size, 1, half, 2))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.transformer["wte"]

    def forward(
        self, input_ids, input_embeds=None, input_states=None, attention_mask=None, position_ids=None, labels=None,
        num_steps=None, past_key_values=None, output_details=None, use_cache=False, cache_position=None,
        init_scale=1.0, **kwargs,
    ):  # fmt: skip
        freqs = self.freqs_cis[:, : input_ids.shape[1]]
        index = torch.tensor(0)
        e = self.through(self.transformer["prelude"], self.transformer["wte"](input_ids) * self.emb_scale, freqs, index)
        x = self.initialize_state(e, init_scale) if input_states is None else input_states.clone()
        unlearnt, learnt = self.counts(num_steps)
        with torch.no_grad():
            for _ in range(unlearnt):
                x = self.core_block_forward(x, e, freqs, index)
        for _ in range(learnt):
            x = self.core_block_forward(x, e, freqs, index)
        latent_states = x = self.transformer["ln_f"](x)
        x = self.transformer["ln_f"](self.through(self.transformer["coda"], x, freqs, index))
        return SimpleNamespace(logits=self.lm_head(x).float(), latent_states=latent_states, past_key_values=None)

    def counts(self, num_steps) -> tuple[int, int]:
        """How many iterations without a gradient, and how many with one; drawn anew at every call of a training."""
        if num_steps is None:
            drawn = torch.poisson(torch.tensor(float(self.config.mean_recurrence)))
            return (int(drawn), 1) if self.training else (self.config.mean_recurrence, 0)
        return tuple(num_steps) if hasattr(num_steps, "__len__") else (num_steps, 0)

    def core_block_forward(self, x: Tensor, e: Tensor, freqs: Tensor, index: Tensor) -> Tensor:
        x = self.transformer["adapter"](torch.cat([x, e.to(x.device)], dim=-1))
        return self.through(self.transformer["core_block"], x, freqs, index)

    def through(self, blocks, x: Tensor, freqs: Tensor, index: Tensor) -> Tensor:
        for block in blocks:
            if self.config.tuples:
                x, _ = block(x, freqs, index, None, None)
            else:
                x = block(x, freqs, index, None, None)
        return x

    def initialize_state(self, e: Tensor, scale: float) -> Tensor:
        std = self.config.init_values["std"] * scale
        return nn.init.trunc_normal_(torch.empty_like(e), std=std, a=-3 * std, b=3 * std) * self.emb_scale


class OuroConfig(PretrainedConfig):
    model_type = "ouro"


class OuroAttention(nn.Module):
    def __init__(self, config: OuroConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx, width = config, layer_idx, config.hidden_size
        self.head_dim = width // config.num_attention_heads
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling, self.attention_dropout, self.is_causal = self.head_dim**-0.5, 0.0, True
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, hidden_states, position_embeddings, attention_mask=None, **kwargs) -> tuple[Tensor, Tensor]:
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        q, k, v = (p(hidden_states).view(shape).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        cos, sin = (table.unsqueeze(1) for table in position_embeddings)
        q, k = (x * cos + torch.cat([-x.chunk(2, -1)[1], x.chunk(2, -1)[0]], dim=-1) * sin for x in (q, k))
        scores = q @ k.transpose(-1, -2) * self.scaling + attention_mask
        pattern = scores.softmax(-1, dtype=torch.float32).type_as(q)
        return self.o_proj((pattern @ v).transpose(1, 2).flatten(2)), pattern


class OuroMLP(nn.Module):
    def __init__(self, config: OuroConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class OuroDecoderLayer(nn.Module):
    def __init__(self, config: OuroConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn, self.mlp = OuroAttention(config, layer_idx), OuroMLP(config)
        for name in ("input_layernorm", "input_layernorm_2", "post_attention_layernorm", "post_attention_layernorm_2"):
            self.add_module(name, RMSNorm(config.hidden_size, config.rms_norm_eps))

    def forward(self, hidden_states: Tensor, **kwargs) -> Tensor:
        out, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        hidden_states = hidden_states + self.input_layernorm_2(out)
        out = self.mlp(self.post_attention_layernorm(hidden_states))
        return hidden_states + self.post_attention_layernorm_2(out)


class OuroRotaryEmbedding(nn.Module):
    def __init__(self, config: OuroConfig) -> None:
        super().__init__()
        self.width, self.base = config.hidden_size // config.num_attention_heads, config.rope_theta

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        powers = torch.arange(0, self.width, 2, device=x.device).float() / self.width
        angles = (position_ids[..., None].float() / self.base**powers).repeat(1, 1, 2)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


class OuroModel(nn.Module):
    """The inner model: it keeps a copy of the count, made when it was built."""

    def __init__(self, config: OuroConfig) -> None:
        super().__init__()
        self.config, self.total_ut_steps = config, config.total_ut_steps
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(OuroDecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = OuroRotaryEmbedding(config)
        self.early_exit_gate = nn.Linear(config.hidden_size, 1)
        self.cached = 0

    def forward(self, input_ids, use_cache=None, **kwargs) -> tuple[list[Tensor], list[Tensor]]:
        self.cached += use_cache is None or use_cache
        hidden_states = self.embed_tokens(input_ids)
        places = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        hidden = torch.finfo(hidden_states.dtype).min
        mask = torch.full((places.shape[1],) * 2, hidden, dtype=hidden_states.dtype, device=places.device).triu(1)
        shared = {"position_embeddings": self.rotary_emb(hidden_states, places), "attention_mask": mask[None, None]}
        states, gates = [], []
        for current_ut in range(self.total_ut_steps):
            for layer in self.layers:
                hidden_states = layer(hidden_states, current_ut=current_ut, **shared)
            hidden_states = self.norm(hidden_states)
            states.append(hidden_states)
            gates.append(self.early_exit_gate(hidden_states))
        return states, gates


class OuroForCausalLM(PreTrainedModel):
    """Ouro: it answers from `exit_at_step`, or from where the summed exit probability reaches the threshold."""

    config_class = OuroConfig

    def __init__(self, config: OuroConfig) -> None:
        super().__init__(config)
        self.model = OuroModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.embed_tokens

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None,
        labels=None, use_cache=None, cache_position=None, exit_at_step=None, exit_threshold=None, **kwargs,
    ):  # fmt: skip
        states, gates = self.model(input_ids, use_cache=use_cache, **kwargs)
        if exit_at_step is not None and 0 <= exit_at_step < len(states):
            return SimpleNamespace(logits=self.lm_head(states[exit_at_step]))
        remaining, summed = torch.ones_like(gates[0]), torch.zeros_like(gates[0])
        chosen, out = torch.zeros_like(gates[0], dtype=torch.bool), states[-1]
        for number, (state, gate) in enumerate(zip(states, gates, strict=True)):
            here = remaining if number == len(states) - 1 else remaining * torch.sigmoid(gate)
            remaining, summed = remaining * (1 - torch.sigmoid(gate)), summed + here
            now = (summed >= (exit_threshold or self.config.early_exit_threshold)) & ~chosen
            chosen, out = chosen | now, torch.where(now, state, out)
        return SimpleNamespace(logits=self.lm_head(out))


def make(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """ "raven" (blocks return tensors), "raven_tuples" (blocks return tuples) or "ouro", with the weights in tests/data."""
    family = name.removesuffix("_tuples")
    folder = DATA / f"{family}_random"
    config = json.loads((folder / "config.json").read_text())
    config.pop("rope_scaling", None)  # null in the file; a key that transformers warns about
    if family == "raven":
        module: PreTrainedModel = RavenForCausalLM(RavenConfig(**config, tuples=name.endswith("_tuples")))
    else:
        module = OuroForCausalLM(OuroConfig(**config))
    tensors = load_file(folder / "model.safetensors")
    if family == "raven":
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    module.load_state_dict(tensors)
    return module.eval().requires_grad_(False).to(dtype)
