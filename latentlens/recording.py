"""Keep the state of every iteration of one forward pass.

In: a model, prompts, a number of iterations, a seed. Out: a `Trajectory` on the CPU.
Knows nothing about vocabularies or plots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentlens.errors import CaptureError
from latentlens.models.base import At, LatentModel, checked_iterations, checked_mask, checked_tokens
from latentlens.names import check_whole
from latentlens.progress import Progress, progress_bar
from latentlens.trajectory import Trajectory, identify


def capture(
    model: LatentModel,
    prompts: str | Sequence[str] | None = None,
    *,
    tokens: Any = None,
    mask: Any = None,
    iterations: int | None = None,
    seed: int = 0,
    initial_state: Tensor | None = None,
    layers: bool = False,
    attention: bool = False,
    batch_size: int = 64,
    progress: Progress = True,
) -> Trajectory:
    """Run a model and keep the hidden state of every iteration, `s_0` included.

    Every position at iteration r attends to all positions before it at iteration r (the parallel reading of
    Geiping et al. 2025); a prompt has the same trajectory alone and in a batch, to 1e-4 in float32.

    Args:
        model: what `ll.load` returns.
        prompts: one text or several; or pass `tokens`.
        tokens: ids `[prompt, position]`, with `mask` True where there is a token (right padding).
        iterations: how often to iterate; None is the model's own number.
        seed: what a random `s_0` is drawn from; a model without randomness records it.
        initial_state: `s_0` for each prompt, `[prompt, position, d_model]`, in place of the model's own.
        layers: also keep the output of every layer of every iteration.
        attention: also keep every pattern, in `aux["attention"]`, `[prompt, iteration, layer, head, query, key]` for
            iterations 1..R, in float32; native models only.
        batch_size: how many prompts run at once.
        progress: a bar after one second; False for none, or a function `f(share, what)`.

    Raises:
        CaptureError: tokens, iterations or initial state that do not fit the model.
        TokenError: a prompt that cannot be tokenised.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "Ann : Bob . Bob : Ann . 1 steps from Ann", iterations=8)
    >>> traj.states.shape[:3]
    torch.Size([1, 9, 12])
    """
    if not isinstance(model, LatentModel):
        raise CaptureError(f"expected a model that ll.load returns, got {type(model).__name__}: load it first")
    count = checked_iterations(iterations, model)
    texts = [prompts] if isinstance(prompts, str) else None if prompts is None else list(prompts)
    ids, seen = prompt_ids(model, texts, tokens, mask)
    check_options(seed, batch_size, initial_state, (*ids.shape, model.d_model))
    extra = _attention_option(model, attention)
    states, layer_states = _empty(model, ids, count, layers)
    aux: dict[str, Tensor] = {}
    batches = list(torch.arange(len(ids)).split(batch_size))
    with (
        torch.no_grad(),
        progress_bar(progress, len(batches) * (count + 1), "capture", "iteration") as advance,
    ):
        for rows in batches:
            width = int(seen[rows].sum(1).max())
            keeper = _Keeper(states[rows[0] : rows[-1] + 1], layer_states, rows, width, advance)
            model.run(
                ids[rows, :width],
                iterations=count,
                on_state=keeper.keep,
                mask=seen[rows, :width],
                seed=seed,
                initial_state=None if initial_state is None else initial_state[rows, :width],
                **extra,
            )
            if keeper.came != count + 1:
                raise CaptureError(
                    f"expected {count} iterations of {model.name} ({model.family}), got {keeper.came - 1}: "
                    f"pass iterations={keeper.came - 1}"
                )
            _keep_extra(aux, keeper.extra, rows, states.shape)
    if not bool(seen.all()):  # a pass over all states, so only where there are pads
        states.masked_fill_(~seen[:, None, :, None], 0)
        if layer_states is not None:
            layer_states.masked_fill_(~seen[:, None, None, :, None], 0)
    return Trajectory(
        states=states,
        tokens=ids,
        mask=seen,
        layer_states=layer_states,
        aux=aux,
        seed=seed,
        prompts=texts,
        model=model,
        origin=identify(model),
    )


class _Keeper:
    """The `on_state` of a capture: copies what comes into place, and counts the states."""

    def __init__(
        self,
        states: Tensor,
        layer_states: Tensor | None,
        rows: Tensor,
        width: int,
        advance: Callable[[int], None],
    ) -> None:
        self.states, self.width, self.advance = states, width, advance
        self.layer_states = None if layer_states is None else layer_states[rows[0] : rows[-1] + 1]
        self.came = 0
        self.extra: dict[str, dict[int, Tensor]] = {}

    def keep(self, state: Tensor, at: At) -> None:
        if isinstance(at.layer, str):
            self.extra.setdefault(at.layer, {})[at.iteration] = state.detach().cpu()
            return
        if at.layer is not None:
            if self.layer_states is not None:
                self.layer_states[:, at.iteration - 1, at.layer, : self.width] = state
            return
        if state.shape[1] != self.width:
            raise CaptureError(
                f"expected a state for each of {self.width} positions, got {state.shape[1]}: a latent chain of thought "
                "is captured with ll.latent_cot"
            )
        if at.iteration < self.states.shape[1]:
            self.states[:, at.iteration, : self.width] = state
        self.came += 1
        self.advance(1)


def _keep_extra(aux: dict[str, Tensor], extra: dict, rows: Tensor, shape: torch.Size) -> None:
    """Put further states of a family (`[prompt, iteration, position, d_model]`, iterations 1..R) in their place."""
    prompts, count, positions = shape[0], shape[1] - 1, shape[2]
    layers = sum(name.startswith("attention.") for name in extra)
    for name, by_iteration in extra.items():
        for iteration, state in by_iteration.items():
            width = state.shape[-2] if state.ndim == 4 else state.shape[1]
            if name.startswith("attention."):
                full = (prompts, count, layers, state.shape[1], positions, positions)
                kept = aux.setdefault("attention", torch.zeros(full))
                kept[rows, iteration - 1, int(name.removeprefix("attention.")), :, :width, :width] = state
                continue
            kept = aux.setdefault(name, torch.zeros(prompts, count, positions, state.shape[-1], dtype=state.dtype))
            kept[rows, iteration - 1, :width] = state


def _attention_option(model: LatentModel, attention: bool) -> dict[str, Any]:
    """What `run` is told so that it announces attention patterns; refuses models that cannot."""
    if not attention:
        return {}
    if not model.patterns:
        raise CaptureError(
            f"expected a native model for attention=True, got {model.name!r} ({model.family}), which is looked into "
            "through hooks: its attention is its own"
        )
    return {"attention": True}


def prompt_ids(model: LatentModel, prompts: list[str] | None, tokens: Any, mask: Any) -> tuple[Tensor, Tensor]:
    """Token ids, padded on the right, and the mask of the real ones."""
    if (prompts is None) == (tokens is None):
        raise CaptureError("expected either prompts or tokens=, got both or neither: pass one of them")
    if tokens is not None:
        ids = checked_tokens(tokens, model)
        shape = (ids.shape[0], ids.shape[1])
        return ids, torch.ones(shape, dtype=torch.bool) if mask is None else checked_mask(mask, shape)
    if mask is not None:
        raise CaptureError("expected mask= only with tokens=, got it with prompts: prompts are padded by capture")
    if not prompts:
        raise CaptureError("expected at least one prompt, got none")
    if model.tokenizer is None:
        raise CaptureError(f"expected tokens= for {model.name!r}, got prompts: the model came without a tokenizer")
    rows = [model.tokenizer.encode(prompt) for prompt in prompts]
    longest = max(map(len, rows))
    seen = torch.tensor([[i < len(row) for i in range(longest)] for row in rows])
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows]), seen


def check_options(seed: int, batch_size: int, initial_state: Tensor | None, shape: tuple[int, ...]) -> None:
    """Refuse a seed, a batch size or an initial state that does not fit."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise CaptureError(f"expected seed to be a whole number of 0 or more, got {seed!r}")
    check_whole("batch_size", batch_size, CaptureError)
    if initial_state is not None and tuple(initial_state.shape) != shape:
        raise CaptureError(
            f"expected initial_state of shape {list(shape)} [prompt, position, d_model], "
            f"got {list(initial_state.shape)}"
        )


def _empty(model: LatentModel, ids: Tensor, count: int, layers: bool) -> tuple[Tensor, Tensor | None]:
    """Room for the states on the CPU; made once, so that keeping a state is one copy.

    numpy asks for large pages, which are there five times as fast as torch's small ones. Nothing is cleared: every
    state is written, and pads are cleared in the end.
    """
    prompts, positions = ids.shape
    shape = (prompts, count + 1, positions, model.d_model)
    room = np.empty(math.prod(shape) * model.dtype.itemsize, dtype=np.uint8)
    states = torch.from_numpy(room).view(model.dtype).view(shape)
    if not layers:
        return states, None
    return states, torch.zeros(prompts, count, model.n_layers, positions, model.d_model, dtype=model.dtype)
