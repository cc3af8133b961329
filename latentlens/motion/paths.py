"""What the states alone tell of each token's path, for a whole trajectory.

In: a trajectory. Out: arrays with their dims; NaN at pads. The formulas are in steps, convergence and orbits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from latentlens.embeddings.sources import normed
from latentlens.errors import MotionError
from latentlens.motion.convergence import Thresholds, contraction, labels, last_step, settle, straightness
from latentlens.motion.orbits import orbits
from latentlens.motion.resting import iterate_on
from latentlens.motion.stability import CELLS, Arrays
from latentlens.motion.steps import motion_of, participation_ratio, widened
from latentlens.trajectory import Trajectory


def token_arrays(traj: Trajectory, space: str, tail: int, limits: Thresholds, tick: Callable[[int], None]) -> Arrays:
    """Everything that the states alone tell of a token, a prompt at a time."""
    shape = (len(traj.tokens), traj.iterations + 1, traj.tokens.shape[1])
    out: Arrays = {}
    eps = torch.finfo(traj.states.dtype).eps
    for prompt, seen in enumerate(traj.mask):
        for name, values in _of_tokens(finite_states(traj, prompt, space), tail, eps, limits).items():
            dims = CELLS if values.ndim == 2 else ("prompt", "position")
            full = np.full([shape[CELLS.index(dim)] for dim in dims], np.nan, dtype=np.float32)
            out.setdefault(name, (dims, full))[1][prompt][..., seen.numpy()] = values.numpy()
        tick(1)
    last, rate, straight, strength = (
        out[name][1] for name in ("last_step", "contraction", "straightness", "period_strength")
    )
    named = labels(last, rate, straight, strength, eps, limits)
    named[~traj.mask.numpy()] = ""
    return out | {"label": (("prompt", "position"), named)}


def _of_tokens(
    states: Float[Tensor, "iteration token d_model"], tail: int, eps: float, limits: Thresholds
) -> dict[str, Tensor]:
    out = motion_of(states)
    last = states[1:][-tail:].transpose(0, 1)
    floor = out["state_norm"] * eps * limits.floor
    out["contraction"] = contraction(out["step_norm"], floor)
    out["last_step"] = last_step(out["relative_step"])
    out["straightness"] = straightness(last)
    out["settle"] = settle(out["distance_to_final"], limits.settles)
    round_it = orbits(last, floor[1:][-tail:].mean(0))
    out["period"], out["period_strength"], out["winding"] = round_it.period, round_it.strength, round_it.turns
    return out


def dimensions(traj: Trajectory, space: str) -> np.ndarray:
    """The participation ratio of all real states of each iteration; NaN where there is one state only."""
    if int(traj.mask.sum()) < 2:
        return np.full(traj.iterations + 1, np.nan)
    clouds = (_states(traj, traj.states[:, r][traj.mask][None], space, r)[0] for r in range(traj.iterations + 1))
    return np.array([participation_ratio(cloud) for cloud in clouds])


def resting_arrays(traj: Trajectory, space: str, most: int, floor: float, batch_size: int) -> Arrays:
    """Where the states come to rest, and how far each is from there."""
    distances, rests, eps = [], [], torch.finfo(traj.states.dtype).eps
    for rows in torch.arange(len(traj.tokens)).split(batch_size):
        found = iterate_on(traj, rows, most=most, floor=floor * eps)
        for row, end, there in zip(rows, found.state, found.rests):
            goal = _states(traj, end[None], space, traj.iterations)
            apart = (_states(traj, traj.states[row], space) - goal).norm(dim=-1)
            distances.append(apart.masked_fill(~there, torch.nan).float())
            rests.append(there)
    return {
        "distance_to_fixed_point": (CELLS, torch.stack(distances).numpy()),
        "fixed_point": (("prompt", "position"), torch.stack(rests).numpy()),
    }


def finite_states(traj: Trajectory, prompt: int, space: str) -> Float[Tensor, "iteration token d_model"]:
    """All states of the real tokens of a prompt; NaN and infinities are refused."""
    states = _states(traj, traj.states[prompt][:, traj.mask[prompt]], space)
    _check_finite(states, prompt)
    return states


def _states(traj: Trajectory, states: Float[Tensor, "iteration ..."], space: str, first: int = 0) -> Tensor:
    """States from iteration `first` on, in float32 or better, normed where that is asked."""
    if space == "norm":
        states = normed(states, traj.needs_model(), torch.arange(first, first + len(states)))
    return widened(states)


def _check_finite(states: Float[Tensor, "iteration token d_model"], prompt: int) -> None:
    bad = ~states.isfinite().all(-1)
    if bool(bad.any()):
        iteration, token = bad.nonzero()[0].tolist()
        raise MotionError(
            f"expected finite states, got NaN or infinity at prompt {prompt}, iteration {iteration}, position {token} "
            f"({int(bad.sum())} such states of this prompt): the model diverges there; capture fewer iterations"
        )
