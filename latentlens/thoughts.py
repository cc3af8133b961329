"""Think in latents: feed a model's last hidden state back as its next embedding, and keep every one.

In: a model, prompts, a number of latents. Out: a `Trajectory` whose position axis has length 1, on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from latentlens.errors import CaptureError
from latentlens.models.base import At, LatentModel
from latentlens.models.latent_cot import LatentThoughts
from latentlens.names import check_whole
from latentlens.progress import Progress, progress_bar
from latentlens.recording import check_options, prompt_ids
from latentlens.trajectory import Trajectory, identify


def latent_cot(
    model: LatentModel,
    prompt: str | Sequence[str] | None = None,
    latents: int = 8,
    tokens: Any = None,
    *,
    mask: Any = None,
    seed: int = 0,
    progress: Progress = True,
) -> Trajectory:
    """Latent chain of thought (Coconut, Hao et al. 2024; CODI, Shen et al. 2025), every latent kept.

    The hidden state that the unembedding reads at the prompt's last token is fed back as the next embedding, and so on;
    `iteration` r is the state after r latents have been fed back. Without a cache: every latent is a run over the
    sequence so far, in which a model that loops makes its own number of iterations.

    Args:
        model: what `ll.load` or `ll.wrap` returns, if it runs from embeddings and its tokens see only those before.
        prompt: one text or several; or pass `tokens`.
        latents: how many states to feed back.
        tokens: ids `[prompt, position]`, with `mask` True where there is a token (right padding).
        seed: what a random `s_0` of a model that loops is drawn from.
        progress: a bar after one second; False for none, or a function `f(share, what)`.

    Returns:
        A trajectory with one position a prompt, whose token is the prompt's last; `aux["prompt_tokens"]` has the ids of
        the whole prompt (-1 pads). Decode it like any other: `traj.model` reads a state with the unembedding alone.

    Raises:
        CaptureError: a number that does not fit, or a model that cannot be fed a state.

    >>> import latentlens as ll
    >>> traj = ll.latent_cot(ll.load("walks"), "Ann : Bob . Bob : Ann . 1 steps from Ann", latents=2)
    >>> traj.states.shape[:3]
    torch.Size([1, 3, 1])
    >>> out = ll.decode(traj)
    >>> ll.token_text(out, out.top_token[0, :1, 0, 0].values).tolist()
    ['Bob']
    """
    if not isinstance(model, LatentModel):
        raise CaptureError(f"expected a model that ll.load returns, got {type(model).__name__}: load it first")
    check_whole("latents", latents, CaptureError)
    check_options(seed, 1, None, ())
    texts = [prompt] if isinstance(prompt, str) else None if prompt is None else list(prompt)
    ids, seen = prompt_ids(model, texts, tokens, mask)
    thoughts, states = LatentThoughts(model, latents), []
    with torch.no_grad(), progress_bar(progress, latents + 1, "think", "latent") as advance:

        def keep(state: Tensor, at: At) -> None:
            states.append(state.cpu())
            advance(1)

        thoughts.run(ids, on_state=keep, mask=seen, seed=seed)
    return Trajectory(
        states=torch.stack(states, dim=1),
        tokens=ids.gather(1, seen.sum(1, keepdim=True) - 1),
        mask=torch.ones(len(ids), 1, dtype=torch.bool),
        aux={"prompt_tokens": ids.masked_fill(~seen, -1)},
        seed=seed,
        prompts=texts,
        model=thoughts,
        origin=identify(thoughts),
    )
