"""The rules by which a model may stop iterating.

In: what a gate says after each iteration. Out: the probability of stopping there, and the iteration that a threshold
picks.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.errors import ReadoutError


def exit_pdf(gate: Float[Tensor, "iteration ..."]) -> Float[Tensor, "iteration ..."]:
    """The probability of stopping after each of R iterations (Zhu et al. 2025, Ouro, arXiv 2510.25741).

    `p_t = lam_t prod_{j<t} (1 - lam_j)` for t < R, and the last iteration takes what remains, so that the pdf sums to
    one and depends on R. `gate` is `lam_1 .. lam_R`, from 0 to 1, iterations first.

    >>> import torch
    >>> exit_pdf(torch.tensor([0.5, 0.5, 0.1])).tolist()
    [0.5, 0.25, 0.25]
    """
    stay = torch.cat([torch.ones_like(gate[:1]), (1 - gate[:-1]).cumprod(0)])
    return torch.cat([gate[:-1] * stay[:-1], stay[-1:]])


def exit_iteration(pdf: Float[Tensor, "iteration ..."], threshold: float) -> Int[Tensor, "..."]:
    """The first iteration (from 1) at which the summed pdf reaches the threshold; otherwise the last.

    The sum is taken in the pdf's own dtype, as the authors' code does: in float32 it can reach a threshold of 1.0
    before the last iteration.

    >>> import torch
    >>> int(exit_iteration(torch.tensor([0.5, 0.25, 0.25]), 0.7))
    2
    """
    if not 0 <= threshold <= 1:
        raise ReadoutError(f"expected an exit threshold from 0 to 1, got {threshold!r}")
    reached = pdf.cumsum(0) >= threshold
    reached[-1] = True
    return reached.to(torch.int8).argmax(0) + 1
