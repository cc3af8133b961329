"""Models small enough to have exact answers at every stage."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from latentlens.models.base import At, Context, LatentModel, Stop, checked_iterations, checked_tokens


class Scripted(LatentModel):
    """A model that says `table[r]` after iteration r at every position: its state is the iteration's number."""

    family = "scripted"
    name = "scripted"
    d_model = 1
    n_layers = 1

    def __init__(self, table: Tensor, *, random_start: bool = False, normed_state: bool = False) -> None:
        self.table = table.float()
        self.iterations, self.vocab_size = len(table) - 1, table.shape[1]
        self.random_start, self.normed_state = random_start, normed_state
        self.begun = 0

    def begin(self, tokens=None, *, embeds=None, mask=None, seed=0, initial_state=None) -> Context:
        ids = checked_tokens(tokens, self)
        self.begun += 1
        zero = torch.zeros(*ids.shape, 1)
        return Context(state=zero if initial_state is None else initial_state, inputs=zero)

    def step(self, state: Tensor, context: Context) -> Tensor:
        return state + 1

    def finish(self, state: Tensor, context: Context) -> Tensor:
        return self.table[state[..., 0].long().clamp(max=len(self.table) - 1)]

    def run(self, tokens=None, *, iterations=None, on_state=None, embeds=None, mask=None, seed=0, initial_state=None):
        context = self.begin(tokens, initial_state=initial_state)
        state = context.state
        for r in range(checked_iterations(iterations, self) + 1):
            state = self.step(state, context) if r else state
            if on_state is not None and isinstance(on_state(state, At(r)), Stop):
                break
        return self.finish(state, context)

    def norm(self, state: Tensor) -> Tensor:
        return state / 2

    def unembed(self, hidden: Tensor) -> Tensor:
        return hidden.expand(*hidden.shape[:-1], self.vocab_size)

    dtype = torch.float32
    device = torch.device("cpu")
    fingerprint = "0123456789abcdef"


class Halving(Scripted):
    """The logit of the token itself is 8, and halves at every iteration; all others are 0."""

    name = "halving"

    def __init__(self, vocab: int = 4, iterations: int = 6) -> None:
        super().__init__(torch.zeros(iterations + 1, vocab))
        self.d_model = vocab

    def begin(self, tokens=None, *, embeds=None, mask=None, seed=0, initial_state=None) -> Context:
        start = 8 * torch.nn.functional.one_hot(checked_tokens(tokens, self), self.vocab_size).float()
        return Context(state=start if initial_state is None else initial_state, inputs=start)

    def step(self, state: Tensor, context: Context) -> Tensor:
        return state / 2

    def finish(self, state: Tensor, context: Context) -> Tensor:
        return state

    def norm(self, state: Tensor) -> Tensor:
        return state

    def unembed(self, hidden: Tensor) -> Tensor:
        return hidden


WORDS = ["[PAD]", "[UNK]", "a", "b", "c", "the", "cat", "sat", "on", "mat"]


def write_tokenizer(folder: Path, words: list[str] = WORDS) -> None:
    """A word-level `tokenizer.json` in which the i-th word has id i."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))


def change_config(folder: Path, **changes: object) -> None:
    """Overwrite keys of a model folder's config."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
