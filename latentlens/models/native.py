"""The loop that native models share: it announces every state, and every TransformerLens hook works on it.

In: a family's `begin`, `step` and `finish`. Out: `run`, and `forward` for TransformerLens.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from latentlens.errors import CaptureError
from latentlens.models.base import (
    STOP,
    At,
    Context,
    LatentModel,
    OnState,
    Stop,
    checked_iterations,
    checked_mask,
    checked_tokens,
    replaced,
)
from latentlens.models.parts import Keep, weights_fingerprint

Rotary = tuple[Tensor, Tensor]


class NativeModel(HookedRootModule, LatentModel):
    """A recurrent-depth model of our own code, on TransformerLens's `HookedRootModule`.

    A state passes two things: `on_state`, an argument of the run (so that two threads cannot mix), and the
    `HookPoint` `hook_state`, for `run_with_hooks`. TransformerLens tells a hook no iteration; it is in
    `hook.ctx["iteration"]`.
    """

    patterns = True
    name: str
    hook_state: HookPoint
    lm_head: nn.Linear

    def begin(
        self,
        tokens: Int[Tensor, "prompt position"] | None = None,
        *,
        embeds: Float[Tensor, "prompt position d_model"] | None = None,
        mask: Tensor | None = None,
        seed: int = 0,
        initial_state: Float[Tensor, "prompt position d_model"] | None = None,
    ) -> Context:
        if (tokens is None) == (embeds is None):
            raise CaptureError("expected either tokens or embeds, got both or neither: pass one of them")
        x = self.embed(checked_tokens(tokens, self)) if embeds is None else embeds.to(self.device, self.dtype)
        if mask is not None:  # causal attention never looks to the right, where the pads are
            checked_mask(mask, (x.shape[0], x.shape[1]))
        rotary = self.rotary(x.shape[1])
        x = self.prelude(x, rotary)
        state = self.start(x, seed) if initial_state is None else self.given(initial_state, x)
        return Context(state=state, inputs=x, extra={"rotary": rotary})

    def rotary(self, length: int) -> Rotary | None:
        """Cosine and sine of every position's angles, where a family rotates; refuses more positions than it can."""
        return None

    def prelude(self, x: Tensor, rotary: Rotary | None) -> Tensor:
        """What embeddings go through before the loop; nothing, where a family has no prelude."""
        return x

    def start(self, like: Tensor, seed: int) -> Tensor:
        """`s_0` for what the prelude made: that itself, where a family does not draw it."""
        return like

    @abstractmethod
    def layers(self, state: Tensor, context: Context) -> list:
        """The parts of one iteration: functions, each from the tensor before it to one layer's output.

        Each also takes `keep=`, which is told the layer's attention pattern.
        """

    def step(self, state: Tensor, context: Context) -> Tensor:
        for layer in self.layers(state, context):
            state = layer(state)
        return self.close(state)

    def finish(self, state: Tensor, context: Context) -> Float[Tensor, "prompt position vocab"]:
        return self.unembed(self.hidden(state, context))

    def unembed(self, hidden: Tensor) -> Tensor:
        return self.lm_head(hidden)

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
        attention: bool = False,
    ) -> Tensor:
        """All of it; with `attention`, each layer's pattern is announced too, where `at.layer` is "attention.0" ..."""
        count = checked_iterations(iterations, self)
        context = self.begin(tokens, embeds=embeds, mask=mask, seed=seed, initial_state=initial_state)
        state, stopped = self._announce(context.state, At(0), on_state)
        for iteration in range(1, count + 1):
            if stopped:
                break
            for number, layer in enumerate(self.layers(state, context)):
                told = {}
                if attention and on_state is not None:
                    told["keep"] = _teller(on_state, At(iteration, f"attention.{number}"))
                state = self._announce_layer(layer(state, **told), At(iteration, number), on_state)
            state, stopped = self._announce(self.close(state), At(iteration), on_state)
        return self.finish(state, context)

    def forward(self, tokens: Tensor, iterations: int | None = None, seed: int = 0) -> Tensor:
        """`run`, under the name by which TransformerLens and torch call a module."""
        return self.run(tokens, iterations=iterations, seed=seed)

    def given(self, state: Tensor, like: Tensor) -> Tensor:
        """A chosen `s_0`, if it has the shape of the model's own."""
        if tuple(state.shape) != tuple(like.shape):
            raise CaptureError(
                f"expected initial_state of shape {list(like.shape)} [prompt, position, d_model], "
                f"got {list(state.shape)}"
            )
        return state.to(like)

    def _announce(self, state: Tensor, at: At, on_state: OnState | None) -> tuple[Tensor, bool]:
        if self.hook_state.fwd_hooks:
            self.hook_state.ctx["iteration"] = at.iteration
        state = self.hook_state(state)
        reply = on_state(state, at) if on_state is not None else None
        if isinstance(reply, Stop):
            return state, True
        return replaced(state, reply, at), False

    def _announce_layer(self, out: Tensor, at: At, on_state: OnState | None) -> Tensor:
        reply = on_state(out, at) if on_state is not None else None
        if reply is STOP:
            raise CaptureError(
                f"expected STOP at the end of an iteration, got it at layer {at.layer} of iteration {at.iteration}: "
                "return it where at.layer is None"
            )
        return replaced(out, reply, at)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def fingerprint(self) -> str:
        return weights_fingerprint(self)


def _teller(on_state: OnState, at: At) -> Keep:
    """What hands an attention pattern to the callback; a pattern cannot be replaced."""

    def keep(pattern: Tensor) -> None:
        if on_state(pattern, at) is not None:
            raise CaptureError(f"expected on_state to return None for {at.layer}, got a reply: patterns are read only")

    return keep
