"""Huginn's architecture (Geiping et al. 2025, arXiv 2502.05171), native: prelude, core, coda.

In: Huginn's own `config.json` and tensors. Out: a `NativeModel`, one iteration of which is

    s_r = core(adapter([s_{r-1}, e])),   e = prelude(wte(tokens) * embed_scale),
    logits = unembed(ln_f(coda(ln_f(s_r)))).

Tensor names and shapes are those of the published checkpoints. Knows nothing about files or tokenizers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from latentlens.errors import CaptureError, ModelError
from latentlens.models.base import Context
from latentlens.models.native import NativeModel, Rotary
from latentlens.models.parts import (
    Keep,
    RMSNorm,
    attend,
    drawn_start,
    must_be_understood,
    must_equal,
    positive,
    rope_angles,
)

# What this file computes. Another value of one of these keys is another model: it is refused, by name.
UNDERSTOOD: dict[str, tuple[Any, ...]] = {
    "bias": (False,),
    "block_class_name": ("SandwichBlock",),
    "injection_type": ("linear",),
    "mlp_class_name": ("GatedMLP",),
    "nonlin_name": ("SiLU",),
    "norm_class_name": ("RMSNorm_llama", "RMSNorm"),
    "state_init": ("like-init",),
    "test_time_noise": (0, None),
}


@dataclass(frozen=True)
class RavenConfig:
    """The part of Huginn's config that changes what is computed."""

    n_embd: int
    n_heads: int
    intermediate_size: int
    vocab_size: int
    n_layers_in_prelude: int
    n_layers_in_recurrent_block: int
    n_layers_in_coda: int
    mean_recurrence: int
    block_size: int
    norm_eps: float
    rope_base: float
    qk_bias: bool
    tie_embeddings: bool
    embed_scale: float
    state_std: float

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> RavenConfig:
        """Read Huginn's `config.json`; refuses a value that this file does not compute, and names it."""
        must_be_understood(config, UNDERSTOOD, "Huginn")
        n_embd, n_heads = positive(config, "n_embd"), positive(config, "n_heads")
        must_equal(config, "head_dim", n_embd // n_heads)
        must_equal(config, "num_key_value_heads", n_heads)
        if n_embd % (2 * n_heads):
            raise ModelError(f"expected n_embd to be a multiple of 2 n_heads = {2 * n_heads}, got n_embd {n_embd}")
        init = config.get("init_values") or {}
        scale = init.get("embed_scale", math.sqrt(n_embd))
        return cls(
            n_embd=n_embd,
            n_heads=n_heads,
            intermediate_size=positive(config, "intermediate_size"),
            vocab_size=positive(config, "padded_vocab_size" if "padded_vocab_size" in config else "vocab_size"),
            n_layers_in_prelude=positive(config, "n_layers_in_prelude"),
            n_layers_in_recurrent_block=positive(config, "n_layers_in_recurrent_block"),
            n_layers_in_coda=positive(config, "n_layers_in_coda"),
            mean_recurrence=positive(config, "mean_recurrence"),
            block_size=positive(config, "block_size"),
            norm_eps=float(config.get("norm_eps", 1e-6)),
            rope_base=float(config.get("rope_base", 50_000)),
            qk_bias=bool(config.get("qk_bias", True)),
            tie_embeddings=bool(config.get("tie_embeddings", True)),
            embed_scale=float(scale),
            state_std=float(init.get("std", math.sqrt(2 / (5 * n_embd)))),
        )


class Attention(nn.Module):
    """Causal attention with fused q, k, v and a bias on q and k before the rotation."""

    def __init__(self, config: RavenConfig) -> None:
        super().__init__()
        width, self.n_heads = config.n_embd, config.n_heads
        self.Wqkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        shape = (2, 1, config.n_heads, width // config.n_heads)
        self.qk_bias = nn.Parameter(torch.zeros(shape)) if config.qk_bias else None

    def forward(self, x: Tensor, rotary: Rotary, keep: Keep | None = None) -> Tensor:
        q, k, v = self.Wqkv(x).unflatten(-1, (3, self.n_heads, -1)).unbind(-3)
        if self.qk_bias is not None:
            q, k = q + self.qk_bias[0], k + self.qk_bias[1]
        q, k = _rotate(q, rotary), _rotate(k, rotary)
        out = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), keep)
        return self.proj(out.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """A gated MLP with its two inputs fused, the gate first."""

    def __init__(self, config: RavenConfig) -> None:
        super().__init__()
        self.fc = nn.Linear(config.n_embd, 2 * config.intermediate_size, bias=False)
        self.proj = nn.Linear(config.intermediate_size, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.fc(x).chunk(2, dim=-1)
        return self.proj(F.silu(gate) * value)


class Block(nn.Module):
    """A sandwich block: a norm before each half, and a norm after each sum."""

    def __init__(self, config: RavenConfig) -> None:
        super().__init__()
        self.norm_1 = RMSNorm(config.n_embd, config.norm_eps)
        self.attn = Attention(config)
        self.norm_2 = RMSNorm(config.n_embd, config.norm_eps)
        self.norm_3 = RMSNorm(config.n_embd, config.norm_eps)
        self.mlp = MLP(config)
        self.norm_4 = RMSNorm(config.n_embd, config.norm_eps)
        self.hook_out = HookPoint()

    def forward(self, x: Tensor, rotary: Rotary, keep: Keep | None = None) -> Tensor:
        return self.hook_out(self.body(x, rotary, keep))

    def body(self, x: Tensor, rotary: Rotary, keep: Keep | None = None) -> Tensor:
        """The block without its hook."""
        x = self.norm_2(self.attn(self.norm_1(x), rotary, keep) + x)
        return self.norm_4(self.mlp(self.norm_3(x)) + x)


class Trunk(nn.Module):
    """Everything but the head, under the names of Huginn's checkpoints."""

    def __init__(self, config: RavenConfig) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.prelude = nn.ModuleList(Block(config) for _ in range(config.n_layers_in_prelude))
        self.adapter = nn.Linear(2 * config.n_embd, config.n_embd, bias=False)
        self.core_block = nn.ModuleList(Block(config) for _ in range(config.n_layers_in_recurrent_block))
        self.coda = nn.ModuleList(Block(config) for _ in range(config.n_layers_in_coda))
        self.ln_f = RMSNorm(config.n_embd, config.norm_eps)


class Raven(NativeModel):
    """A Huginn-shaped model; built empty from a config, filled by `latentlens.models.checkpoint`."""

    family = "raven"
    random_start = True

    def __init__(self, config: RavenConfig) -> None:
        super().__init__()
        self.config = config
        self.name = "raven"
        self.iterations = config.mean_recurrence
        self.d_model, self.vocab_size = config.n_embd, config.vocab_size
        self.n_layers = config.n_layers_in_recurrent_block
        self.transformer = Trunk(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.hook_state = HookPoint()
        self.tie()
        self.setup()

    def tie(self) -> None:
        """Make head and embedding one parameter again, where the config says so."""
        if self.config.tie_embeddings:
            self.lm_head.weight = self.transformer.wte.weight

    def embed(self, tokens: Int[Tensor, "prompt position"]) -> Float[Tensor, "prompt position d_model"]:
        """The scaled embedding of tokens, which is what `embeds` stands in for."""
        return self.transformer.wte(tokens.to(self.device)) * self.config.embed_scale

    def prelude(self, x: Tensor, rotary: Rotary | None) -> Tensor:
        for block in self.transformer.prelude:
            x = block(x, rotary)
        return x

    def layers(self, state: Tensor, context: Context) -> list:
        def first(x: Tensor, keep: Keep | None = None) -> Tensor:
            joined = self.transformer.adapter(torch.cat([x, context.inputs], dim=-1))
            return self.transformer.core_block[0](joined, context.extra["rotary"], keep)

        rest = [partial(block, rotary=context.extra["rotary"]) for block in list(self.transformer.core_block)[1:]]
        return [first, *rest]

    def hidden(self, state: Tensor, context: Context) -> Float[Tensor, "prompt position d_model"]:
        return self.norm(self.residual(state, context))

    def residual(self, state: Tensor, context: Context) -> Float[Tensor, "prompt position d_model"]:
        x = self.norm(state)
        rotary = context.extra["rotary"]
        for block in self.transformer.coda:
            x = block(x, rotary)
        return x

    def norm(self, state: Tensor) -> Tensor:
        return self.transformer.ln_f(state)

    def start(self, like: Tensor, seed: int) -> Tensor:
        """`s_0`: a normal cut at 3 std, times the embedding's scale; a function of seed and position alone."""
        return drawn_start(like, seed, self.config.state_std * self.config.embed_scale)

    def rotary(self, length: int) -> Rotary:
        """Cosine and sine of every position's angles, `[position, 1, head_dim / 2]`, in float32."""
        if length > self.config.block_size:
            raise CaptureError(
                f"expected at most {self.config.block_size} tokens (the model's block_size), got {length}: "
                "shorten the prompt"
            )
        head_dim = self.config.n_embd // self.config.n_heads
        angles = rope_angles(length, head_dim, self.config.rope_base, self.device)
        return angles.cos()[:, None], angles.sin()[:, None]


def _rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotate neighbouring pairs (0, 1), (2, 3) ... by each position's angles, in float32."""
    cos, sin = rotary
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2).type_as(x)


def build(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[Raven, dict[str, Tensor]]:
    """An empty model for a config, and its tensors under the model's own names."""
    with torch.device("meta"):
        model = Raven(RavenConfig.from_dict(config))
    # A table of angles that checkpoints carry; it is computed here.
    tensors = {name: tensor for name, tensor in tensors.items() if name != "freqs_cis"}
    if model.config.tie_embeddings and "transformer.wte.weight" in tensors:
        embedding = tensors["transformer.wte.weight"]
        head = tensors.setdefault("lm_head.weight", embedding)
        if head is not embedding and not torch.equal(head, embedding):
            raise ModelError(
                "expected lm_head.weight to equal transformer.wte.weight (tie_embeddings is true in the config), "
                "got another: set tie_embeddings to false"
            )
    return model, tensors
