"""Jacobian quantities of a whole trajectory, put where they belong: prompt, iteration, position.

In: a trajectory, and which iterations and positions to look at. Out: arrays with their dims, NaN where nobody looked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from latentlens.motion.jacobians import Places, lyapunov_exponents, spectra
from latentlens.motion.steps import widened
from latentlens.trajectory import Trajectory

CELLS = ("prompt", "iteration", "position")
CLOSE = 0.01
"""How much of an orbit's size a shorter round may miss by."""
Arrays = dict[str, tuple[tuple[str, ...], np.ndarray]]


@dataclass(frozen=True)
class Look:
    """What to look at, and how closely."""

    iterations: tuple[int, ...]
    where: Int[Tensor, "prompt n"]
    products: int
    count: int
    exponents: int
    tail: int
    seed: int
    batch_size: int

    @property
    def seen(self) -> list[tuple[int, int]]:
        """Prompts and positions that are there."""
        return [(prompt, p) for prompt, row in enumerate(self.where.tolist()) for p in row if p >= 0]

    @property
    def work(self) -> int:
        """In how many places, for a bar."""
        return len(self.seen) * len(self.iterations)

    def at(self, iteration: int, seen: list[tuple[int, int]]) -> Places:
        """These prompts and positions at one iteration."""
        prompt, position = torch.tensor(seen, dtype=torch.int64).reshape(-1, 2).unbind(1)
        return Places(prompt, torch.full_like(prompt, iteration), position)


def spectral_arrays(traj: Trajectory, look: Look, tick: Callable[[int], None]) -> Arrays:
    """Radius, eigenvalues, largest singular value and residual at every place that is looked at."""
    shape = (len(traj.tokens), traj.iterations + 1, traj.tokens.shape[1])
    eigenvalues = np.full((*shape, look.count), complex(np.nan, np.nan), dtype=np.complex64)
    numbers = {
        name: np.full(shape, np.nan, dtype=np.float32)
        for name in ("spectral_radius", "largest_singular_value", "spectral_residual")
    }
    for iteration in look.iterations:
        for places in look.at(iteration, look.seen).split(look.batch_size):
            found = spectra(traj, places, products=look.products, count=look.count, seed=look.seed)
            at = (places.prompt.numpy(), iteration, places.position.numpy())
            eigenvalues[at] = found.eigenvalues.numpy()
            numbers["spectral_radius"][at] = found.eigenvalues[:, 0].abs().numpy()
            numbers["largest_singular_value"][at] = found.largest.numpy()
            numbers["spectral_residual"][at] = found.residual.numpy()
            tick(len(places))
    return {"eigenvalues": ((*CELLS, "eigen"), eigenvalues)} | {n: (CELLS, values) for n, values in numbers.items()}


def floquet_arrays(traj: Trajectory, look: Look, label: np.ndarray, period: np.ndarray) -> Arrays:
    """Eigenvalues of the product of J over the last round of each orbit, and the largest modulus; NaN elsewhere."""
    shape = (len(traj.tokens), traj.tokens.shape[1])
    multipliers = np.full((*shape, look.count), complex(np.nan, np.nan), dtype=np.complex64)
    rounds = np.full(shape, np.nan, dtype=np.float32)
    turning = {
        place: _round(traj, place, float(period[place]), look.tail) for place in look.seen if label[place] == "orbit"
    }
    for length in sorted(set(turning.values())):
        same = [place for place, other in turning.items() if other == length]
        for places in look.at(traj.iterations - length, same).split(look.batch_size):
            found = spectra(traj, places, products=look.products, count=look.count, seed=look.seed, period=length)
            at = (places.prompt.numpy(), places.position.numpy())
            multipliers[at], rounds[at] = found.eigenvalues.numpy(), length
    return {
        "floquet": (("prompt", "position", "eigen"), multipliers),
        "floquet_radius": (("prompt", "position"), np.abs(multipliers[..., 0])),
        "floquet_period": (("prompt", "position"), rounds),
    }


def _round(traj: Trajectory, place: tuple[int, int], period: float, tail: int) -> int:
    """After how many iterations an orbit is back: the first multiple of its strongest period that is as good as any.

    A cycle of four that swings mostly between two places has its strongest period at two.
    """
    states = widened(traj.states[place[0], 1:, place[1]])[-tail:]
    lengths = [round(times * period) for times in range(1, int((len(states) - 1) / period) + 1)]
    apart = torch.stack([(states[-1] - states[-1 - length]).norm() for length in lengths])
    size = (states - states.mean(0)).norm(dim=-1).square().mean().sqrt()
    return lengths[int((apart <= apart.min() + CLOSE * size).int().argmax())]


def lyapunov_arrays(traj: Trajectory, look: Look, tick: Callable[[int], None]) -> Arrays:
    """Finite-time Lyapunov exponents at every position that is looked at."""
    values = np.full((len(traj.tokens), traj.tokens.shape[1], look.exponents), np.nan, dtype=np.float32)
    for places in look.at(0, look.seen).split(max(look.batch_size // look.exponents, 1)):
        found = lyapunov_exponents(traj, places, count=look.exponents, tail=look.tail, seed=look.seed, tick=tick)
        values[places.prompt.numpy(), places.position.numpy()] = found.numpy()
    return {"lyapunov": (("prompt", "position", "exponent"), values)}
