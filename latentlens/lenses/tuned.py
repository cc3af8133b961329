"""The tuned lens: an affine translator per iteration, learned from what the model itself ends up saying.

In: a model and prompts. Out: a lens, and how well it did on prompts that it never saw. Trains on captured states only:
the model's core is not run again, and its weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from latentlens.errors import LensError
from latentlens.lenses.affine import Affine
from latentlens.lenses.fitted import FittedLens, about_fit
from latentlens.lenses.learning import Examples, Positions, Prompts
from latentlens.lenses.lens import LogitLens
from latentlens.lenses.training import Training, split
from latentlens.models.base import Context, LatentModel
from latentlens.names import check_whole
from latentlens.progress import Progress, progress_bar


@dataclass(eq=False)
class TunedLens(FittedLens, LogitLens):
    """`unembed(norm(s + A_r s + b_r))`: the logit lens behind a translator (Belrose et al. 2023, arXiv 2303.08112).

    The translator starts as the identity and is fitted to KL(p_R || lens), where p_R is what the model says after its
    last iteration. It takes the coda's place. Where states are normed already, they are not normed again (`s_0` is).

    Attributes:
        maps: the translators, `[map, ...]`: one for each of `iterations`, or a shared one.
        curve: KL(p_R || lens) on held-out prompts [bits], over `epoch` and `iteration`; epoch 0 is the logit lens.
        iterations, about: as in any fitted lens.

    >>> import latentlens as ll
    >>> from latentlens.models import walks
    >>> model = ll.load("walks")
    >>> lens = ll.TunedLens.fit(model, walks.sample(40, steps=1), iterations=4, epochs=3)
    >>> bool((lens.curve.min("epoch") <= lens.curve.sel(epoch=0)).all())
    True
    >>> ll.decode(ll.capture(model, "2 steps from Ann", iterations=4), lens).attrs["lens"]
    'tuned'
    """

    kind: ClassVar[str] = "tuned"
    name = "tuned"
    maps: Affine = field(repr=False)
    curve: xr.DataArray = field(repr=False)

    @classmethod
    def fit(
        cls,
        model: LatentModel,
        prompts: Prompts,
        *,
        iterations: int | Sequence[int] | None = None,
        shared: bool = False,
        rank: int | None = None,
        positions: Positions = None,
        epochs: int = 30,
        batch_size: int = 16,
        learning_rate: float = 0.5,
        patience: int = 3,
        held_out: float = 0.2,
        seed: int = 0,
        progress: Progress = True,
    ) -> Self:
        """Learn the translators from some prompts, and keep those that did best on the others.

        Adam (Kingma and Ba 2015), with a rate that falls to zero. The same seed gives the same lens on the same
        machine. Stopped with Ctrl-C, or by a progress function that raises, it leaves nothing behind.

        Args:
            model: what `ll.load` or `ll.wrap` returns.
            prompts: texts, or a `Trajectory` of this model. All of its states are in memory.
            iterations: how often to iterate, to fit them all, `s_0` included; or a list: only these of the model's own
                run. Where `s_0` is random, its translator knows this seed's `s_0` alone.
            shared: one translator for all; it can then read any iteration.
            rank: the rank of `A_r`, from 1 to d_model; None is full.
            positions: which tokens to learn from: one, several (negative: from each prompt's own end), None for all.
            epochs: how often to go through the prompts, at most.
            batch_size: prompts to a step.
            learning_rate: the size of a step, in shares of the size of a state.
            patience: stop after so many epochs in which no translator got better.
            held_out: the share of prompts that is measured on and never learned from.
            seed: of `s_0`, the split, the order and the start.
            progress: a bar after one second; False for none, or a function `f(share, what)`.

        Raises:
            LensError: options that do not fit, or fewer than two prompts. CaptureError: prompts that cannot be run.
        """
        _check(model, shared, rank, held_out, learning_rate, epochs=epochs, batch_size=batch_size, patience=patience)
        examples = Examples.make(model, prompts, iterations, positions, seed, progress)
        generator = torch.Generator().manual_seed(seed)
        learned, unseen = split(examples, held_out, generator)
        work = Training(model, examples, shared, rank, learned, generator)
        curve = [work.bits(unseen, batch_size)]
        batches = -(-len(learned) // batch_size)
        with progress_bar(progress, epochs * batches, f"fit {cls.name} lens", "step") as tick:
            for epoch in range(epochs):
                order = [learned[i] for i in torch.randperm(len(learned), generator=generator)]
                for number in range(batches):
                    left = 1 - (epoch * batches + number) / (epochs * batches)
                    work.step(order[number * batch_size : (number + 1) * batch_size], learning_rate * left)
                    tick(1)
                curve.append(work.bits(unseen, batch_size))
                if work.since >= patience:
                    tick((epochs - epoch - 1) * batches)
                    break
        told = {
            "shared": shared,
            "rank": rank,
            "positions": None if positions is None else np.atleast_1d(positions).tolist(),
        }
        told |= {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "patience": patience}
        told |= {"held_out": held_out, "seed": seed, "prompts": len(examples), "tokens": int(examples.chosen.sum())}
        about = about_fit(model, **told, last=examples.traj.iterations)
        return cls(examples.iterations, about, work.found(), _curve(torch.stack(curve), examples.iterations))

    @property
    def shared(self) -> bool:
        """Whether one translator reads all iterations."""
        return bool(self.about["options"]["shared"])

    @property
    def summary(self) -> str:
        """How far from the model's own answer it was on held-out prompts, before and after."""
        first, best = self.curve[0].values, self.curve.min("epoch").values
        return (
            f"KL(p_R || lens) on held-out prompts, mean of {len(self.iterations)} iterations: {first.mean():.3f} bits "
            f"for the logit lens, {best.mean():.3f} for this one"
        )

    def translated(self, state: Tensor, iteration: int) -> Float[Tensor, "prompt position d_model"]:
        """`s + A_r s + b_r`, in float32."""
        if not self.shared:
            self.check_iteration(iteration)
        maps = self.maps if self.shared else self.maps.at(self.iterations.index(iteration))
        there = maps.each(lambda part: part.to(state.device))
        return there(state.float().flatten(0, -2)[None])[0].view(state.shape)

    def hidden(self, model: LatentModel, state: Tensor, context: Context, iteration: int) -> Tensor:
        self.check_model(model)
        return super().hidden(model, self.translated(state, iteration).to(model.dtype), context, iteration)

    def tensors(self) -> dict[str, Tensor]:
        """The weights and the curve, as they are saved."""
        right = {} if self.maps.right is None else {"right": self.maps.right}
        return {"left": self.maps.left, "bias": self.maps.bias, "curve": torch.from_numpy(self.curve.values)} | right

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], told: dict[str, Any]) -> Self:
        """The lens that had these weights."""
        maps = Affine(tensors["left"], tensors.get("right"), tensors["bias"])
        lens = cls(told["iterations"], told["about"], maps, _curve(tensors["curve"], told["iterations"]))
        if len(maps) != (1 if lens.shared else len(lens.iterations)):
            raise ValueError(f"{len(maps)} maps for {len(lens.iterations)} iterations")
        return lens


def _check(model: LatentModel, shared: bool, rank: int | None, held_out: float, rate: float, **counts: int) -> None:
    for name, value in counts.items():
        check_whole(name, value, LensError)
    if not isinstance(shared, bool):
        raise LensError(f"expected shared to be True or False, got {shared!r}")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= model.d_model):
        raise LensError(f"expected rank to be from 1 to {model.d_model} (d_model) or None, got {rank!r}")
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate > 0:
        raise LensError(f"expected learning_rate to be above 0, got {rate!r}")
    if not 0 < held_out < 1:
        raise LensError(f"expected held_out to be a share between 0 and 1, got {held_out!r}")


def _curve(values: Tensor, iterations: list[int]) -> xr.DataArray:
    return xr.DataArray(
        values.numpy(),
        dims=("epoch", "iteration"),
        coords={"epoch": range(len(values)), "iteration": iterations},
        name="missing_bits",
        attrs={"long_name": "KL(p_R || lens) on held-out prompts", "units": "bits"},
    )
