"""How far a state moves at each iteration, how much it turns, and how many dimensions the states fill.

In: states, iterations first. Out: tensors by iteration, in float32 or better. Knows nothing about models or prompts.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from latentlens.errors import MotionError


def motion_of(states: Float[Tensor, "iteration *place d_model"]) -> dict[str, Float[Tensor, "iteration *place"]]:
    """Norms, steps and angles of the states of one place or several; NaN where there is no step yet.

    With the step d_r = s_r - s_{r-1} and R the last iteration:

    - `state_norm` |s_r|; `step_norm` |d_r|; `relative_step` |d_r| / |s_r| (the latent-diff of Geiping et al. 2025)
    - `cosine` of d_r and d_{r-1}, from -1 to 1: 1 goes straight on, -1 turns back; `angle` between them, in degrees
    - `acceleration` |d_r - d_{r-1}| (all three Pappone et al. 2025)
    - `distance_to_final` |s_r - s_R| (Geiping et al. 2025)

    >>> import torch
    >>> square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> [round(x) for x in motion_of(square)["angle"][2:].tolist()]
    [90, 90]
    """
    steps = states.diff(dim=0)
    norms, lengths = states.norm(dim=-1), steps.norm(dim=-1)
    way = steps / lengths[..., None]
    apart, along = (way[1:] - way[:-1]).norm(dim=-1), (way[1:] + way[:-1]).norm(dim=-1)
    return {
        "state_norm": norms,
        "step_norm": _late(lengths, 1),
        "relative_step": _late(lengths / norms[1:], 1),
        "cosine": _late((way[1:] * way[:-1]).sum(-1).clamp(-1, 1), 2),
        # Exact for small angles too, where the arc cosine loses half of the digits (Kahan 2006).
        "angle": _late(2 * torch.atan2(apart, along) * (180 / math.pi), 2),
        "acceleration": _late(steps.diff(dim=0).norm(dim=-1), 2),
        "distance_to_final": (states - states[-1]).norm(dim=-1),
    }


def participation_ratio(points: Float[Tensor, "point d_model"]) -> float:
    """How many dimensions a cloud of points fills: (sum l_i)^2 / sum l_i^2 over the eigenvalues of its covariance.

    From 1 (on a line) to the smaller of the width and the number of points less one (Gao et al. 2017). n points of a
    round cloud in d dimensions give about n d / (n + d): trust it where there are many more points than dimensions.
    NaN where all points are the same.

    Raises:
        MotionError: fewer than two points.

    >>> import torch
    >>> round(participation_ratio(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])), 6)
    2.0
    """
    if len(points) < 2:
        raise MotionError(f"expected two points or more for an effective dimension, got {len(points)}: add prompts")
    centred = points - points.mean(dim=0)
    # The smaller of the two products has the same eigenvalues.
    square = centred @ centred.mT if len(centred) <= centred.shape[1] else centred.mT @ centred
    trace, squared = square.diagonal().double().sum(), square.double().square().sum()
    return float(trace.square() / squared)


def widened(states: Tensor) -> Tensor:
    """In float32, or as they are where they are more."""
    return states.to(torch.promote_types(states.dtype, torch.float32))


def _late(values: Tensor, first: int) -> Tensor:
    """Values that begin at an iteration, with NaN before."""
    return torch.cat([values.new_full((first, *values.shape[1:]), torch.nan), values])
