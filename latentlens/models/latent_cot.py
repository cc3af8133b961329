"""Latent chain of thought (Coconut, Hao et al. 2024; CODI, Shen et al. 2025): a state fed back as the next embedding.

In: any model that runs from embeddings and sees only what comes before. Out: a `LatentModel` over it, whose iterations
are positions:

    s_0 = what the unembedding reads at the last prompt token,   s_r = the same, one position on, where s_{r-1} stands
    in for the embedding,   logits = unembed(s_r).

A state stands where the output of the model's embedding module stands, which in Gemma has its scale already; position
embeddings (GPT-2) are still added. There is no cache: each iteration is a run over the sequence so far, and a model
that loops makes its own number of iterations in each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentlens.errors import CaptureError
from latentlens.models.base import (
    STOP,
    At,
    Context,
    LatentModel,
    OnState,
    checked_iterations,
    checked_mask,
    checked_tokens,
    replaced,
)


class LatentThoughts(LatentModel):
    """A model that thinks in latents; its states have a position axis of length 1. Made by `ll.latent_cot`.

    Reading a state needs nothing but the state: it is already normed. To read a stored trajectory again, pass
    `Trajectory.load(path, model=LatentThoughts(model))`.
    """

    family = "latent_cot"
    steps = False
    normed_state = True

    def __init__(self, model: LatentModel, latents: int = 8) -> None:
        self.inner, self.iterations = model, latents
        self.name, self.d_model, self.vocab_size = model.name, model.d_model, model.vocab_size
        self.n_layers, self.tokenizer, self.truth = 1, model.tokenizer, model.truth

    def begin(
        self,
        tokens: Tensor | None = None,
        *,
        embeds: Tensor | None = None,
        mask: Tensor | None = None,
        seed: int = 0,
        initial_state: Tensor | None = None,
    ) -> Context:
        inputs, lengths = self._prompt(tokens, embeds, mask, initial_state)
        return Context(state=self._last(inputs, lengths, seed), inputs=inputs)

    def step(self, state: Tensor, context: Context) -> Tensor:
        raise CaptureError(
            f"expected a model that can step, got the latent chain of thought of {self.name!r}: what comes next "
            "depends on all states before; replace one during a run with on_state"
        )

    def finish(self, state: Tensor, context: Context) -> Tensor:
        return self.unembed(state)

    def run(
        self,
        tokens: Tensor | None = None,
        *,
        iterations: int | None = None,
        on_state: OnState | None = None,
        embeds: Tensor | None = None,
        mask: Tensor | None = None,
        seed: int = 0,
        initial_state: Tensor | None = None,
    ) -> Tensor:
        count = checked_iterations(iterations, self)
        inputs, lengths = self._prompt(tokens, embeds, mask, initial_state)
        rows, width = torch.arange(len(inputs), device=inputs.device), inputs.shape[1]
        # A latent takes the place after its own prompt's last token; what stands behind it is not seen.
        room = torch.cat([inputs, inputs.new_zeros(len(inputs), count, inputs.shape[2])], dim=1)
        for iteration in range(count + 1):
            state, at = self._last(room[:, : width + iteration], lengths + iteration, seed), At(iteration)
            reply = None if on_state is None else on_state(state, at)
            if reply is STOP:
                break
            state = replaced(state, reply, at)
            if iteration < count:
                room = room.index_put((rows, lengths + iteration), state[:, 0].to(room))
        return self.unembed(state)

    def norm(self, state: Tensor) -> Tensor:
        return state

    def unembed(self, hidden: Tensor) -> Tensor:
        return self.inner.answer(hidden)

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    @property
    def device(self) -> torch.device:
        return self.inner.device

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    def _prompt(
        self, tokens: Tensor | None, embeds: Tensor | None, mask: Tensor | None, initial_state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The prompts' embeddings, and how many of them there are in each row."""
        if (tokens is None) == (embeds is None):
            raise CaptureError("expected either tokens or embeds, got both or neither: pass one of them")
        if initial_state is not None:
            raise CaptureError(
                f"expected no initial_state for the latent chain of thought of {self.name!r}, got one: its s_0 is read "
                "from the prompt; replace it during a run with on_state"
            )
        inputs = (
            self.inner.embed(checked_tokens(tokens, self)) if embeds is None else embeds.to(self.device, self.dtype)
        )
        shape = (inputs.shape[0], inputs.shape[1])
        seen = torch.ones(shape, dtype=torch.bool) if mask is None else checked_mask(mask, shape)
        return inputs, seen.sum(1).to(self.device)

    def _last(self, embeds: Tensor, lengths: Tensor, seed: int) -> Tensor:
        """What the unembedding reads at the last position of each row, `[prompt, 1, d_model]`."""
        hidden = self.inner.read(embeds, seed=seed)
        if hidden.shape[-1] != embeds.shape[-1]:
            raise CaptureError(
                f"expected states as wide as embeddings ({embeds.shape[-1]}), got {hidden.shape[-1]} from "
                f"{self.name!r}: such a state cannot be fed back"
            )
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1][:, None]
