"""A model whose every answer is known: it walks through a script, so that pictures can be checked against it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import toys
from maps import Mapped, linear, rotation, travel
from torch import Tensor

import latentlens as ll
from latentlens.models.base import Context, checked_tokens
from latentlens.models.tokens import Tokenizer

WORDS = [":", ".", "steps", "from", "2", "Ann", "Bob", "Cal", "Dee", "Eve", "<b>x</b>", "$y$", "%{x}", "&amp;"]
PROMPT = "Ann : Bob Cal . Bob : Dee Ann . Cal : Dee Eve . Dee : Ann Bob . Eve : Cal Dee . 2 steps from Ann"
EXACT = {"Dee": 0.5, "Ann": 0.25, "Eve": 0.25}


class Walker(toys.Scripted):
    """Its state spirals in towards a point of its own for each position; its last token's logits are a script.

    At iteration r the last token says `softmax(script[r])`; a token before it says itself, ever surer.
    """

    name = "walker"
    d_model = 6

    def __init__(self, script: Tensor, tokenizer: Tokenizer, random_start: bool = True) -> None:
        super().__init__(script, random_start=random_start)
        self.d_model, self.tokenizer = 6, tokenizer
        self.truth = lambda prompt: EXACT

    def begin(self, tokens=None, *, embeds=None, mask=None, seed=0, initial_state=None) -> Context:
        ids = checked_tokens(tokens, self)
        ends = torch.ones_like(ids).sum(1) if mask is None else mask.sum(1)
        self.ids, self.at_end = ids, torch.arange(ids.shape[1]) == ends[:, None] - 1
        self.done = 0
        context = Context(state=torch.zeros(*ids.shape, self.d_model), inputs=ids)
        context.state = self._state(context, 0)
        return context

    def _state(self, context: Context, r: int) -> Tensor:
        phase = 0.7 * context.inputs.float() + torch.arange(context.inputs.shape[1])
        radius, angle = 4 * 0.85**r, 0.5 * r + phase
        home = torch.stack([phase.sin(), (2 * phase).cos(), (3 * phase).sin()], -1) * 2
        spiral = torch.stack([radius * angle.cos(), radius * angle.sin(), radius * (0.3 * angle).sin()], -1)
        out = torch.cat([home + spiral, home], -1)
        out[..., 5] = r
        return out

    def step(self, state: Tensor, context: Context) -> Tensor:
        return self._state(context, int(state[0, 0, 5]) + 1)

    def finish(self, state: Tensor, context: Context) -> Tensor:
        r = int(state[0, 0, 5])
        itself = torch.nn.functional.one_hot(self.ids, self.vocab_size).float() * (0.5 * r)
        return torch.where(self.at_end[..., None], self.table[min(r, len(self.table) - 1)], itself)


def moved(run: Any, kind: str, **options: Any) -> Any:
    """A figure of motion: of the script's run, or of a turn whose Jacobian is known, where a model must step."""
    if kind in ("motion", "convergence"):
        return getattr(ll.figures, kind)(ll.dynamics(run.traj, progress=False), **options)
    turn = linear(rotation(6, 0.9), 1.0)
    if kind == "spectrum":
        traj = travel(turn, [1.0, 2.0], 8)
        return ll.figures.spectrum(ll.dynamics(traj, spectra=[0, 8], progress=False), **options)
    starts = torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    model = Mapped(turn, torch.zeros(2).double())
    found = ll.path_independence(model, tokens=[[0, 1]], starts=starts, iterations=24, progress=False)
    return ll.figures.path_independence(found, **options)


OF_MOTION = ("motion", "convergence", "spectrum", "path_independence")
PATHS = ("orbits", "waterfall")


def laid_out(run: Any, kind: str, **options: Any) -> Any:
    """A figure of the paths of tokens, with all that it can be told."""
    if kind == "orbits":
        emb = ll.embed(run.traj, n_components=6, progress=False)
        return ll.figures.orbits(emb, ll.dynamics(run.traj, progress=False), **options)
    return ll.figures.waterfall(run.emb, run.out, **options)


def assert_within_the_page(page: Any) -> None:
    """Nothing of a paper figure reaches over its edges."""
    page.draw_without_rendering()
    box, (width, height) = page.get_tightbbox(), page.get_size_inches()
    assert min(box.x0, box.y0) > -0.01
    assert box.x1 < width + 0.01
    assert box.y1 < height + 0.01


def competition(iterations: int = 24) -> Tensor:
    """Logits `[iteration, word]`: Bob and Cal lead early and die; Dee, Ann and Eve end at 0.5, 0.25 and 0.25."""
    r = torch.arange(iterations + 1.0)[:, None]
    goal = torch.full((len(WORDS),), -9.0)
    for name, p in EXACT.items():
        goal[WORDS.index(name)] = float(np.log(p))
    early = torch.full((len(WORDS),), -2.5)
    early[WORDS.index("Bob")], early[WORDS.index("Cal")] = 1.2, 0.9
    noise = torch.sin(torch.arange(len(WORDS)) * 2.1 + 1) * 1.5
    late = torch.sigmoid((r - 7) / 1.3)
    first = torch.exp(-r / 0.7)
    wiggle = 0.25 * torch.sin(r * 0.9 + torch.arange(len(WORDS)) * 1.7) * torch.exp(-r / 9)
    return first * noise + (1 - first) * ((1 - late) * early + late * goal) + wiggle
