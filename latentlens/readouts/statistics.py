"""Logits to numbers: entropies, divergences and how the mass is spread, all from one pass.

In: float32 logits of one or several places, `[place, iteration, vocab]`. Out: tensors over place and iteration, in
bits. Knows nothing about models, tokens' texts or datasets.

With `p_r = exp(z_r) / S_r` every entropy and every divergence is made of dot products,

    KL(p_r || p_q) = p_r . z_r - p_r . z_q - log S_r + log S_q,

so that one `exp` a logit and one product of `p` with `z` give them all; many large logits on a CPU are swept over
once for it by compiled loops (`sweeps`). `plain_*` say the same term by term; they are what the tests compare with, and
what is used where a logit is -inf.
"""

from __future__ import annotations

import math
from collections.abc import Set

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.readouts.ordering import nucleus
from latentlens.readouts.said import Products, Said

LN2 = math.log(2)
PART = 1024
"""Tokens whose products a CPU adds up in float32: over many more, small terms are lost beside a large sum."""
SPAN = 3
"""Steps between iterations whose dot products are made at once: more are not needed, and cost more than they save."""
NUCLEUS = 0.9
"""The share of the mass that `nucleus_size` asks for."""
DIVERGENCES = ("entropy", "kl_to_final", "missing_bits", "kl_step", "kl_step_back")
TINY = 1e-30
"""Below it a probability adds nothing to an entropy in float32; above it, logarithms are fast."""


def divergences(said: Said, final: Said, *, ends: bool, wanted: Set[str]) -> dict[str, Tensor]:
    """Every statistic over place and iteration; `said` and `final` (one iteration) are relative, or swept.

    `ends` says that the last iteration is the final one itself, as it is of what was swept. Steps are NaN at the first.
    """
    assert ends or said.products is None
    products = said.products or _products(said, final)
    whole = said.products is None and not products.finite
    out = _term_by_term(said, final) if whole else _by_products(said, final, products)
    if ends:  # a distribution is at 0 bits from itself, however it is rounded
        out["kl_to_final"][:, -1] *= 0
        out["missing_bits"][:, -1] *= 0
    if "kl_step_back" not in wanted:
        del out["kl_step_back"]
    return out | _shapes(said, final, wanted, ends)


def leader_statistics(said: Said, final_token: Int[Tensor, place], wanted: Set[str]) -> dict[str, Tensor]:
    """What the best tokens alone say: how far ahead the first is, and whether it is the final one."""
    out = {}
    if "margin" in wanted:
        probs = said.log_prob(said.top[..., :2]).exp()
        out["margin"] = probs[..., 0] - probs[..., 1] if probs.shape[-1] > 1 else probs[..., 0]
    if "agreement" in wanted:
        out["agreement"] = (said.top_token[..., 0] == final_token[:, None]).float()
    return out


def plain_entropy(logp: Float[Tensor, "... vocab"]) -> Float[Tensor, "..."]:
    """The entropy in bits of log-probabilities, term by term; 0 log 0 is 0.

    >>> plain_entropy(torch.tensor([0.5, 0.5]).log()).tolist()
    1.0
    """
    p = logp.exp()
    return (p * logp).masked_fill_(p == 0, 0).sum(-1).div(-LN2).clamp(min=0)


def plain_kl(logp: Float[Tensor, "... vocab"], logq: Float[Tensor, "... vocab"]) -> Float[Tensor, "..."]:
    """KL(p || q) in bits, term by term: infinite where q rules out what p does not; never below 0.

    >>> plain_kl(torch.tensor([0.5, 0.5]).log(), torch.tensor([1.0, 0.0]).log()).tolist()
    inf
    """
    p = logp.exp()
    return (p * (logp - logq)).masked_fill_(p == 0, 0).sum(-1).div(LN2).clamp(min=0)


def _products(said: Said, final: Said) -> Products:
    """The dot products, in whole tensors."""
    assert said.weights is not None
    assert final.weights is not None
    on_cpu = said.logits.device.type == "cpu"  # elsewhere the sums are made in many parts, and some know no float64
    size, dtype = (PART, torch.float64) if on_cpu else (said.logits.shape[-1], said.mass.dtype)
    out = torch.zeros(5, *said.mass.shape, dtype=dtype, device=said.mass.device)
    parts = (x.split(size, -1) for x in (said.weights, said.logits, final.weights, final.logits))
    for w, z, w_end, z_end in zip(*parts):
        from_final = _dot(w_end, z_end) - _dot(z, w_end)
        out += torch.stack([*_neighbours(w, z), _dot(w, z_end), from_final])
    return Products(*out)


