"""Token by token: what a model writes, with the states that each new token was read from.

In: a model and a prompt. Out: a `Generation`. Every token is a run over the whole text so far (the parallel reading:
every position at iteration r attends to all positions before it at iteration r); no cache of keys and values is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.errors import CaptureError
from latentlens.exits import exit_iteration, exit_pdf
from latentlens.models.base import At, LatentModel, checked_iterations
from latentlens.names import check_whole
from latentlens.progress import Progress, progress_bar
from latentlens.recording import prompt_ids


@dataclass(eq=False)
class Generation:
    """What a model wrote, greedily.

    Attributes:
        tokens: `[position]`, the prompt's tokens and then the new ones.
        new_tokens: `[new]`, the new ones alone.
        text: the text of the new tokens, or None without a tokenizer.
        states: `[new, iteration, d_model]`, at the position that each new token was read from; iteration 0 is `s_0`.
        exits: `[new]`, the iteration that each new token was read at.
    """

    tokens: Int[Tensor, "position"]
    new_tokens: Int[Tensor, "new"]
    text: str | None
    states: Float[Tensor, "new iteration d_model"]
    exits: Int[Tensor, "new"]


def generate(
    model: LatentModel,
    prompt: str | None = None,
    *,
    tokens: Any = None,
    max_new_tokens: int = 20,
    iterations: int | None = None,
    threshold: float | None = None,
    seed: int = 0,
    progress: Progress = True,
) -> Generation:
    """Continue a prompt greedily, keeping every iteration's state for every new token.

    Args:
        model: what `ll.load` returns.
        prompt: a text; or pass `tokens`, ids `[1, position]`.
        max_new_tokens: how many tokens to write.
        iterations: how often to iterate for each; None is the model's own number.
        threshold: where the model has an exit gate, read each token at the first iteration whose summed exit
            probability reaches this (Zhu et al. 2025); None reads at the last.
        seed: what a random `s_0` is drawn from.
        progress: a bar after one second; False for none, or a function `f(share, what)`.

    Raises:
        CaptureError: a number that does not fit, or a threshold for a model without a gate.

    >>> import latentlens as ll
    >>> gen = ll.generate(ll.load("walks"), "Ann : Bob . Bob : Ann . walk from Ann", max_new_tokens=3, iterations=8)
    >>> gen.states.shape[:2]
    torch.Size([3, 9])
    """
    check_whole("max_new_tokens", max_new_tokens, CaptureError)
    if threshold is not None and model.exit_threshold is None:
        raise CaptureError(f"expected no threshold for {model.name!r} ({model.family}), got one: it has no exit gate")
    count = checked_iterations(iterations, model)
    texts = None if prompt is None else [prompt]
    ids, _ = prompt_ids(model, texts, tokens, None)
    if len(ids) != 1:
        raise CaptureError(f"expected one prompt, got {len(ids)}: generate for each")
    length, states, exits = ids.shape[1], [], []
    with torch.no_grad(), progress_bar(progress, max_new_tokens, "generate", "token") as advance:
        for _ in range(max_new_tokens):
            token, state, stopped = _next(model, ids, count, threshold, seed)
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
            states.append(state)
            exits.append(stopped)
            advance(1)
    new = ids[0, length:]
    text = None if model.tokenizer is None else model.tokenizer.decode(new.tolist())
    return Generation(ids[0], new, text, torch.stack(states), torch.tensor(exits))


def _next(model: LatentModel, ids: Tensor, count: int, threshold: float | None, seed: int) -> tuple[int, Tensor, int]:
    """The next token, the last position's states, and the iteration that the token was read at."""
    kept: list[Tensor] = []

    def keep(state: Tensor, at: At) -> None:
        if at.layer is None:
            kept.append(state)

    logits = model.run(ids, iterations=count, on_state=keep, seed=seed)
    last = torch.stack([state[0, -1] for state in kept])
    stopped = len(kept) - 1
    if threshold is not None:
        stopped = int(exit_iteration(exit_pdf(model.gate(last[1:])), threshold))
        if stopped < len(kept) - 1:
            start = kept[0] if model.steps else None
            logits = model.finish(kept[stopped], model.begin(ids, seed=seed, initial_state=start))
    return int(logits[0, -1].argmax()), last.cpu(), stopped
