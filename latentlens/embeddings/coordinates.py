"""The coordinates of a run's states in a frame, and what is kept of the states to judge them by.

In: a source and a frame. Out: labelled coordinates and `Evidence`, in one more pass over the states.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from latentlens.embeddings.frames import Frame, refuse_unfinite
from latentlens.embeddings.sources import Source
from latentlens.embeddings.trust import Evidence, stratified
from latentlens.progress import Progress, progress_bar

ENTRIES = 2**20
"""Numbers that are worked on at once: these stay in the cache."""

Place = Callable[[int, Float[Tensor, "iteration position pc"]], Float[Tensor, "iteration position component"]]
"""From a prompt's number and its real states in the frame to where they are drawn."""


@dataclass(eq=False)
class _Sums:
    """Step lengths and moments, a prompt at a time."""

    steps: Tensor
    first: Tensor
    second: float = 0.0
    states: int = 0
    tokens: int = 0

    def add(self, states: Float[Tensor, "iteration position d_model"], mean: Tensor) -> None:
        """Take in a prompt's real states, a few iterations at a time; sums are float64, as in the covariance."""
        kind = torch.float64 if states.dtype == torch.float64 else torch.float32
        about, before, at = mean.to(kind), None, 0
        away = about.double() - mean
        for part in states.split(max(ENTRIES // max(states[0].numel(), 1), 1)):
            rows = part.to(kind) - about
            joined = rows if before is None else torch.cat([before, rows])
            moved = (joined[1:] - joined[:-1]).norm(dim=-1).sum(1, dtype=torch.float64)
            start = at + int(before is None)
            self.steps[start : start + len(moved)] += moved
            count, total = rows.shape[0] * rows.shape[1], rows.sum((0, 1), dtype=torch.float64)
            lengths = torch.linalg.vector_norm(rows, dim=-1).double()
            self.first += total + count * away
            self.second += float(lengths.square().sum() + 2 * total @ away + count * away @ away)
            before, at = rows[-1:], at + len(part)
        self.states += states.shape[0] * states.shape[1]
        self.tokens += states.shape[1]

    def evidence(self, index: Tensor, rows: Tensor) -> Evidence:
        """What is kept of all of it."""
        steps = self.steps / max(self.tokens, 1)
        steps[0] = torch.nan
        scatter = self.second - float(self.first.pow(2).sum()) / max(self.states, 1)
        return Evidence(index, steps, max(scatter, 0.0) / max(self.states - 1, 1), self.states, rows)


def coordinates(
    source: Source, frame: Frame, iterations: list[int], seed: int, progress: Progress, place: Place | None = None
) -> tuple[xr.DataArray, Evidence]:
    """Where a run's states are, `[prompt, iteration, position, component]`, NaN at pads, and the evidence for it.

    Args:
        place: what becomes of the frame's coordinates; None: they are drawn as they are.
        seed: which states are compared with each other.
    """
    index = stratified(source.mask.nonzero(), len(iterations), seed)
    sums = _Sums(torch.zeros(len(iterations), dtype=torch.float64), torch.zeros_like(frame.mean))
    sample = torch.empty(len(index), source.width)
    drawn = torch.empty(0)
    with progress_bar(progress, len(source.mask), "coordinates", "prompt") as advance:
        for prompt, seen in enumerate(source.mask):
            states = source.prepared(prompt, iterations, frame.space, frame.center)
            mine = index[:, 0] == prompt
            sample[mine] = states[index[mine, 1], index[mine, 2]].float()
            real = states if bool(seen.all()) else states[:, seen]
            refuse_unfinite(real, prompt, iterations, seen)
            sums.add(real, frame.mean)
            rows = frame.project(real)
            rows = rows if place is None else place(prompt, rows)
            if not prompt:  # one array from the start: small ones between large ones would hold on to their memory
                drawn = torch.full((len(source.mask), len(rows), len(seen), rows.shape[-1]), torch.nan)
            drawn[prompt][:, seen] = rows
            advance(1)
    return _labelled(drawn, iterations, place is None), sums.evidence(index, sample)


def _labelled(rows: Tensor, iterations: list[int], linear: bool) -> xr.DataArray:
    return xr.DataArray(
        rows.numpy(),
        dims=("prompt", "iteration", "position", "component"),
        coords={"iteration": np.array(iterations), "component": np.arange(rows.shape[-1]) + 1},
        name="coordinate",
        attrs={"long_name": "coordinate in the joint frame", "units": "state units" if linear else "1"},
    )
