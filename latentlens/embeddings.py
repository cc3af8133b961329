"""States laid out in a few dimensions, and how far to trust the layout.

In: a `Trajectory`. Out: an `Embedding`: coordinates as xarray, the frame they are in, and its trust.
One frame is fitted over all iterations, positions and prompts together, so that they can be compared in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from latentlens.errors import EmbeddingError
from latentlens.progress import Progress, progress_bar
from latentlens.trajectory import Trajectory

METHODS = ("pca",)


@dataclass(eq=False)
class Embedding:
    """Coordinates of every state, and the linear frame that made them.

    Attributes:
        coords: `[prompt, iteration, position, component]` in the states' own units; NaN at pads.
        mean: `[d_model]`, the centre of the frame.
        components: `[component, d_model]`, orthonormal, by falling variance.
        explained_variance: `[component]`, variance along each component (n - 1 in the denominator).
        explained_variance_ratio: `[component]`, the share of all variance, from 0 to 1.
        trust: what the picture keeps of the states: `{"variance": share kept by all components}`.
        attrs: method, model, seed and prompts.

    >>> import latentlens as ll
    >>> emb = ll.embed(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4), n_components=2)
    >>> emb.coords.shape, 0 < emb.trust["variance"] <= 1
    ((1, 5, 4, 2), True)
    """

    coords: xr.DataArray
    mean: Float[Tensor, d_model] = field(repr=False)
    components: Float[Tensor, "component d_model"] = field(repr=False)
    explained_variance: np.ndarray
    explained_variance_ratio: np.ndarray
    trust: dict[str, float]
    attrs: dict[str, Any] = field(default_factory=dict)

    def transform(self, states: Float[Tensor, "... d_model"]) -> Float[Tensor, "... component"]:
        """Coordinates of any states of this width in this frame, in float32."""
        if states.shape[-1] != len(self.mean):
            raise EmbeddingError(f"expected states of width {len(self.mean)}, got {states.shape[-1]}: another model?")
        return (states.double() - self.mean).matmul(self.components.T).float()


def embed(traj: Trajectory, method: str = "pca", *, n_components: int = 3, progress: Progress = True) -> Embedding:
    """Lay out all states of a trajectory in one joint frame.

    PCA by a streamed covariance in float64 and `eigh`: exact, one pass over the states. Each component's sign is
    chosen so that its largest entry is positive.

    Raises:
        EmbeddingError: an unknown method, or more components than the states have dimensions.

    >>> import latentlens as ll
    >>> emb = ll.embed(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4))
    >>> emb.coords.dims
    ('prompt', 'iteration', 'position', 'component')
    """
    if method not in METHODS:
        raise EmbeddingError(f"expected a method ({', '.join(METHODS)}), got {method!r}")
    width = traj.states.shape[-1]
    if isinstance(n_components, bool) or not isinstance(n_components, int) or not 1 <= n_components <= width:
        raise EmbeddingError(f"expected n_components from 1 to {width} (d_model), got {n_components!r}")
    count, mean, covariance = _moments(traj, progress)
    if count < 2:
        raise EmbeddingError(f"expected at least two states to lay out, got {count}")
    values, vectors = torch.linalg.eigh(covariance)
    variance = values.flip(0)[:n_components].clamp(min=0)
    components = vectors.flip(1).T[:n_components].contiguous()
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    components = components * torch.where(largest < 0, -1.0, 1.0)
    total = float(values.clamp(min=0).sum())
    ratio = (variance / total if total > 0 else torch.zeros_like(variance)).numpy()
    emb = Embedding(
        coords=xr.DataArray(),
        mean=mean,
        components=components,
        explained_variance=variance.numpy(),
        explained_variance_ratio=ratio,
        trust={"variance": float(ratio.sum())},
        attrs={
            "method": method,
            "model": traj.origin.get("name"),
            "seed": traj.seed,
            "prompts": traj.prompts,
        },
    )
    emb.coords = _coordinates(emb, traj)
    return emb


def _moments(traj: Trajectory, progress: Progress) -> tuple[int, Tensor, Tensor]:
    """Number, mean and covariance of all real states, a prompt at a time, merged as Chan et al. (1983) do."""
    width = traj.states.shape[-1]
    count, mean = 0, torch.zeros(width, dtype=torch.float64)
    scatter = torch.zeros(width, width, dtype=torch.float64)
    with progress_bar(progress, len(traj.states), "pca", "prompt") as advance:
        for states, seen in zip(traj.states, traj.mask):
            part = states[:, seen].flatten(0, 1).double()
            middle = part.mean(0)
            part = part - middle
            shift, total = middle - mean, count + len(part)
            scatter += part.T @ part + torch.outer(shift, shift) * (count * len(part) / total)
            mean, count = mean + shift * (len(part) / total), total
            advance(1)
    return count, mean, scatter / max(count - 1, 1)


def _coordinates(emb: Embedding, traj: Trajectory) -> xr.DataArray:
    rows = torch.stack([emb.transform(states) for states in traj.states])
    rows = rows.masked_fill(~traj.mask[:, None, :, None], torch.nan)
    return xr.DataArray(
        rows.numpy(),
        dims=("prompt", "iteration", "position", "component"),
        coords={"iteration": np.arange(traj.iterations + 1), "component": np.arange(rows.shape[-1]) + 1},
        name="coordinate",
        attrs={"long_name": "coordinate in the joint frame", "units": "state units"},
    )
