"""Whether a state goes round: the period of its last states, how much of their motion that explains, and the turns.

In: the last states of many tokens. Out: one number a token. Knows nothing about models or labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

SHORTEST, LONGEST = 8, 512
"""The fewest and the most states in which a period is looked for."""
OVERSAMPLE = 8
"""How many frequencies are tried for each of the DFT's own."""
FEW = 2**24
"""How many numbers are worked on at once."""
FLAT = 1e-6
"""Below this share of the first component's variance there is no plane to turn in."""

Square = Float[Tensor, "token state state"]


@dataclass(frozen=True)
class Orbits:
    """Of each token: the period [iterations], its strength (from 0 to 1), and the turns in the plane."""

    period: Float[Tensor, token]
    strength: Float[Tensor, token]
    turns: Float[Tensor, token]


def orbits(tail: Float[Tensor, "token state d_model"], floor: Float[Tensor, token]) -> Orbits:
    """Period, strength and turns of each token's last states around the straight line that they follow.

    The strength is the largest share of the motion around a straight line (least squares in time) that one frequency
    explains, over periods from 2 to half of the states; the period is the inverse of that frequency. It is the share of
    non-DC power in one bin of the DFT (Varaksin et al. 2026), taken at all whole periods and at eight frequencies for
    each bin, with sine and cosine fitted together with the line: a pure rotation on a line has strength 1.

    The turns are |sum of the angles from each state to the next| / 2 pi, each angle from -180 to 180 degrees, in the
    plane of the first two principal components of what is left without that line: (n - 1) / T for an orbit of period T
    in n states. NaN where the motion has no plane. All three are NaN where the motion around the line is `floor` or
    less (root mean square), or where there are fewer than eight states.

    >>> import torch
    >>> found = orbits(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]] * 3]), torch.zeros(1))
    >>> float(found.period), round(float(found.strength), 6), round(float(found.turns), 6)
    (4.0, 1.0, 2.75)
    """
    count = tail.shape[1]
    if count < SHORTEST:
        blank = torch.full((len(tail),), torch.nan)
        return Orbits(blank, blank, blank)
    centred = (tail - tail.mean(dim=1, keepdim=True)).double()
    waves = _waves(count)
    around = _products(waves.flat @ centred)
    total = around.diagonal(dim1=1, dim2=2).sum(-1)
    power, best = _strongest(around, waves.basis)
    still = total <= count * floor.double().square()
    return Orbits(
        period=(1 / waves.frequency[best]).masked_fill(still, torch.nan),
        strength=(power / total).clamp(0, 1).masked_fill(still, torch.nan),
        turns=_turns(_products(centred - waves.line.T @ (waves.fitted[best] @ centred))).masked_fill(still, torch.nan),
    )


def _products(states: Float[Tensor, "token state d_model"]) -> Square:
    """Inner products: they tell all that turning the axes leaves, and are small."""
    return states @ states.mT


def _strongest(products: Square, basis: Float[Tensor, "frequency 2 state"]) -> tuple[Tensor, Tensor]:
    """The largest power of each token's motion at one frequency, and its number; a few tokens at a time."""
    few = max(FEW // basis.numel(), 1)
    parts = [torch.einsum("fkn,tnm,fkm->tf", basis, part, basis).max(dim=1) for part in products.split(few)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def _turns(products: Square) -> Float[Tensor, token]:
    """Turns in the plane of the first two principal components, from the inner products of the states."""
    values, vectors = torch.linalg.eigh(products)
    second, first = values[:, -2].clamp(min=0), values[:, -1].clamp(min=0)
    x, y = vectors[:, :, -1] * first.sqrt()[:, None], vectors[:, :, -2] * second.sqrt()[:, None]
    turn = torch.atan2(y, x).diff(dim=1)
    turn = turn - 2 * math.pi * torch.round(turn / (2 * math.pi))
    return (turn.sum(1).abs() / (2 * math.pi)).masked_fill(second <= FLAT * first, torch.nan)


@dataclass(frozen=True)
class _Waves:
    """What one number of states needs, worked out once."""

    frequency: Float[Tensor, frequency]
    basis: Float[Tensor, "frequency 2 state"]  # orthonormal, of its sine and cosine less their line
    line: Float[Tensor, "2 state"]  # orthonormal: a constant and a slope
    fitted: Float[Tensor, "frequency 2 state"]  # what of it is there, where the wave is fitted too
    flat: Float[Tensor, "state state"]  # takes away the line that is fitted alone


@lru_cache(maxsize=8)
def _waves(count: int) -> _Waves:
    time = torch.arange(count, dtype=torch.float64)
    line = torch.stack([torch.ones_like(time), time - time.mean()])
    line = line / line.norm(dim=1, keepdim=True)
    flat = torch.eye(count, dtype=torch.float64) - line.T @ line
    whole = [1 / period for period in range(2, count // 2 + 1)]
    between = [i / (OVERSAMPLE * count) for i in range(2 * OVERSAMPLE, OVERSAMPLE * count // 2)]
    frequency = torch.tensor(whole + between, dtype=torch.float64)
    angles = 2 * math.pi * frequency[:, None] * time
    waves = torch.stack([angles.cos(), angles.sin()], dim=1)
    _, sizes, basis = torch.linalg.svd(waves @ flat, full_matrices=False)
    design = torch.cat([line.expand(len(frequency), -1, -1), waves], dim=1).mT
    fitted = torch.linalg.pinv(design, rtol=1e-9)[:, :2]
    # At two iterations a period there is no sine.
    return _Waves(frequency, basis * (sizes > 1e-6 * sizes[:, :1])[..., None], line, fitted, flat)
