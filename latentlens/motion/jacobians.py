"""The Jacobian of one iteration at one position, through its products: stability of points, orbits and trajectories.

In: a trajectory of a model that can step, and places in it. Out: eigenvalues, singular values and Lyapunov exponents.

At prompt, iteration r and position p the Jacobian is J = d s_{r+1}[p] / d s_r[p], the other positions fixed. Where
attention is causal, the whole Jacobian of an iteration is block triangular with these blocks on its diagonal, so that
its spectrum is the union of theirs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor
from torch.func import jvp, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from latentlens.errors import MotionError
from latentlens.models.base import Context, LatentModel
from latentlens.motion.krylov import Vectors, arnoldi, largest_singular_value
from latentlens.trajectory import Trajectory

PAIRS = 4
"""Vectors of the bidiagonalisation; it takes 2 (PAIRS - 1) of an iteration's products."""
MIXED = 0.1
"""How much of the first vector is random; the rest is the last step, which leads towards the leading eigenvectors."""
_BACKEND = threading.RLock()
# Torch's choice of an attention kernel is one for the whole process: two threads must not undo each other's.


@dataclass(frozen=True)
class Places:
    """Where to look: a prompt, an iteration and a position a row; rows are run as one batch."""

    prompt: Int[Tensor, row]
    iteration: Int[Tensor, row]
    position: Int[Tensor, row]

    def __len__(self) -> int:
        return len(self.prompt)

    def split(self, size: int) -> list[Places]:
        """Batches of at most `size` rows."""
        columns = (self.prompt.split(size), self.iteration.split(size), self.position.split(size))
        return [Places(*part) for part in zip(*columns)]


@dataclass(frozen=True)
class Spectrum:
    """What was found at each place."""

    eigenvalues: Complex[Tensor, "row eigen"]
    residual: Float[Tensor, row]
    largest: Float[Tensor, row]


class Blocks:
    """The Jacobians of one iteration at each of a batch of places, as products with vectors."""

    def __init__(self, traj: Trajectory, places: Places, later: int = 0) -> None:
        self.model = traj.needs_model()
        self.context, width = opened(traj, places.prompt)
        self.at = (torch.arange(len(places)), places.position)
        self.state = traj.states[places.prompt, places.iteration + later, :width].to(self.model.device)

    def push(self, vectors: Vectors) -> Vectors:
        """J v, by forward-mode differentiation."""
        tangent = torch.zeros_like(self.state)
        tangent[self.at] = vectors.to(tangent)
        # The fused kernels of attention have no forward mode.
        with _BACKEND, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            try:
                moved = jvp(self._step, (self.state,), (tangent,))[1]
            except NotImplementedError:
                raise MotionError(
                    f"expected a step of {self.model.name!r} ({self.model.family}) that torch differentiates forward, "
                    "got an operation without: write it with others"
                ) from None
        return moved[self.at].double().cpu()

    def pull(self, vectors: Vectors) -> Vectors:
        """J^T u, by reverse-mode differentiation."""
        weights = torch.zeros_like(self.state)
        weights[self.at] = vectors.to(weights)
        back = vjp(self._step, self.state)[1]
        return back(weights)[0][self.at].double().cpu()

    def _step(self, state: Tensor) -> Tensor:
        return self.model.step(state, self.context)


def opened(traj: Trajectory, prompts: Int[Tensor, row]) -> tuple[Context, int]:
    """The model's context for some prompts, one a row, and how many positions of them are not pads everywhere."""
    model, width = traj.needs_model(), int(traj.lengths[prompts].max())
    with torch.no_grad():
        context = model.begin(
            traj.tokens[prompts, :width],
            mask=traj.mask[prompts, :width],
            seed=traj.seed,
            initial_state=traj.states[prompts, 0, :width].to(model.device),
        )
    return context, width


