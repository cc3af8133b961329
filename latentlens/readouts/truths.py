"""The exact answer, where the model's task knows it, beside what the model says.

In: a model with a `truth`, its prompts and logits. Out: probabilities of candidates, and KL(truth || p_r) in bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.errors import LatentLensError
from latentlens.models.base import LatentModel
from latentlens.readouts.said import Said

Truth = dict[int, float]
"""Token id to exact probability."""


def known_truths(model: LatentModel, prompts: Sequence[str] | None, count: int) -> list[Truth | None]:
    """The exact answer to each prompt, or None where there is none (another model, or a prompt without a query)."""
    if model.truth is None or prompts is None or model.tokenizer is None:
        return [None] * count
    out: list[Truth | None] = []
    for prompt in prompts:
        try:
            exact = model.truth(prompt)
        except LatentLensError:  # no query in this prompt: it has no answer, and that is all right
            out.append(None)
        else:
            out.append({model.tokenizer.token_id(name): p for name, p in exact.items() if p > 0})
    return out


def truth_bits(said: Said, truths: Sequence[Truth | None]) -> Float[Tensor, "place iteration"]:
    """KL(truth || p_r) in bits at each place whose truth is known, from logits as they came; NaN elsewhere."""
    out = torch.full_like(said.mass, torch.nan)
    for place, exact in enumerate(truths):
        if exact is None:
            continue
        share = torch.tensor(list(exact.values()), dtype=torch.float64)
        logits = said.logits[place][:, list(exact)]
        log_prob = (logits - said.top[place, :, :1] - said.log_mass[place, :, None]).double().cpu()
        bits = (share * (share.log2() - log_prob / math.log(2))).sum(-1)
        out[place] = bits.clamp(min=0).to(out)
    return out


def truth_of(
    token: Int[Tensor, "prompt position candidate"], truths: Sequence[Truth | None], mask: Tensor
) -> Float[Tensor, "prompt position candidate"]:
    """The exact probability of each candidate at each prompt's last token; NaN where it is not known."""
    out = torch.full(token.shape, torch.nan)
    for row, truth in enumerate(truths):
        if truth is None:
            continue
        last = int(mask[row].sum()) - 1
        ids = token[row, last].tolist()
        out[row, last] = torch.tensor([truth.get(i, 0.0) if i >= 0 else torch.nan for i in ids])
    return out
