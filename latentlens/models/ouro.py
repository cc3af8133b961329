"""Ouro's architecture (Zhu et al. 2025, arXiv 2510.25741), native: all layers, then the norm, again and again.

In: Ouro's own `config.json` and tensors. Out: a `NativeModel`, one iteration of which is

    s_r = norm(layers(s_{r-1})),   s_0 = embed(tokens) (not normed),   logits = unembed(s_r),

and an exit gate lam_r = sigmoid(w s_r + b). The state is already normed; only `s_0` is normed to be read.
"""

from __future__ import annotations

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
from latentlens.models.parts import Keep, RMSNorm, attend, must_be_understood, must_equal, positive, rope_angles

UNDERSTOOD: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False,),
    "hidden_act": ("silu",),
    "mlp_bias": (False,),
    "rope_scaling": (None,),
    "sliding_window": (None,),
    "use_sliding_window": (False,),
}


@dataclass(frozen=True)
class OuroConfig:
    """The part of Ouro's config that changes what is computed."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    total_ut_steps: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool
    early_exit_threshold: float

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> OuroConfig:
        """Read Ouro's `config.json`; refuses a value that this file does not compute, and names it."""
        must_be_understood(config, UNDERSTOOD, "Ouro")
        kinds = config.get("layer_types")
        if kinds is not None and set(kinds) != {"full_attention"}:
            raise ModelError(f"expected every layer_types to be 'full_attention' in the config, got {kinds!r}")
        width, heads = positive(config, "hidden_size"), positive(config, "num_attention_heads")
        must_equal(config, "head_dim", width // heads)
        return cls(
            hidden_size=width,
            intermediate_size=positive(config, "intermediate_size"),
            num_hidden_layers=positive(config, "num_hidden_layers"),
            num_attention_heads=heads,
            num_key_value_heads=positive({"num_key_value_heads": heads} | config, "num_key_value_heads"),
            vocab_size=positive(config, "vocab_size"),
            total_ut_steps=positive(config, "total_ut_steps"),
            max_position_embeddings=positive(config, "max_position_embeddings"),
            rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=float(config.get("rope_theta", 10_000)),
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            early_exit_threshold=float(config.get("early_exit_threshold", 1.0)),
        )


class Attention(nn.Module):
    """Causal attention with grouped keys and values and half-split rotation."""

    def __init__(self, config: OuroConfig) -> None:
        super().__init__()
        width, self.head_dim = config.hidden_size, config.hidden_size // config.num_attention_heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, config.num_key_value_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(width, config.num_key_value_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, rotary: Rotary, keep: Keep | None = None) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = attend(_rotate(q, rotary), _rotate(k, rotary), v, keep)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """A gated MLP."""

    def __init__(self, config: OuroConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One layer with a norm before and after each half: h += norm(attn(norm(h))); h += norm(mlp(norm(h)))."""

    def __init__(self, config: OuroConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn, self.mlp = Attention(config), MLP(config)
        self.input_layernorm, self.input_layernorm_2 = RMSNorm(width, eps), RMSNorm(width, eps)
        self.post_attention_layernorm, self.post_attention_layernorm_2 = RMSNorm(width, eps), RMSNorm(width, eps)
        self.hook_out = HookPoint()

    def forward(self, x: Tensor, rotary: Rotary, keep: Keep | None = None) -> Tensor:
        x = x + self.input_layernorm_2(self.self_attn(self.input_layernorm(x), rotary, keep))
        x = x + self.post_attention_layernorm_2(self.mlp(self.post_attention_layernorm(x)))
        return self.hook_out(x)


class Trunk(nn.Module):
    """Everything but the head, under the names of Ouro's checkpoints."""

    def __init__(self, config: OuroConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.early_exit_gate = nn.Linear(config.hidden_size, 1)


class Ouro(NativeModel):
    """An Ouro-shaped model; built empty from a config, filled by `latentlens.models.loading`."""

    family = "ouro"
    normed_state = True

    def __init__(self, config: OuroConfig) -> None:
        super().__init__()
        self.config = config
        self.name = "ouro"
        self.iterations = config.total_ut_steps
        self.d_model, self.vocab_size = config.hidden_size, config.vocab_size
        self.n_layers = config.num_hidden_layers
        self.exit_threshold = config.early_exit_threshold
        self.model = Trunk(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.hook_state = HookPoint()
        self.tie()
        self.setup()

    def tie(self) -> None:
        """Make head and embedding one parameter again, where the config says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def embed(self, tokens: Int[Tensor, "prompt position"]) -> Float[Tensor, "prompt position d_model"]:
        """The embedding of tokens, which is `s_0`, and what `embeds` stands in for."""
        return self.model.embed_tokens(tokens.to(self.device))

    def layers(self, state: Tensor, context: Context) -> list:
        return [partial(layer, rotary=context.extra["rotary"]) for layer in self.model.layers]

    def close(self, state: Tensor) -> Tensor:
        return self.norm(state)

    def hidden(self, state: Tensor, context: Context) -> Float[Tensor, "prompt position d_model"]:
        # s_0 is the one state that no norm has seen yet.
        start = state.shape == context.state.shape and torch.equal(state, context.state)
        return self.norm(state) if start else state

    def residual(self, state: Tensor, context: Context) -> Float[Tensor, "prompt position d_model"]:
        return self.hidden(state, context)

    def norm(self, state: Tensor) -> Tensor:
        return self.model.norm(state)

    def gate(self, state: Float[Tensor, "... d_model"]) -> Float[Tensor, "..."]:
        """The exit gate's lam_r for states `s_1, s_2 ...`, from 0 to 1, in float32."""
        return torch.sigmoid(self.model.early_exit_gate(state)[..., 0].float())

    def rotary(self, length: int) -> Rotary:
        """Cosine and sine of every position's angles, `[position, head_dim]`, in the model's dtype."""
        most = self.config.max_position_embeddings
        if length > most:
            raise CaptureError(
                f"expected at most {most} tokens (max_position_embeddings), got {length}: shorten the prompt"
            )
        head_dim = self.config.hidden_size // self.config.num_attention_heads
        angles = rope_angles(length, head_dim, self.config.rope_theta, self.device).repeat(1, 2)
        return angles.cos().to(self.dtype), angles.sin().to(self.dtype)


def _rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotate the pairs (i, i + half) by each position's angles."""
    cos, sin = rotary
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def build(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[Ouro, dict[str, Tensor]]:
    """An empty model for a config, and its tensors under the model's own names."""
    with torch.device("meta"):
        model = Ouro(OuroConfig.from_dict(config))
    if model.config.tie_word_embeddings and "model.embed_tokens.weight" in tensors:
        tensors = {"lm_head.weight": tensors["model.embed_tokens.weight"]} | tensors
    return model, tensors
