"""Translators while they are learned: one step at a time, and the best so far.

In: states and the model's own answers. Out: affine maps. Knows nothing about lenses or files.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from latentlens.errors import LensError
from latentlens.lenses.affine import Affine, Scale
from latentlens.lenses.learning import Examples
from latentlens.lenses.lens import LogitLens
from latentlens.models.base import Context, LatentModel

LN2 = math.log(2)
BUDGET = 512 * 2**20
"""Bytes of logits and their gradients held at once."""


class Training:
    """The translators while they are learned: the present ones, and the best so far."""

    def __init__(
        self,
        model: LatentModel,
        examples: Examples,
        shared: bool,
        rank: int | None,
        rows: list[int],
        generator: torch.Generator,
    ) -> None:
        self.model, self.examples, self.shared = model, examples, shared
        states = torch.cat([examples.states([row]) for row in rows], 1)
        self.scale = Scale.of(states.flatten(0, 1)[None] if shared else states)
        self.now = self.best = self.scale.start(rank, generator)
        self.least, self.since = torch.full((len(self.now),), torch.inf), 0
        # `right` starts at its full size, and the others at zero: it moves more slowly.
        slow = [1.0, *([0.1] if rank is not None else []), 1.0]
        parts = zip(self.now.parts(), slow)
        self.adam = torch.optim.Adam([{"params": [part.requires_grad_()], "share": share} for part, share in parts])
        room = len(examples.iterations) * model.vocab_size * 4 * 6
        self.chunk = max(BUDGET // room, 1)

    def step(self, rows: list[int], rate: float) -> None:
        """One step of Adam; the gradient is summed over chunks of tokens."""
        states, final = self.examples.states(rows), self.examples.answers(rows)
        self.adam.zero_grad()
        for x, goal in zip(states.split(self.chunk, 1), final.split(self.chunk)):
            loss = self.loss(x, goal, self.now).sum() / len(final)
            loss = loss / len(states) if self.shared else loss
            # Gradients of the translators alone: the model's own weights get none.
            for part, slope in zip(self.now.parts(), torch.autograd.grad(loss, self.now.parts())):
                part.grad = slope if part.grad is None else part.grad + slope
        for group in self.adam.param_groups:
            group["lr"] = rate * group["share"]
        self.adam.step()

    @torch.no_grad()
    def bits(self, rows: list[int], batch_size: int) -> Float[Tensor, iteration]:
        """KL(p_R || lens) by iteration on some prompts; keeps each translator that was never better."""
        total, count = torch.zeros(len(self.examples.iterations), dtype=torch.float64), 0
        for number in range(0, len(rows), batch_size):
            some = rows[number : number + batch_size]
            states, final = self.examples.states(some), self.examples.answers(some)
            for x, goal in zip(states.split(self.chunk, 1), final.split(self.chunk)):
                total += self.loss(x, goal, self.now).sum(1).cpu().double() / LN2
            count += len(final)
        out = (total / count).float()
        judged = out.mean(0, keepdim=True) if self.shared else out
        better = judged < self.least
        self.best = self.best.better(self.now, better.to(self.now.bias.device))
        self.least, self.since = torch.where(better, judged, self.least), 0 if bool(better.any()) else self.since + 1
        return out

    def loss(self, x: Tensor, goal: Tensor, maps: Affine) -> Float[Tensor, "iteration token"]:
        """KL(p_R || lens) in nats."""
        moved, model = self.scale.folded(maps)(x).to(self.model.dtype), self.model
        rows = zip(moved, self.examples.iterations)
        hidden = torch.stack([LogitLens().hidden(model, m, Context(m, m), r) for m, r in rows])
        said = model.unembed(hidden).float().log_softmax(-1)
        # A token that neither can say adds nothing, where the logits are -inf.
        p = goal.exp()
        return (p * (goal.clamp(min=-1e4) - said.clamp(min=-1e4))).sum(-1)

    @torch.no_grad()
    def found(self) -> Affine:
        """The best translators, as maps of plain states."""
        return self.scale.folded(self.best).each(lambda part: part.detach().cpu())


def split(examples: Examples, held_out: float, generator: torch.Generator) -> tuple[list[int], list[int]]:
    """The prompts to learn from, and those to measure on; one without a chosen token is neither."""
    useful = examples.chosen.any(1).nonzero()[:, 0]
    if len(useful) < 2:
        raise LensError(f"expected at least 2 prompts, one of them to hold out, got {len(useful)}: pass more")
    order = useful[torch.randperm(len(useful), generator=generator)].tolist()
    count = min(max(round(held_out * len(order)), 1), len(order) - 1)
    return order[count:], order[:count]
