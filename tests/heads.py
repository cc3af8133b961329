"""A model that is nothing but an unembedding: its states are what the head reads, so any trajectory can be made up."""

from __future__ import annotations

import torch
from torch import Tensor
from toys import Scripted

import latentlens as ll
from latentlens.models.base import Context, checked_tokens
from latentlens.trajectory import identify


class Head(Scripted):
    """Logits are `W s`; it remembers how many rows its unembedding was asked for at once."""

    name = "head"

    def __init__(self, vocab: int, width: int, states: int, weight: Tensor | None = None) -> None:
        super().__init__(torch.zeros(states, 1))
        self.vocab_size, self.d_model, self.most_rows = vocab, width, 0
        self.lm_head = torch.nn.Linear(width, vocab, bias=False).requires_grad_(False)
        self.lm_head.weight.copy_(torch.randn(vocab, width) * 4 / width**0.5 if weight is None else weight)

    def begin(self, tokens=None, *, embeds=None, mask=None, seed=0, initial_state=None) -> Context:
        zero = torch.zeros(*checked_tokens(tokens, self).shape, self.d_model)
        return Context(state=zero, inputs=zero)

    def hidden(self, state: Tensor, context: Context) -> Tensor:
        return state

    def finish(self, state: Tensor, context: Context) -> Tensor:
        return self.unembed(state)

    def norm(self, state: Tensor) -> Tensor:
        return state

    def unembed(self, hidden: Tensor) -> Tensor:
        self.most_rows = max(self.most_rows, hidden[..., 0].numel())
        return self.lm_head(hidden)


def made_up(vocab: int, width: int, states: int, positions: int, prompts: int = 1) -> ll.Trajectory:
    """Random states before a random head; logits spread by 4."""
    torch.manual_seed(0)
    model = Head(vocab, width, states)
    tokens = torch.randint(0, vocab, (prompts, positions))
    return of_states(model, torch.randn(prompts, states, positions, width), tokens)


def of_states(model: Head, states: Tensor, tokens: Tensor) -> ll.Trajectory:
    """A trajectory of given states, `[prompt, iteration, position, width]`."""
    mask = torch.ones_like(tokens, dtype=torch.bool)
    return ll.Trajectory(states, tokens, mask, model=model, origin=identify(model))


def of_logits(logits: Tensor) -> ll.Trajectory:
    """A trajectory whose logits are `logits`, `[iteration, vocab]`, exactly, at one position."""
    count, vocab = logits.shape
    model = Head(vocab, count, count, torch.zeros(vocab, count))
    model.unembed = lambda hidden: logits[hidden.argmax(-1)]
    return of_states(model, torch.eye(count)[None, :, None], torch.zeros(1, 1, dtype=torch.int64))
