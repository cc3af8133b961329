"""The Jacobian lens: what a state would do to the model's last residual, to first order and on average.

In: a model that can step, and prompts. Out: a lens, and how much of a state reaches the end by iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from latentlens.errors import LensError
from latentlens.lenses.fitted import FittedLens, about_fit
from latentlens.lenses.learning import Examples, Positions, Prompts
from latentlens.models.base import Context, LatentModel
from latentlens.names import check_whole
from latentlens.progress import Progress, progress_bar

LEAST = 0.01
"""Below this share of a residual's length, what a state does to it is taken for noise."""


@dataclass(eq=False)
class JacobianLens(FittedLens):
    """`unembed(norm(J_r s_r))` with the average Jacobian J_r = E[dh / ds_r], h the residual before the last norm.

    The Jacobian lens of Gurnee, Sofroniew, Lindsey et al. (2026, "Verbalizable Representations Form a Global Workspace
    in Language Models"), which Wang and Reid (2026, arXiv 2609.01924) took to looped models. Here h and s_r are of one
    position; theirs also counts what s_r does to later ones. With an offset, `J_r (s_r - E s_r) + E h`: the first two
    terms of a Taylor series. Where states are normed already, h is the last of them and no norm follows.

    Where the core contracts, J_r goes to zero, and the norm would blow up what is left of it: a state of which less
    than `least` arrives has no logits (NaN), and in `ll.decode` no probabilities or bits.

    Attributes:
        jacobian: `[iteration, d_model, d_model]`, from the state (last axis) to the residual.
        state_mean, residual_mean: `[iteration, d_model]` and `[d_model]`; used with an offset.
        gain: mean of `|J_r s_r| / |h|` over the tokens that it was fitted to, by iteration.
        length: the mean `|h|`.
        least: the smallest `|J_r s_r|`, as a share of the mean `|h|`, that is read; may be changed.
        offset: whether the means are used; may be changed.
        iterations, about: as in any fitted lens.

    >>> import latentlens as ll
    >>> model = ll.load("walks")
    >>> lens = ll.JacobianLens.fit(model, "1 steps from Ann", iterations=2, positions=-1)
    >>> lens.jacobian.shape[0], lens.gain.dims
    (3, ('iteration',))
    """

    kind: ClassVar[str] = "jacobian"
    name = "jacobian"
    jacobian: Float[Tensor, "iteration d_model d_model"] = field(repr=False)
    state_mean: Float[Tensor, "iteration d_model"] = field(repr=False)
    residual_mean: Float[Tensor, d_model] = field(repr=False)
    gain: xr.DataArray = field(repr=False)
    length: float
    least: float = LEAST
    offset: bool = False

    @classmethod
    def fit(
        cls,
        model: LatentModel,
        prompts: Prompts,
        *,
        iterations: int | Sequence[int] | None = None,
        positions: Positions = None,
        offset: bool = False,
        least: float = LEAST,
        batch_size: int = 8,
        seed: int = 0,
        progress: Progress = True,
    ) -> Self:
        """Average the Jacobians over prompts and positions, by d_model vector-Jacobian products a batch.

        One product goes through all iterations. Its cotangent is a unit vector at every chosen position at once, with a
        random sign at each: what one position does to another averages out. With one position, nothing has to.

        Args:
            model: what `ll.load` returns; one that can step.
            prompts: texts, or a `Trajectory` of this model.
            iterations: how often to iterate, to fit them all, `s_0` included; or a list: only these of the model's own
                run.
            positions: which tokens to average over: one, several (negative: from each prompt's own end), None for all.
            offset: whether to expand around the mean state instead of zero.
            least: see `JacobianLens`.
            batch_size: prompts to a product.
            seed: of `s_0` and the signs.
            progress: a bar after one second; False for none, or a function `f(share, what)`.

        Raises:
            LensError: a model that cannot step, or options that do not fit. CaptureError: prompts that cannot be run.
        """
        _check(model, offset, least, batch_size)
        examples = Examples.make(model, prompts, iterations, positions, seed, progress)
        rows = examples.chosen.any(1).nonzero()[:, 0].tolist()
        batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
        generator = torch.Generator().manual_seed(seed)
        total, residuals = torch.zeros(()), []
        with progress_bar(progress, len(batches) * model.d_model, f"fit {cls.name} lens", "product") as tick:
            for batch in batches:
                run = _Run.make(model, examples, batch)
                total = total + run.products(generator, tick)
                residuals.append(run.residual.detach()[run.chosen].float())
        h = torch.cat(residuals).cpu()
        states = torch.cat([examples.states(batch).cpu() for batch in batches], 1)
        jacobian = (total / len(h)).cpu()
        gain = ((states @ jacobian.mT).norm(dim=-1) / h.norm(dim=-1)).mean(1)
        told: dict[str, Any] = {"positions": None if positions is None else np.atleast_1d(positions).tolist()}
        told |= {"batch_size": batch_size, "seed": seed, "prompts": len(rows), "tokens": len(h)}
        return cls(
            examples.iterations,
            about_fit(model, **told, last=examples.traj.iterations),
            jacobian,
            states.mean(1),
            h.mean(0),
            _gain(gain, examples.iterations),
            float(h.norm(dim=-1).mean()),
            least,
            offset,
        )

    @property
    def summary(self) -> str:
        """How much of a state arrives."""
        gain = ", ".join(f"{r}: {value:.3g}" for r, value in zip(self.iterations, self.gain.values))
        return f"|J_r s_r| / |h| by iteration, {gain}; below {self.least:g} no logits"

    def carried(self, state: Tensor, iteration: int) -> Float[Tensor, "prompt position d_model"]:
        """`J_r s_r`, or `J_r (s_r - E s_r) + E h` with an offset, in float32: what the last norm is given."""
        self.check_iteration(iteration)
        number, state = self.iterations.index(iteration), state.float()
        jacobian = self.jacobian[number].to(state.device)
        if not self.offset:
            return state @ jacobian.T
        mean = self.state_mean[number].to(state.device)
        return (state - mean) @ jacobian.T + self.residual_mean.to(state.device)

    def hidden(self, model: LatentModel, state: Tensor, context: Context, iteration: int) -> Tensor:
        self.check_model(model)
        carried = self.carried(state, iteration)
        out = carried.to(model.dtype)
        out = out if model.normed_state else model.norm(out)
        return out.masked_fill(carried.norm(dim=-1, keepdim=True) < self.least * self.length, torch.nan)

    def head(self, model: LatentModel, hidden: Tensor) -> Tensor:
        return model.unembed(hidden)

    def logits(self, model: LatentModel, state: Tensor, context: Context, iteration: int) -> Tensor:
        return self.head(model, self.hidden(model, state, context, iteration))

    def tensors(self) -> dict[str, Tensor]:
        """The weights and the gain, as they are saved."""
        return {
            "jacobian": self.jacobian,
            "state_mean": self.state_mean,
            "residual_mean": self.residual_mean,
            "gain": torch.from_numpy(self.gain.values),
            "reading": torch.tensor([self.length, self.least, self.offset], dtype=torch.float64),
        }

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], told: dict[str, Any]) -> Self:
        """The lens that had these weights."""
        jacobian, iterations = tensors["jacobian"], told["iterations"]
        if len(jacobian) != len(iterations):
            raise ValueError(f"{len(jacobian)} Jacobians for {len(iterations)} iterations")
        length, least, offset = tensors["reading"].tolist()
        means, gain = (tensors["state_mean"], tensors["residual_mean"]), _gain(tensors["gain"], iterations)
        return cls(iterations, told["about"], jacobian, *means, gain, length, least, bool(offset))