def spectra(traj: Trajectory, places: Places, *, products: int, count: int, seed: int, period: int = 1) -> Spectrum:
    """Eigenvalues and largest singular value of J at each place; with a period, of the product over it from there.

    `products` counts every product with J or J^T (an iteration, where there is a period).
    """
    blocks = [Blocks(traj, places, later) for later in range(period)]
    push = _chain([block.push for block in blocks])
    pull = _chain([block.pull for block in reversed(blocks)])
    eps = torch.finfo(traj.states.dtype).eps
    start = _start(traj, places, seed)
    found = arnoldi(push, start, products - 2 * (PAIRS - 1), eps=eps, seed=seed)
    values, residual = found.leading(count)
    pairs = min(PAIRS, traj.states.shape[-1])
    return Spectrum(values, residual, largest_singular_value(push, pull, found, pairs))


def lyapunov_exponents(
    traj: Trajectory, places: Places, *, count: int, tail: int, seed: int, tick: Callable[[int], None]
) -> Float[Tensor, "row exponent"]:
    """Finite-time Lyapunov exponents of each place's own position, in nats per iteration, largest first.

    `count` vectors are carried along the trajectory from `s_0` by J and made orthonormal by QR after every iteration
    (Benettin et al. 1980); an exponent is the mean of ln |R_ii| over the last `tail` iterations. The iterations of the
    places are not looked at.
    """
    rows, width, last = len(places), traj.states.shape[-1], traj.iterations
    generator = torch.Generator().manual_seed(seed)
    carried = torch.randn(rows, width, count, generator=generator, dtype=torch.float64)
    carried, grown = torch.linalg.qr(carried)[0], torch.zeros(rows, count, dtype=torch.float64)
    every = Places(*(column.repeat_interleave(count) for column in (places.prompt, places.iteration, places.position)))
    for iteration in range(last):
        at = Places(every.prompt, torch.full_like(every.iteration, iteration), every.position)
        pushed = Blocks(traj, at).push(carried.mT.reshape(-1, width)).reshape(rows, count, width).mT
        carried, upper = torch.linalg.qr(pushed)
        if iteration >= last - tail:
            grown += upper.diagonal(dim1=1, dim2=2).abs().log()
        tick(rows)
    return (grown / min(tail, last)).sort(dim=1, descending=True)[0]


def check_iterates(model: LatentModel, traj: Trajectory, asked: str) -> None:
    """Refuse a model that cannot step, and states that are not what it makes of one another."""
    if not model.steps:
        raise MotionError(
            f"expected a model that can step for {asked}, got {model.name!r} ({model.family}), which cannot: leave "
            "it out"
        )
    context, width = opened(traj, torch.tensor([0]))
    before, after = traj.states[:1, -2, :width].to(model.device), traj.states[:1, -1, :width].to(model.device)
    with torch.no_grad():
        own = model.step(before, context)
    real = traj.mask[0, :width].to(model.device)
    apart, size = float((own - after)[0, real].float().norm()), float(after[0, real].float().norm())
    if apart > 8 * torch.finfo(traj.states.dtype).eps ** 0.5 * size:
        raise MotionError(
            f"expected states that {model.name!r} iterates for {asked}, got others: its own next state is {apart:.3g} "
            "away; pass what ll.capture returns"
        )


def _chain(products: list[Callable[[Vectors], Vectors]]) -> Callable[[Vectors], Vectors]:
    return lambda vectors: reduce(lambda v, product: product(v), products, vectors)


def _start(traj: Trajectory, places: Places, seed: int) -> Vectors:
    """The step that led to each place, with some noise; noise alone where there was none."""
    states, before = traj.states, (places.iteration - 1).clamp(min=0)
    step = states[places.prompt, places.iteration, places.position].double()
    step = step - states[places.prompt, before, places.position].double()
    noise = torch.randn(step.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    length = step.norm(dim=1, keepdim=True)
    step = torch.where(length > 0, step / length, 0)
    return step + MIXED * noise / noise.norm(dim=1, keepdim=True)
