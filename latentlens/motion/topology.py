"""Loops in the cloud of a token's states, by persistent homology: a summary that needs no plane and no period.

In: a `Trajectory`. Out: an xarray Dataset of one-dimensional classes (H1), longest-lived first. Ripser, an optional
extra, finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.errors import MotionError
from latentlens.motion.paths import finite_states
from latentlens.names import check_name, check_whole
from latentlens.progress import Progress, progress_bar
from latentlens.readouts import positions_of
from latentlens.trajectory import Trajectory

MOST = 300
"""States whose loops are looked for at once: the work grows with the cube of their number."""
TITLES = {
    "birth": ("distance at which the loop closes", "state units"),
    "death": ("distance at which the loop is filled", "state units"),
    "loop_strength": ("longest life of a loop over the diameter of the states", "1"),
    "loops": ("number of loops, however short-lived", "1"),
    "diameter": ("largest distance of two states", "state units"),
    "at": ("position in the prompt", "position"),
}


def persistence(
    traj: Trajectory,
    *,
    by: Literal["token", "iteration"] = "token",
    positions: Iterable[int] | None = None,
    start: int = 1,
    space: Literal["raw", "norm"] = "raw",
    features: int = 8,
    seed: int = 0,
    progress: Progress = True,
) -> xr.Dataset:
    """Loops (H1) in the Vietoris-Rips filtration of clouds of states, by Ripser (Bauer 2021).

    A loop is born at the distance at which neighbours along it touch, and dies at the one at which triangles fill it.
    States around a circle of radius rho give one that lives until sqrt(3) rho; states on a line give none, and a round
    cloud many that die soon. It needs no plane and no period, and does not tell in which direction a state went.

    Args:
        traj: what `capture` returns.
        by: a cloud for each "token", its states at all iterations; or for each "iteration", the states of all tokens.
        positions: which tokens, a negative one counting from each prompt's own end; None is each prompt's last for
            clouds by token, and all for clouds by iteration.
        start: the first iteration that counts; `s_0` is no part of the motion.
        space: "raw" states, or "norm": what the model's last norm makes of them.
        features: how many of the loops to keep.
        seed: which states are taken where a cloud has more than 300: a random sample, the same of clouds of one size.
        progress: a bar after one second; False for none, or a function `f(share, what)`.

    Returns:
        A Dataset over prompt and position, or over iteration: `birth` and `death` [state units] by feature, those that
        live longest first and NaN behind them; `loops`, how many there are; `diameter` of the cloud, and
        `loop_strength`, the longest life over the diameter: sqrt(3) / 2 = 0.87 on a circle, 0 where there is no loop.
        NaN where there are fewer than four states, or all are the same. By token, `at` says where each is in its
        prompt (-1: the prompt is too short for it).

    Raises:
        MotionError: Ripser is not installed, states that are not finite, options that do not fit.
        ReadoutError: a position that no prompt has.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "Ann : Bob . Bob : Ann . 1 steps from Ann", iterations=24)
    >>> found = ll.persistence(traj)
    >>> found.birth.dims, bool(found.loop_strength[0, 0] < 0.5)
    (('prompt', 'position', 'feature'), True)
    """
    _check(traj, by, space, features, start, seed)
    ripser, where, generator = _ripser(), _places(traj, by, positions), torch.Generator()
    shape = tuple(where.shape) if by == "token" else (traj.iterations + 1 - start,)
    numbers = np.full((*shape, 2 * features + 3), np.nan)
    total = int((where >= 0).sum()) if by == "token" else len(numbers)
    with progress_bar(progress, total, "persistence", "cloud") as tick:
        for cell, cloud in _clouds(traj, by, where, start, space):
            if len(cloud) > MOST:
                cloud = cloud[torch.randperm(len(cloud), generator=generator.manual_seed(seed))[:MOST]]
            numbers[cell] = _loops(ripser, cloud, features)
            tick(1)
    out = _dataset(numbers, by, np.arange(start, traj.iterations + 1), where.numpy(), features)
    return out.assign_attrs(model=traj.origin.get("name"), space=space, by=by, start=start, most=MOST, seed=seed)


def _check(traj: Any, by: str, space: str, features: int, start: int, seed: int) -> None:
    """Refuse what does not fit, before anything is worked out."""
    if not isinstance(traj, Trajectory):
        raise MotionError(f"expected a trajectory that ll.capture returns, got {type(traj).__name__}: capture first")
    check_name("clouds", by, ("token", "iteration"), MotionError)
    check_name("a space", space, ("raw", "norm"), MotionError)
    check_whole("features", features, MotionError)
    check_whole("start", start, MotionError, 0, traj.iterations)
    check_whole("seed", seed, MotionError, 0)


def _places(traj: Trajectory, by: str, positions: Iterable[int] | None) -> Int[Tensor, "prompt position"]:
    """Where the tokens asked for are in each prompt; -1 at pads."""
    every = range(traj.tokens.shape[1])
    chosen = list((every if by == "iteration" else (-1,)) if positions is None else positions)
    if not chosen:
        raise MotionError("expected one position or more, got none: leave positions= out")
    where = positions_of(traj, chosen)
    return where.masked_fill(~traj.mask.gather(1, where.clamp(min=0)), -1)


def _ripser() -> Any:
    try:
        from ripser import ripser
    except ImportError:
        raise MotionError(
            "expected ripser to find loops, which is not installed: pip install 'latentlens-trajectories[topology]'"
        ) from None
    return ripser


def _clouds(
    traj: Trajectory, by: str, where: Tensor, start: int, space: str
) -> Iterator[tuple[tuple[int, ...], Float[Tensor, "state d_model"]]]:
    """Every cloud that has states, and which it is."""
    seen = where >= 0
    for prompt in range(len(traj.tokens) if by == "token" else 0):
        states = finite_states(traj, prompt, space)[start:]
        for column in seen[prompt].nonzero()[:, 0].tolist():
            yield (prompt, column), states[:, where[prompt, column]]
    if by == "iteration":
        rows = [finite_states(traj, prompt, space) for prompt in range(len(traj.tokens))]
        kept = [where[p][seen[p]] for p in range(len(rows))]
        for iteration in range(start, traj.iterations + 1):
            yield (iteration - start,), torch.cat([row[iteration, at] for row, at in zip(rows, kept)])


def _loops(ripser: Any, cloud: Float[Tensor, "state d_model"], features: int) -> np.ndarray:
    """Births, deaths, strength, number and diameter, in one row."""
    out = np.full(2 * features + 3, np.nan)
    if len(cloud) < 4:
        return out
    apart = torch.cdist(cloud.double(), cloud.double(), compute_mode="donot_use_mm_for_euclid_dist").numpy()
    diameter = apart.max()
    out[-1] = diameter
    if diameter <= float(cloud.norm(dim=-1).max()) * torch.finfo(cloud.dtype).eps:
        return out
    found = ripser(apart / diameter, distance_matrix=True, maxdim=1)["dgms"][1] * diameter
    found = found[np.argsort(found[:, 0] - found[:, 1], kind="stable")]
    kept = found[:features]
    out[: len(kept)], out[features : features + len(kept)] = kept[:, 0], kept[:, 1]
    out[-3], out[-2] = (found[0, 1] - found[0, 0]) / diameter if len(found) else 0.0, len(found)
    return out


def _dataset(
    numbers: np.ndarray, by: str, iterations: np.ndarray, where: Int[np.ndarray, "prompt position"], features: int
) -> xr.Dataset:
    """Name everything, with its unit."""
    dims = ("prompt", "position") if by == "token" else ("iteration",)
    births, deaths, rest = np.split(numbers, [features, 2 * features], axis=-1)
    data = {"birth": ((*dims, "feature"), births), "death": ((*dims, "feature"), deaths)}
    data |= {name: (dims, rest[..., k]) for k, name in enumerate(("loop_strength", "loops", "diameter"))}
    data |= {"at": (dims, where)} if by == "token" else {}
    named = {n: (d, v, dict(zip(("long_name", "units"), TITLES[n]))) for n, (d, v) in data.items()}
    return xr.Dataset(named, coords={"iteration": iterations} if by == "iteration" else {})
