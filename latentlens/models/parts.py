"""What native families are built of: checks of a config's values, and the norm that they share.

In: a config as read from JSON. Out: whole numbers that are there, or a refusal that names the key.
"""

from __future__ import annotations

import hashlib
import math
import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlens.errors import ModelError


def must_be_understood(config: dict[str, Any], understood: dict[str, tuple[Any, ...]], family: str) -> None:
    """Refuse a value of a key that matters which the family's file does not compute, by name."""
    for key, values in understood.items():
        if key in config and config[key] not in values:
            raise ModelError(
                f"expected {key} to be {' or '.join(map(repr, values))} in the config, got {config[key]!r}: "
                f"this variant of {family} is not understood"
            )


def positive(config: dict[str, Any], key: str) -> int:
    """A whole number of 1 or more."""
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelError(f"expected {key} to be a whole number of 1 or more in the config, got {value!r}")
    return value


def must_equal(config: dict[str, Any], key: str, value: int) -> None:
    """Refuse a key that is there with another value than the one that follows from the rest."""
    if config.get(key) not in (None, value):
        raise ModelError(f"expected {key} to be {value} in the config, got {config[key]!r}: not understood")


class RMSNorm(nn.Module):
    """Root mean square norm (Zhang and Sennrich 2019), computed in float32 and scaled in the model's dtype."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return normed.type_as(x) * self.weight


def rope_angles(length: int, head_dim: int, base: float, device: torch.device) -> Tensor:
    """`[position, head_dim / 2]` rotation angles in float32 (Su et al. 2021).

    In the order of operations of the authors of Huginn and Ouro: their states then agree to the last bit.
    """
    powers = torch.arange(0, head_dim, 2, device=device).float() / head_dim
    frequencies = 1.0 / (base**powers)
    return torch.outer(torch.arange(length, device=device).float(), frequencies)


Keep = Callable[[Tensor], None]
"""What is told the attention pattern of one layer, `[prompt, head, query, key]` in float32."""


def attend(q: Tensor, k: Tensor, v: Tensor, keep: Keep | None = None) -> Tensor:
    """Causal attention over `[prompt, head, position, head_dim]`; keys and values may have fewer heads.

    With `keep`, the pattern is worked out beside it, and the output stays what it is without.
    """
    grouped: dict[str, Any] = {} if k.shape[1] == q.shape[1] else {"enable_gqa": True}
    if keep is not None:
        shared = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
        scores = q.float() @ shared.float().mT / q.shape[-1] ** 0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        keep(scores.masked_fill(future, -torch.inf).softmax(-1))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, **grouped)


def drawn_start(like: Tensor, seed: int, scale: float) -> Tensor:
    """A random `s_0` for `like`, `[prompt, position, d_model]`: a normal cut at 3 std, times `scale`.

    A function of seed and position alone. Drawn in float32 on the CPU through the inverse CDF, so that a longer prompt
    starts as a shorter one does.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(like.shape[1], like.shape[2], generator=generator, dtype=torch.float32)
    tail = 0.5 * math.erfc(3 / math.sqrt(2))
    normal = torch.special.ndtri((tail + uniform * (1 - 2 * tail)).double()).float()
    return (normal * scale).to(like).expand(like.shape).clone()


_FINGERPRINTS: weakref.WeakKeyDictionary[nn.Module, tuple[tuple, str]] = weakref.WeakKeyDictionary()


def weights_fingerprint(module: nn.Module) -> str:
    """SHA-256 over every parameter's name, shape and up to 256 evenly spaced values in float32.

    The same for a module in a TransformerLens bridge, which puts one level of names around each of its components.
    Worked out again only where torch says that a parameter was replaced or changed in place.
    """
    named = [(name.replace("._original_component", ""), p) for name, p in module.named_parameters()]
    state = tuple((name, p.data_ptr(), p._version) for name, p in named if not p.is_inference())
    known = _FINGERPRINTS.get(module)
    if known is not None and known[0] == state and len(state) == len(named):
        return known[1]
    digest = hashlib.sha256()
    for name, parameter in named:
        flat = parameter.detach().flatten()
        some = flat[:: max(len(flat) // 256, 1)][:256].float().cpu()
        digest.update(f"{name} {list(parameter.shape)}".encode() + some.numpy().tobytes())
    _FINGERPRINTS[module] = (state, digest.hexdigest())
    return digest.hexdigest()
