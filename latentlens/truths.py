"""The exact answer, where the model's task knows it, beside what the model says.

In: a trajectory of a model with a `truth`. Out: probabilities of candidates, and KL(truth || p_r) in bits.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from latentlens.errors import LatentLensError
from latentlens.statistics import LogitsAt
from latentlens.trajectory import Trajectory

Truth = dict[int, float]
"""Token id to exact probability."""


def known_truths(traj: Trajectory) -> list[Truth | None]:
    """The exact answer to each prompt, or None where there is none (another model, or a prompt without a query)."""
    model = traj.needs_model()
    if model.truth is None or traj.prompts is None or model.tokenizer is None:
        return [None] * len(traj.tokens)
    out: list[Truth | None] = []
    for prompt in traj.prompts:
        try:
            exact = model.truth(prompt)
        except LatentLensError:  # no query in this prompt: it has no answer, and that is all right
            out.append(None)
        else:
            out.append({model.tokenizer.token_id(name): p for name, p in exact.items() if p > 0})
    return out


def truth_bits(
    logits_at: LogitsAt,
    normaliser: Float[Tensor, "prompt iteration position"],
    truths: list[Truth | None],
    mask: Tensor,
) -> Float[Tensor, "prompt iteration position"]:
    """KL(truth || p_r) in bits at each prompt's last token, where its truth is known; NaN elsewhere."""
    out = torch.full_like(normaliser, torch.nan)
    known = [row for row, truth in enumerate(truths) if truth is not None]
    for iteration in range(normaliser.shape[1] if known else 0):
        logits = logits_at(iteration)
        for row in known:
            last = int(mask[row].sum()) - 1
            exact = truths[row] or {}
            said = logits[row, last, list(exact)].cpu() - normaliser[row, iteration, last]
            terms = [p * (math.log2(p) - float(lp) / math.log(2)) for p, lp in zip(exact.values(), said)]
            out[row, iteration, last] = max(sum(terms), 0.0)
    return out


def truth_of(token: Tensor, truths: list[Truth | None], mask: Tensor) -> Float[Tensor, "prompt position candidate"]:
    """The exact probability of each candidate at each prompt's last token; NaN where it is not known."""
    out = torch.full(token.shape, torch.nan)
    for row, truth in enumerate(truths):
        if truth is None:
            continue
        last = int(mask[row].sum()) - 1
        ids = token[row, last].tolist()
        out[row, last] = torch.tensor([truth.get(i, 0.0) if i >= 0 else torch.nan for i in ids])
    return out
