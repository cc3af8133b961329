"""Where the states would come to rest if the model went on.

In: a trajectory of a model that can step. Out: its fixed points, and where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentlens.motion.jacobians import opened
from latentlens.motion.steps import widened
from latentlens.trajectory import Trajectory

MOST = 256
"""How many further iterations are made at most, unless told."""


@dataclass(frozen=True)
class Resting:
    """The last state that was reached, and whether the last step to it was within the rounding floor."""

    state: Float[Tensor, "prompt position d_model"]
    rests: Bool[Tensor, "prompt position"]


def iterate_on(traj: Trajectory, prompts: Tensor, *, most: int, floor: float) -> Resting:
    """Go on from the last state until every position moves by `floor` of its norm or less, or `most` iterations."""
    model, (context, width) = traj.needs_model(), opened(traj, prompts)
    state = traj.states[prompts, -1, :width].to(model.device)
    real = traj.mask[prompts, :width].to(model.device)
    rests, last = torch.zeros_like(real), widened(state).norm(dim=-1)
    with torch.no_grad():
        for _ in range(most):
            following = model.step(state, context)
            moved, size = (widened(following) - widened(state)).norm(dim=-1), widened(following).norm(dim=-1)
            rests = moved <= floor * torch.maximum(size, last)
            state = following
            if bool((rests | ~real).all()):
                break
    full = torch.zeros_like(traj.states[prompts, 0])
    found = torch.zeros(full.shape[:2], dtype=torch.bool)
    full[:, :width], found[:, :width] = state.cpu(), (rests & real).cpu()
    return Resting(full, found)
