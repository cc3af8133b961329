"""A loop of linear maps whose Jacobians are known, as a model and as a run of it."""

from __future__ import annotations

import torch
from torch import Tensor
from toys import Scripted

import latentlens as ll
from latentlens.models.base import Context, checked_tokens

WIDTH, VOCAB, LAST = 6, 12, 4


class Loop(Scripted):
    """s <- A s + share * e, with e the token's embedding and s_0 = e; the answer is the softmax of U s."""

    name, family = "loop", "loop"
    d_model = WIDTH

    def __init__(self, *, shrink: float = 0.8, share: float = 0.0, seed: int = 0) -> None:
        super().__init__(torch.zeros(LAST + 1, VOCAB))
        generator = torch.Generator().manual_seed(seed)
        turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0]
        self.a, self.share = shrink * turn, share
        self.embeddings = torch.randn(VOCAB, WIDTH, generator=generator)
        self.u = torch.randn(VOCAB, WIDTH, generator=generator)
        self.fingerprint = f"{seed:016d}"

    def begin(self, tokens=None, *, embeds=None, mask=None, seed=0, initial_state=None) -> Context:
        start = self.embeddings[checked_tokens(tokens, self)]
        return Context(state=start if initial_state is None else initial_state, inputs=start)

    def step(self, state: Tensor, context: Context) -> Tensor:
        return state @ self.a.T + self.share * context.inputs

    def residual(self, state: Tensor, context: Context) -> Tensor:
        return state

    def finish(self, state: Tensor, context: Context) -> Tensor:
        return self.unembed(state)

    def norm(self, state: Tensor) -> Tensor:
        return state

    def unembed(self, hidden: Tensor) -> Tensor:
        return hidden @ self.u.T


def loop_run(model: Loop, prompts: int = 40, length: int = 5) -> ll.Trajectory:
    ids = torch.randint(VOCAB, (prompts, length), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, 2:] = False
    return ll.capture(model, tokens=ids, mask=mask)