@dataclass(eq=False)
class _Run:
    """One run of a few prompts whose gradients can be asked for."""

    states: list[Tensor]
    residual: Float[Tensor, "prompt position d_model"]
    chosen: Tensor

    @classmethod
    def make(cls, model: LatentModel, examples: Examples, rows: list[int]) -> _Run:
        traj, width = examples.traj, examples.width(rows)
        with torch.no_grad():
            start = traj.states[rows, 0, :width].to(model.device)
            context = model.begin(
                traj.tokens[rows, :width], mask=traj.mask[rows, :width], seed=traj.seed, initial_state=start
            )
        with torch.enable_grad():
            states = [start.requires_grad_()]
            for _ in range(traj.iterations):
                states.append(model.step(states[-1], context))
            residual = model.residual(states[-1], replace(context, iteration=traj.iterations))
        return cls([states[r] for r in examples.iterations], residual, examples.chosen[rows, :width].to(model.device))

    def products(self, generator: torch.Generator, tick: Callable[[int], None]) -> Tensor:
        """The sum of the Jacobians over chosen tokens, `[iteration, d_model, d_model]`, one row of all at a time."""
        width = self.residual.shape[-1]
        out = torch.zeros(len(self.states), width, width, device=self.residual.device)
        for row in range(width):
            signs = (2.0 * torch.randint(2, self.chosen.shape, generator=generator) - 1).to(self.residual)
            signs = signs * self.chosen
            cotangent = torch.zeros_like(self.residual)
            cotangent[..., row] = signs
            more = {"retain_graph": row + 1 < width, "allow_unused": True, "materialize_grads": True}
            slopes = torch.autograd.grad(self.residual, self.states, cotangent, **more)
            for number, slope in enumerate(slopes):
                out[number, row] = (signs[..., None].float() * slope.float()).sum((0, 1))
            tick(1)
        return out


def _check(model: LatentModel, offset: bool, least: float, batch_size: int) -> None:
    if not model.steps:
        raise LensError(
            f"expected a model that can step, got {model.name!r} ({model.family}), whose loop runs inside its own "
            "forward: fit a TunedLens, which needs its states alone"
        )
    if not isinstance(offset, bool):
        raise LensError(f"expected offset to be True or False, got {offset!r}")
    if isinstance(least, bool) or not isinstance(least, (int, float)) or not 0 <= least < 1:
        raise LensError(f"expected least to be a share from 0 to 1, got {least!r}")
    check_whole("batch_size", batch_size, LensError)


def _gain(values: Tensor, iterations: list[int]) -> xr.DataArray:
    return xr.DataArray(
        values.numpy(),
        dims=("iteration",),
        coords={"iteration": iterations},
        name="gain",
        attrs={"long_name": "mean of |J_r s_r| / |h|", "units": "1"},
    )