def _by_products(said: Said, final: Said, products: Products) -> dict[str, Tensor]:
    """Entropies and divergences from dot products of weights and logits."""
    step, back = products.step, products.back
    mean, level = products.own / said.mass, said.log_mass
    to_final, from_final = products.to_final / said.mass, products.from_final / final.mass
    before, level_before, mass_before = mean.roll(1, 1), level.roll(1, 1), said.mass.roll(1, 1)
    bits = torch.stack(
        [
            level - mean,
            mean - to_final - level + final.log_mass,
            from_final - final.log_mass + level,
            before - step / mass_before - level_before + level,
            mean - back / said.mass - level + level_before,
        ]
    )
    return dict(zip(DIVERGENCES, bits.div_(LN2).clamp_(min=0).float()))


def _term_by_term(said: Said, final: Said) -> dict[str, Tensor]:
    """The same, by the plain formulas."""
    logp, end = (s.logits - s.log_mass[..., None] for s in (said, final))
    none = torch.full_like(said.mass[:, :1], torch.nan)
    bits = (
        plain_entropy(logp),
        plain_kl(logp, end),
        plain_kl(end, logp),
        torch.cat([none, plain_kl(logp[:, :-1], logp[:, 1:])], 1),
        torch.cat([none, plain_kl(logp[:, 1:], logp[:, :-1])], 1),
    )
    return dict(zip(DIVERGENCES, bits))


def _shapes(said: Said, final: Said, wanted: Set[str], ends: bool) -> dict[str, Tensor]:
    """What needs a pass of its own over the vocabulary."""
    out: dict[str, Tensor] = {}
    if not wanted & {"total_variation", "js_to_final", "nucleus_size"}:
        return out
    if said.products is not None:
        return _swept_shapes(said, wanted)
    probs, end = said.probs(), final.probs()
    room = torch.empty_like(probs)
    if "total_variation" in wanted:
        out["total_variation"] = torch.sub(probs, end, out=room).abs_().sum(-1).div(2).clamp(max=1)
    if "js_to_final" in wanted:
        torch.add(probs, end, out=room).div_(2)
        both, each = _entropy_sum(room), _entropy_sum(probs, room)
        out["js_to_final"] = (both - (each + _entropy_sum(end)) / 2).div(LN2).clamp(0, 1)
        if ends:
            out["js_to_final"][:, -1] *= 0
    if "nucleus_size" in wanted:
        out["nucleus_size"] = nucleus(probs, NUCLEUS).float()
    return out


def _swept_shapes(said: Said, wanted: Set[str]) -> dict[str, Tensor]:
    """The same, without any of the distributions in memory."""
    from latentlens.readouts import sweeps

    assert said.products is not None
    out: dict[str, Tensor] = {}
    best_logit = said.top[..., 0]
    if wanted & {"total_variation", "js_to_final"}:
        distance, mixed = sweeps.unlike(said.logits, best_logit, said.mass)
        each = said.mass.double().log() - said.products.own / said.mass
        js = (mixed - (each + each[:, -1:]) / 2).div(LN2).clamp(0, 1)
        js[:, -1] *= 0
        both = {"total_variation": distance.div(2).clamp(max=1), "js_to_final": js}
        out |= {name: value.float() for name, value in both.items() if name in wanted}
    if "nucleus_size" in wanted:
        out["nucleus_size"] = sweeps.nucleus(said.logits, best_logit, NUCLEUS).float()
    return out


def _entropy_sum(probs: Tensor, room: Tensor | None = None) -> Tensor:
    """-sum p log p in nats; the logarithms go into `room`."""
    logs = torch.clamp(probs, min=TINY, out=room).log_()
    return -logs.mul_(probs).sum(-1)


def _neighbours(weights: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`w_r . z_r`, `w_{r-1} . z_r` and `w_r . z_{r-1}` (NaN at the first), from products of overlapping spans."""
    spans = (weights.shape[1] - 1) // SPAN
    rest = slice(spans * SPAN, None)
    products = [(weights[:, rest] @ logits[:, rest].transpose(1, 2))[:, None]]
    if spans:  # [place, span, vocab, iteration], nothing copied
        p, z = (values.unfold(1, SPAN + 1, SPAN) for values in (weights, logits))
        products.insert(0, p.transpose(-1, -2) @ z)
    own = [product.diagonal(0, -2, -1) for product in products]
    own[0] = own[0][..., :SPAN] if spans else own[0]  # a span's last iteration is the first of the next
    step, back = ([product.diagonal(k, -2, -1) for product in products] for k in (1, -1))
    none = torch.full_like(weights[:, :1, 0], torch.nan)
    return _side_by_side(own), _side_by_side([none, *step]), _side_by_side([none, *back])


def _side_by_side(parts: list[Tensor]) -> Float[Tensor, "place iteration"]:
    return torch.cat([part.flatten(1) for part in parts], 1)


def _dot(rows: Tensor, one: Tensor) -> Tensor:
    """Dot products over the vocabulary of every iteration with a single one, or of single ones."""
    return (rows @ one.transpose(1, 2))[..., 0]
