"""What a lens is learned from: states of chosen iterations and positions, beside the model's own answers.

In: a model and prompts, or their trajectory. Out: tensors, a few prompts at a time. Knows nothing about weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentlens.errors import LensError
from latentlens.lenses.fitted import described
from latentlens.lenses.lens import CodaLens
from latentlens.models.base import LatentModel
from latentlens.progress import Progress
from latentlens.recording import capture
from latentlens.trajectory import Trajectory, identify

KEPT = 512 * 2**20
"""Bytes of the model's own answers that are kept between epochs; beyond it they are made again."""

Positions = int | Sequence[int] | None
Prompts = str | Sequence[str] | Trajectory


@dataclass(eq=False)
class Examples:
    """States to learn from, by prompts: those of chosen iterations, at chosen positions."""

    traj: Trajectory
    iterations: list[int]
    chosen: Bool[Tensor, "prompt position"]
    kept: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        model: LatentModel,
        prompts: Prompts,
        iterations: int | Sequence[int] | None,
        positions: Positions,
        seed: int,
        progress: Progress,
    ) -> Examples:
        """Run the prompts, unless they were run already."""
        count = iterations if iterations is None or isinstance(iterations, int) else None
        if isinstance(prompts, Trajectory):
            traj = _of_model(prompts, model)
            if count not in (None, traj.iterations):
                raise LensError(
                    f"expected iterations as a list (or {traj.iterations}) with a trajectory, got {count}: it ran "
                    "already"
                )
        else:
            traj = capture(model, prompts, iterations=count, seed=seed, progress=progress)
        return cls(traj, chosen_iterations(iterations, traj.iterations), chosen_positions(traj, positions))

    def __len__(self) -> int:
        return len(self.chosen)

    def width(self, rows: list[int]) -> int:
        """The length of the longest of these prompts."""
        return int(self.traj.lengths[rows].max())

    def states(self, rows: list[int]) -> Float[Tensor, "iteration token d_model"]:
        """The states of some prompts in float32, on the model's device."""
        device, width = self.traj.needs_model().device, self.width(rows)
        states = self.traj.states[rows][:, self.iterations, :width].transpose(0, 1)
        return states[:, self.chosen[rows, :width]].to(device).float()

    def answers(self, rows: list[int]) -> Float[Tensor, "token vocab"]:
        """log p_R, the model's own last answer, in nats and float32."""
        new = [row for row in rows if row not in self.kept]
        if new:
            counts = self.chosen[new].sum(1).tolist()
            self.kept.update(zip(new, self._answers(new).split(counts)))
        out = torch.cat([self.kept[row] for row in rows])
        if int(self.chosen.sum()) * out.shape[-1] * 4 > KEPT:
            self.kept.clear()
        return out

    @torch.no_grad()
    def _answers(self, rows: list[int]) -> Tensor:
        traj, model, width = self.traj, self.traj.needs_model(), self.width(rows)
        states = traj.states[rows][:, [0, -1], :width].to(model.device)
        context = model.begin(
            traj.tokens[rows, :width],
            mask=traj.mask[rows, :width],
            seed=traj.seed,
            initial_state=states[:, 0] if model.steps else None,
        )
        logits = CodaLens().logits(model, states[:, 1], context, traj.iterations)
        return logits[self.chosen[rows, :width].to(logits.device)].float().log_softmax(-1)


def chosen_iterations(iterations: int | Sequence[int] | None, last: int) -> list[int]:
    """Which iterations to fit, in order: all, or those of a list."""
    if iterations is None or isinstance(iterations, int):
        return list(range(last + 1))
    chosen = sorted(set(iterations))
    if not chosen or any(isinstance(r, bool) or not isinstance(r, int) or not 0 <= r <= last for r in chosen):
        raise LensError(f"expected iterations from 0 to {last}, got {list(iterations)!r}: the model makes no others")
    return chosen


def chosen_positions(traj: Trajectory, positions: Positions) -> Bool[Tensor, "prompt position"]:
    """Which tokens to look at: all, or those at some positions (negative: from each prompt's own end)."""
    if positions is None:
        return traj.mask
    asked = [positions] if isinstance(positions, int) else list(positions)
    longest = traj.tokens.shape[1]
    if not asked or any(isinstance(p, bool) or not isinstance(p, int) or not -longest <= p < longest for p in asked):
        raise LensError(f"expected positions from {-longest} to {longest - 1}, got {positions!r}")
    place = torch.arange(longest)
    at = [place == p if p >= 0 else place == traj.lengths[:, None] + p for p in asked]
    return torch.stack([p.expand_as(traj.mask) for p in at]).any(0) & traj.mask


def _of_model(traj: Trajectory, model: LatentModel) -> Trajectory:
    if traj.origin != identify(model):
        raise LensError(
            f"expected a trajectory of {described(identify(model))}, got one of {described(traj.origin)}: capture it "
            "with this model"
        )
    if traj.model is None:
        traj.model = model
    return traj
