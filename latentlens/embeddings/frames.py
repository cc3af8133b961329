"""A linear frame: the leading directions of the states that it was fitted on, and coordinates in them.

In: sources of states. Out: a `Frame`. Knows nothing about pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentlens.embeddings.covariance import Covariance, finite
from latentlens.embeddings.sources import Source, normed
from latentlens.errors import EmbeddingError
from latentlens.models.base import LatentModel
from latentlens.progress import Progress, progress_bar

SPACES = ("raw", "norm")
CENTERS = ("all", "token")
ENTRIES = 2**19
"""Numbers that are widened to float64 at once: these stay in the cache."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Orthonormal directions through a centre, by falling variance, all in float64.

    Attributes:
        mean: `[d_model]`, the centre.
        components: `[component, d_model]`.
        explained_variance: `[component]`, variance along each (n - 1 in the denominator).
        explained_variance_ratio: `[component]`, the share of all variance, from 0 to 1.
        states: how many states it was fitted on.
        space: "raw" or "norm", what states it takes. center: "all" or "token".
    """

    mean: Float[Tensor, d_model] = field(repr=False)
    components: Float[Tensor, "component d_model"] = field(repr=False)
    explained_variance: np.ndarray
    explained_variance_ratio: np.ndarray
    states: int
    space: str
    center: str

    def project(self, states: Float[Tensor, "... d_model"]) -> Float[Tensor, "... component"]:
        """Coordinates of states that are already in the frame's space, in float32."""
        if states.shape[-1] != len(self.mean):
            raise EmbeddingError(f"expected states of width {len(self.mean)}, got {states.shape[-1]}: another model?")
        rows, origin = states.reshape(-1, len(self.mean)), self.components @ self.mean
        few = max(ENTRIES // len(self.mean), 1)
        parts = [(part.double() @ self.components.T - origin).float() for part in rows.split(few)]
        return torch.cat(parts).reshape(*states.shape[:-1], -1)

    def prepared(self, states: Tensor, model: LatentModel | None) -> Tensor:
        """States from anywhere in the frame's space: normed, or each token centred over its iterations."""
        if self.space == "norm":
            if model is None:
                raise EmbeddingError("expected a model for space='norm', got none: pass Embedding.load(path, model=)")
            states = normed(states, model, torch.ones(len(states)))
        if self.center == "token":
            if states.ndim < 3:
                raise EmbeddingError(
                    "expected states [..., iteration, position, d_model] for center='token', got "
                    f"{list(states.shape)}: pass all iterations of a token at once"
                )
            states = states.double()
            states = states - states.mean(-3, keepdim=True)
        return states

    def first(self, count: int) -> Frame:
        """The same frame with its first components only."""
        return replace(
            self,
            components=self.components[:count],
            explained_variance=self.explained_variance[:count],
            explained_variance_ratio=self.explained_variance_ratio[:count],
        )


@dataclass(frozen=True, eq=False)
class Basis:
    """What a frame is made of: runs, one position or all of them, and chosen iterations or all of them."""

    sources: list[Source]
    position: int | None
    iterations: list[int] | None
    space: str
    center: str

    def chosen(self, source: Source) -> list[int]:
        """The iterations of a run that count."""
        return list(range(source.iterations + 1)) if self.iterations is None else self.iterations

    def seen(self, source: Source, prompt: int) -> Bool[Tensor, position]:
        """The positions of a prompt that count; -1 is each prompt's own last one."""
        real = source.mask[prompt]
        if self.position is None:
            return real
        out = torch.zeros_like(real)
        at = int(real.sum()) + self.position if self.position < 0 else self.position
        if 0 <= at < int(real.sum()):
            out[at] = True
        return out

    def blocks(self, what: str, progress: Progress) -> Iterator[Float[Tensor, "state d_model"]]:
        """The states that count, a prompt at a time."""
        with progress_bar(progress, sum(len(s.mask) for s in self.sources), what, "prompt") as advance:
            for source in self.sources:
                chosen = self.chosen(source)
                for prompt in range(len(source.mask)):
                    seen = self.seen(source, prompt)
                    states = source.prepared(prompt, chosen, self.space, self.center)
                    block = states if bool(seen.all()) else states[:, seen]
                    refuse_unfinite(block, prompt, chosen, seen)
                    yield block.flatten(0, 1)
                    advance(1)


def fit_frame(basis: Basis, n_components: int | None, most: int, progress: Progress) -> Frame:
    """The leading `n_components` of everything in the basis, in one pass; None: `most`, or as many as there are.

    Raises:
        EmbeddingError: states that are not finite, fewer than two, or more components than there are.
    """
    covariance = Covariance(basis.sources[0].width)
    for block in basis.blocks("pca", progress):
        covariance.add(block)
    there = min(most, covariance.width, covariance.count)
    variance, components, total = covariance.leading(there if n_components is None else n_components)
    return Frame(
        mean=covariance.mean,
        components=components,
        explained_variance=variance.numpy(),
        explained_variance_ratio=(variance / total if total > 0 else torch.zeros_like(variance)).numpy(),
        states=covariance.count,
        space=basis.space,
        center=basis.center,
    )


def refuse_unfinite(
    states: Float[Tensor, "iteration position d_model"], prompt: int, iterations: Sequence[int], seen: Tensor
) -> None:
    """Say where the first state is that is NaN or infinite."""
    if finite(states):
        return
    row, column = (~torch.isfinite(states).all(-1)).nonzero()[0].tolist()
    position = int(seen.nonzero()[column])
    raise EmbeddingError(
        f"expected finite states, got NaN or infinity at prompt {prompt}, iteration {iterations[row]}, "
        f"position {position}: leave those iterations out with iterations="
    )
