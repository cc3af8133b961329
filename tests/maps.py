"""Dynamical systems as models: one iteration is a map whose motion is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from toys import Scripted

import latentlens as ll
from latentlens.models.base import Context, checked_tokens

Map = Callable[[Tensor], Tensor]


class Mapped(Scripted):
    """Every position goes its own way by one map, from a given start; `pull` adds what the position before it is."""

    family = "mapped"
    name = "mapped"

    def __init__(self, move: Map, start: Tensor, *, pull: Tensor | None = None) -> None:
        super().__init__(torch.zeros(3, 4))
        self.move, self.first, self.pull = move, start, pull
        self.d_model, self.dtype = start.shape[-1], start.dtype

    def begin(self, tokens=None, *, embeds=None, mask=None, seed=0, initial_state=None) -> Context:
        shape = (*checked_tokens(tokens, self).shape, self.d_model)
        return Context(state=self.first.expand(shape).clone() if initial_state is None else initial_state, inputs=None)

    def step(self, state: Tensor, context: Context) -> Tensor:
        out = self.move(state)
        if self.pull is None:
            return out
        before = torch.cat([torch.zeros_like(state[:, :1]), state[:, :-1]], dim=1)
        return out + before @ self.pull.T

    def finish(self, state: Tensor, context: Context) -> Tensor:
        return torch.nn.functional.pad(state, (0, 4))[..., :4].float()

    def norm(self, state: Tensor) -> Tensor:
        return state / 2


def linear(matrix: Tensor, shift: float | Tensor = 0.0) -> Map:
    """s -> A s + shift."""
    return lambda state: state @ matrix.T + shift


def rotation(period: float, factor: float = 1.0) -> Tensor:
    """A turn of the plane, `period` of which make a whole one, and a factor."""
    angle = 2 * math.pi / period
    cos, sin = math.cos(angle), math.sin(angle)
    return factor * torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)


def logistic(r: float) -> Map:
    """x -> r x (1 - x)."""
    return lambda state: r * state * (1 - state)


def travel(move: Map, start: list[float] | Tensor, iterations: int, *, positions: int = 1, **model) -> ll.Trajectory:
    """The trajectory of one prompt under a map, in float64."""
    first = torch.as_tensor(start, dtype=torch.float64)
    return ll.capture(Mapped(move, first, **model), tokens=[[0] * positions], iterations=iterations, progress=False)
