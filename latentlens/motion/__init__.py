"""Where the state goes: steps, angles, convergence, orbits and stability of every token, as one Dataset.

In: a `Trajectory`. Out: an xarray Dataset over prompt, iteration and position. Each quantity is worked out in a module
of its own (steps, convergence, orbits, jacobians, resting) and only put together here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from latentlens.errors import MotionError
from latentlens.motion.convergence import Thresholds
from latentlens.motion.jacobians import check_iterates
from latentlens.motion.orbits import LONGEST
from latentlens.motion.paths import dimensions, resting_arrays, token_arrays
from latentlens.motion.resting import MOST
from latentlens.motion.stability import Arrays, Look, floquet_arrays, lyapunov_arrays, spectral_arrays
from latentlens.names import check_name, check_whole
from latentlens.progress import Progress, progress_bar
from latentlens.readouts import positions_of
from latentlens.trajectory import Trajectory

PRODUCTS, EIGENVALUES, FEWEST = 20, 6, 8
TITLES = {
    "state_norm": ("norm of the state", "state units"),
    "step_norm": ("length of the step to this state", "state units"),
    "relative_step": ("length of the step over the norm of the state", "1"),
    "cosine": ("cosine between this step and the one before", "1"),
    "angle": ("angle between this step and the one before", "degrees"),
    "acceleration": ("length of the change of the step", "state units"),
    "distance_to_final": ("distance to the last state", "state units"),
    "participation_ratio": ("effective dimension of all states of an iteration", "dimensions"),
    "contraction": ("factor from step to step, fitted before the rounding floor", "1"),
    "last_step": ("largest of the last 4 relative steps", "1"),
    "straightness": ("distance over path of the last states", "1"),
    "period": ("period of the last states", "iterations"),
    "period_strength": ("share of the last states' motion at that period", "1"),
    "winding": ("turns of the last states in their plane", "turns"),
    "settle": ("first iteration from which the state stays near the last", "iteration"),
    "label": ("kind of motion", "label"),
    "spectral_radius": ("spectral radius of one iteration's Jacobian", "1"),
    "eigenvalues": ("leading eigenvalues of one iteration's Jacobian", "1"),
    "largest_singular_value": ("largest singular value of one iteration's Jacobian", "1"),
    "spectral_residual": ("residual of the leading eigenvalue", "1"),
    "floquet": ("leading Floquet multipliers of the last round", "1"),
    "floquet_radius": ("modulus of the leading Floquet multiplier", "1"),
    "floquet_period": ("iterations of one round of the orbit", "iterations"),
    "lyapunov": ("finite-time Lyapunov exponents", "nats per iteration"),
    "fixed_point": ("whether the state comes to rest when the model goes on", "bool"),
    "distance_to_fixed_point": ("distance to the state where it comes to rest", "state units"),
    "token": ("token of the prompt", "token id"),
}


def dynamics(
    traj: Trajectory,
    *,
    space: Literal["raw", "norm"] = "raw",
    tail: int = 24,
    thresholds: Mapping[str, float] | None = None,
    spectra: bool | Iterable[int] = False,
    positions: Iterable[int] | None = None,
    lyapunov: bool | int = False,
    fixed_point: bool | int = False,
    products: int = PRODUCTS,
    n_eigenvalues: int = EIGENVALUES,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress = True,
) -> xr.Dataset:
    """How the state of every token moves through the iterations; formulas and sources are on the maths page.

    Args:
        traj: what `capture` returns, with two iterations or more.
        space: "raw" states, or "norm": what the model's last norm makes of them (papers plot these). Jacobians are
            always of the raw states.
        tail: how many of the last states (at most 512) tell period, winding, straightness and exponents; fewer where
            there are fewer.
        thresholds: from which numbers on a motion is called what, by name: still=1e-3, contracts=0.97, straight=0.5,
            orbits=0.5, settles=0.05, floor=8 (eps); see `label`.
        spectra: iterations at which the Jacobian J = d s_{r+1}[p] / d s_r[p] of one iteration is looked at, the other
            positions fixed; a negative one counts from the end; True is all.
        positions: where J is looked at; None is each prompt's own last token.
        lyapunov: how many Lyapunov exponents (True: one), at the same positions.
        fixed_point: go on for this many iterations at most (True: 256) to find where the states come to rest.
        products: products with J (or its transpose) at each place; 6 are for the singular value, the others for
            Arnoldi.
        n_eigenvalues: how many of the leading eigenvalues to keep.
        batch_size: how many places or prompts run at once.
        seed: what the first vectors of Arnoldi and of the exponents are drawn from.
        progress: a bar after one second; False for none, or a function `f(share, what)`.

    Returns:
        A Dataset over prompt, iteration (0 included), position; pads are NaN. With d_r = s_r - s_{r-1}:
        `state_norm`, `step_norm` `|d_r|` (NaN at 0),
        `relative_step`, `cosine` and `angle` [degrees] to the step before,
        `acceleration`, `distance_to_final`; by iteration `participation_ratio`; by token `contraction` (factor a step),
        `last_step`, `straightness`, `period` [iterations] and `period_strength`, `winding` [turns], `settle`, and
        `label`: "fixed point" (last_step <= still or contraction < contracts), else "slider" (straightness >=
        straight), else "orbit" (period_strength >= orbits), else "wandering".
        With `spectra`: `spectral_radius`, `eigenvalues` (complex, largest first), `largest_singular_value`,
        `spectral_residual`, and for orbits the Floquet multipliers of the last round, `floquet`, `floquet_radius`, and
        its length `floquet_period`. With `lyapunov`: `lyapunov` [nats per iteration]. With `fixed_point`: whether it
        was found, and `distance_to_fixed_point` (NaN where it was not).

    Raises:
        MotionError: one iteration only, states that are not finite, options that do not fit, a model that cannot step
            where it must.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "Ann : Bob . Bob : Ann . 1 steps from Ann", iterations=32)
    >>> dyn = ll.dynamics(traj, spectra=[-1])
    >>> dyn.step_norm.dims, str(dyn.label[0, 0].values), bool(dyn.spectral_radius[0, -1, -1] < 1)
    (('prompt', 'iteration', 'position'), 'fixed point', True)
    """
    limits = Thresholds.checked(thresholds)
    _check(traj, space, spectra, lyapunov, fixed_point, positions, products, n_eigenvalues)
    whole = {"tail": tail, "products": products, "n_eigenvalues": n_eigenvalues, "batch_size": batch_size}
    for name, value in whole.items():
        check_whole(name, value, MotionError, {"tail": 3, "products": FEWEST}.get(name, 1))
    if tail > LONGEST:
        raise MotionError(f"expected tail to be at most {LONGEST}, got {tail}")
    look = Look(
        iterations=_iterations(traj, spectra),
        where=positions_of(traj, (-1,) if positions is None else positions),
        products=products,
        count=min(n_eigenvalues, traj.states.shape[-1]),
        exponents=min(int(lyapunov), traj.states.shape[-1]),
        tail=tail,
        seed=seed,
        batch_size=batch_size,
    )
    asked = int(lyapunov) and len(look.seen) * traj.iterations
    with progress_bar(progress, len(traj.states) + look.work + asked, "dynamics", "place") as tick:
        data = token_arrays(traj, space, tail, limits, tick)
        data["participation_ratio"] = (("iteration",), dimensions(traj, space))
        if look.iterations:
            data |= spectral_arrays(traj, look, tick)
            data |= floquet_arrays(traj, look, data["label"][1], data["period"][1])
        if look.exponents:
            data |= lyapunov_arrays(traj, look, tick)
        if fixed_point:
            most = MOST if fixed_point is True else fixed_point
            data |= resting_arrays(traj, space, most, limits.floor, batch_size)
    return _dataset(traj, data, limits, {"space": space, "tail": min(tail, traj.iterations)})


def _dataset(traj: Trajectory, data: Arrays, limits: Thresholds, about: dict[str, Any]) -> xr.Dataset:
    """Name everything, with its unit; the texts of the tokens are as in a readout."""
    data["token"] = (("prompt", "position"), traj.tokens.masked_fill(~traj.mask, -1).numpy())
    tokenizer = traj.model.tokenizer if traj.model is not None else None
    ids = np.unique(traj.tokens[traj.mask].numpy())
    texts = [tokenizer.text(int(i)) if tokenizer else f"<{i}>" for i in ids]
    out = xr.Dataset(
        {name: (dims, v, dict(zip(("long_name", "units"), TITLES[name]))) for name, (dims, v) in data.items()},
        coords={"iteration": np.arange(traj.iterations + 1), "vocabulary": ids},
        attrs={
            "model": traj.origin.get("name"),
            "seed": traj.seed,
            "random_start": int(bool(traj.origin.get("random_start"))),
            "eps": torch.finfo(traj.states.dtype).eps,
            **about,
        },
    )
    out["label"].attrs.update(limits.as_dict())
    return out.assign(text=("vocabulary", np.array(texts, dtype=object)))


def _check(
    traj: Trajectory,
    space: Any,
    spectra: Any,
    lyapunov: Any,
    fixed_point: Any,
    positions: Any,
    products: int,
    kept: int,
) -> None:
    """Refuse what does not fit together, before anything is worked out."""
    if not isinstance(traj, Trajectory):
        raise MotionError(f"expected a trajectory that ll.capture returns, got {type(traj).__name__}: capture first")
    if traj.iterations < 2:
        raise MotionError("expected two iterations or more to tell motion, got 1: capture with more iterations")
    check_name("a space", space, ("raw", "norm"), MotionError)
    for name, value in (("lyapunov", lyapunov), ("fixed_point", fixed_point)):
        if not isinstance(value, bool):
            check_whole(name, value, MotionError)
    asked = {"spectra=": spectra is not False, "lyapunov=": lyapunov, "fixed_point=": fixed_point}
    for name in (name for name, wanted in asked.items() if wanted):
        check_iterates(traj.needs_model(), traj, name)
    if positions is not None and spectra is False and not lyapunov:
        raise MotionError(
            "expected positions= with spectra= or lyapunov=, got it alone: all other quantities are everywhere"
        )
    if spectra is False and (products, kept) != (PRODUCTS, EIGENVALUES):
        raise MotionError("expected products= and n_eigenvalues= with spectra=, got them alone: pass spectra=[-1]")


def _iterations(traj: Trajectory, spectra: bool | Iterable[int]) -> tuple[int, ...]:
    """The iterations whose Jacobian is looked at, each once."""
    last = traj.iterations
    if isinstance(spectra, bool):
        return tuple(range(last + 1)) if spectra else ()
    wanted = list(spectra)
    for r in wanted:
        if isinstance(r, bool) or not isinstance(r, int | np.integer) or not -last - 1 <= r <= last:
            raise MotionError(
                f"expected spectra= at iterations from 0 to {last}, got {r!r}: capture with more iterations"
            )
    if not wanted:
        raise MotionError("expected spectra= at one iteration or more, got none: pass spectra=[-1] for the last")
    return tuple(sorted({int(r) % (last + 1) for r in wanted}))
