"""Logits of any places of a run, a window of iterations at a time.

In: an `Input` and a lens. Out: `Feed`s: float32 logits `[place, iteration, vocab]`; a place is one token of one prompt,
pads are none. Decides how many are made at once, so that a budget holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.lenses import Lens
from latentlens.models.base import Context, LatentModel
from latentlens.readouts.inputs import Input

BLOCK = 128 * 2**20
"""Bytes of logits of one call of the unembedding, which reads all of the weights: a few large calls, not many small."""
COPIES = 6
"""How many tensors of the size of the logits at hand are alive at once while statistics are made."""
WORKING = 16
"""How many times the size of its states a coda may hold while it works on one iteration."""


@dataclass
class Cut:
    """Some places of a feed, and how many of their iterations are read at once."""

    places: slice
    window: int


@dataclass
class Feed(ABC):
    """The logits of the places of some prompts, in the order of prompts and positions."""

    model: LatentModel
    lens: Lens
    prompt: Int[Tensor, place]
    position: Int[Tensor, place]
    count: int
    gate: Float[Tensor, "place iteration"] | None

    @abstractmethod
    def window(self, places: slice, start: int, stop: int) -> Float[Tensor, "place iteration vocab"]:
        """Logits of these places after iterations `start` to `stop - 1`, to be changed at will."""

    @abstractmethod
    def cuts(self, budget: int) -> list[Cut]:
        """How to go through all places and iterations within `budget` bytes; one iteration at least is held."""

    @property
    def row(self) -> int:
        """Bytes of the logits of one place after one iteration."""
        return 4 * self.model.vocab_size

    def __len__(self) -> int:
        return len(self.prompt)

    def _cut(self, size: int, window: int) -> list[Cut]:
        return [Cut(slice(i, min(i + size, len(self))), window) for i in range(0, len(self), size)]


@dataclass
class RowFeed(Feed):
    """Through a lens that hands out what its unembedding reads: any rows, each unembedded once."""

    hidden: Float[Tensor, "place iteration width"]

    def window(self, places: slice, start: int, stop: int) -> Tensor:
        rows = self.hidden[places, start:stop]
        logits = self.lens.head(self.model, rows).float()
        return logits.clone() if logits.data_ptr() == rows.data_ptr() else logits  # a head that does nothing

    def cuts(self, budget: int) -> list[Cut]:
        whole = self.count * self.row
        if (1 + COPIES) * whole <= budget:
            return self._cut(max(min(BLOCK, budget - COPIES * whole) // whole, 1), self.count)
        return self._cut(1, max(budget // (COPIES * self.row) - 3, 1))


@dataclass
class WholeFeed(Feed):
    """Through a lens that gives all logits of an iteration: those of the places are copied out."""

    states: Float[Tensor, "prompt iteration position d_model"]
    context: Context
    held: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)

    def window(self, places: slice, start: int, stop: int) -> Tensor:
        shape = (places.stop - places.start, stop - start, self.model.vocab_size)
        out = torch.empty(shape, device=self.states.device)
        for iteration in range(start, stop):
            out[:, iteration - start] = self._logits(places, iteration)
        # the next window begins with the last iteration of this one
        self.held = {(places.start, places.stop, stop - 1): out[:, -1].clone()} if stop - start < self.count else {}
        return out

    def _logits(self, places: slice, iteration: int) -> Tensor:
        known = self.held.get((places.start, places.stop, iteration))
        if known is not None:
            return known
        logits = self.lens.logits(self.model, self.states[:, iteration], self.context, iteration)
        return logits[self.prompt[places], self.position[places]]

    def cuts(self, budget: int) -> list[Cut]:
        spare = max(budget - self.states.shape[0] * self.states.shape[2] * self.row, 0)
        whole = self.count * self.row
        if (len(self) + COPIES) * whole <= spare:
            return self._cut(len(self), self.count)
        fit = spare // (COPIES * self.row)  # rows that are read at once, beside a final and an earlier one
        size = max(min(len(self), fit // 4), 1)
        return self._cut(size, max(fit // size - 3, 1))


def feeds(given: Input, lens: Lens, rows: slice, budget: int) -> Iterator[Feed]:
    """The feeds of some prompts: one, or several with a part of the places each where all would be too much."""
    model, count = given.model, given.iterations + 1
    prompt, position = given.mask[rows].nonzero().T
    states, context = opened(given, rows)
    gate = _gate(model, states[:, 1:], prompt, position)
    if not lens.in_rows(model):
        yield WholeFeed(model, lens, prompt, position, count, gate, states, context)
        return
    size = max(budget // (4 * states[0, :, 0].numel() * states.element_size()), 1)
    for part in torch.arange(len(prompt)).split(size):
        some, where = prompt[part], position[part]
        hidden: Tensor | None = None
        for iteration in range(count):
            read = lens.hidden(model, states[:, iteration], context, iteration)
            assert read is not None  # lens.in_rows says so
            if hidden is None:
                hidden = read.new_empty(len(some), count, read.shape[-1])
            hidden[:, iteration] = read[some, where]
        assert hidden is not None
        yield RowFeed(model, lens, some, where, count, None if gate is None else gate[part], hidden)


def opened(given: Input, rows: slice) -> tuple[Float[Tensor, "prompt iteration position d_model"], Context]:
    """The states of some prompts on the model's device, and the model's context for them."""
    model, states = given.model, given.states(rows).to(given.model.device)
    start = states[:, 0] if model.steps else None
    return states, model.begin(given.tokens[rows], mask=given.mask[rows], seed=given.seed, initial_state=start)


def prompts_at_once(given: Input, lens: Lens, budget: int) -> int:
    """How many prompts to take together, so that what is kept of them is within the budget."""
    model, count = given.model, given.iterations + 1
    positions = given.tokens.shape[1]
    state = positions * given.width * model.dtype.itemsize
    if lens.in_rows(model):
        return max(budget // (4 * state * (count * (1 if given.held else 2) + WORKING)), 1)
    fit = budget // 2 - COPIES * count * 4 * model.vocab_size
    return max(fit // ((count + 1) * positions * 4 * model.vocab_size), 1)


def _gate(model: LatentModel, states: Tensor, prompt: Tensor, position: Tensor) -> Tensor | None:
    """What the exit gate says after each iteration from 1 on, where there is one."""
    if model.exit_threshold is None:
        return None
    return model.gate(states).cpu()[prompt, :, position]
