"""States laid out in a few dimensions, and how far to trust the layout.

In: trajectories, in memory or on disk. Out: an `Embedding`: coordinates as xarray, the frame they are in, its trust.
One frame is fitted over all iterations, positions and prompts together, so that they can be compared in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from latentlens.embeddings.files import pack, read_file, unpack, write_file
from latentlens.embeddings.fitting import Asked, fit
from latentlens.embeddings.frames import Frame
from latentlens.embeddings.layouts import Layout
from latentlens.embeddings.sources import Run
from latentlens.embeddings.trust import Evidence, Trust
from latentlens.errors import EmbeddingError
from latentlens.models.base import LatentModel
from latentlens.progress import Progress


@dataclass(eq=False)
class Embedding:
    """Coordinates of every state of a run, the frame that they are in, and how far to trust them.

    Attributes:
        coords: `[prompt, iteration, position, component]`, float32, NaN at pads; in the states' own units (PCA) or
            without a unit (UMAP). The coordinate `iteration` says which iterations were laid out.
        frame: the linear frame: mean, components, variances, space and center.
        evidence: what is kept of the states to judge the picture by.
        layout: for UMAP, the points, neighbours, coordinates and parameters; None for PCA.
        model: the model of the run, where it is known.
        attrs: method, model, seed and prompts of the run; space, center, what the frame was made of, versions.

    >>> import latentlens as ll
    >>> emb = ll.embed(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4), n_components=2)
    >>> emb.coords.shape, 0 < emb.trust["variance"] <= 1
    ((1, 5, 4, 2), True)
    """

    coords: xr.DataArray
    frame: Frame
    evidence: Evidence = field(repr=False)
    layout: Layout | None = None
    model: LatentModel | None = field(default=None, repr=False)
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """ "pca" or "umap"."""
        return "pca" if self.layout is None else "umap"

    @property
    def mean(self) -> Float[Tensor, d_model]:
        """The centre of the frame."""
        return self.frame.mean

    @property
    def components(self) -> Float[Tensor, "component d_model"]:
        """The directions of the frame, orthonormal, by falling variance; for UMAP those that it started from."""
        return self.frame.components

    @property
    def explained_variance(self) -> np.ndarray:
        """Variance along each component, n - 1 in the denominator [state units squared]."""
        return self.frame.explained_variance

    @property
    def explained_variance_ratio(self) -> np.ndarray:
        """The share of all variance of what the frame was fitted on, from 0 to 1, by component."""
        return self.frame.explained_variance_ratio

    @cached_property
    def trust(self) -> Trust:
        """How far to trust the picture of all components together; `.caption` says it in one line.

        >>> import latentlens as ll
        >>> emb = ll.embed(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4))
        >>> 0 < emb.trust.trustworthiness <= 1, emb.trust.steps.sizes["iteration"]
        (True, 5)
        """
        return self.evidence.judge(self.coords, self.method)

    def trust_of(self, components: Sequence[int]) -> Trust:
        """How far to trust a picture of some components only, counted from 1.

        >>> import latentlens as ll
        >>> emb = ll.embed(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4))
        >>> emb.trust_of([1, 2]).variance < emb.trust.variance
        True
        """
        there = self.coords.component.values.tolist()
        for component in components:
            if component not in there:
                raise EmbeddingError(f"expected components from 1 to {len(there)}, got {component!r}: embed with more")
        return self.evidence.judge(self.coords.sel(component=list(components)), self.method)

    def transform(self, states: Float[Tensor, "... d_model"]) -> Float[Tensor, "... component"]:
        """Coordinates of any states of this width in this frame, in float32.

        With PCA these are the very coordinates that a laid-out state has. With UMAP they are not: a new state is put at
        the mean of its nearest laid-out states' coordinates, by strength of membership; a laid-out state would come
        close to its own coordinates, not onto them. So never draw `transform` of a state beside `coords` of the same.
        Where space is "norm" states are normed first, where center is "token" `[..., iteration, position, d_model]`
        are centred over the iterations given.

        Raises:
            EmbeddingError: another width, or no model where states are to be normed.

        >>> import latentlens as ll
        >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)
        >>> ll.embed(traj).transform(traj.states[0, 2]).shape
        torch.Size([4, 3])
        """
        points = self.frame.project(self.frame.prepared(states, self.model))
        if self.layout is None:
            return points[..., : self.coords.sizes["component"]]
        placed = torch.from_numpy(self.layout.place(points.reshape(-1, points.shape[-1]).numpy()))
        return placed.reshape(*points.shape[:-1], -1)

    def save(self, path: str | Path) -> Path:
        """Write everything to one .safetensors file, whole or not at all, without a pickle. Returns the path.

        >>> import latentlens as ll, tempfile
        >>> emb = ll.embed(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4))
        >>> path = emb.save(tempfile.mkdtemp() + "/map.safetensors")
        >>> ll.Embedding.load(path).coords.identical(emb.coords)
        True
        """
        return write_file(Path(path), *pack(self.coords, self.frame, self.evidence, self.layout, self.attrs))

    @classmethod
    def load(cls, path: str | Path, *, model: LatentModel | None = None) -> Embedding:
        """Read an embedding; `model` is needed only to `transform` states into a frame of normed ones.

        Raises:
            StoreError: a file that is no embedding.
        """
        coords, frame, evidence, layout, attrs = unpack(*read_file(Path(path)))
        return cls(coords, frame, evidence, layout, model, attrs)


@overload
def embed(traj: Run, method: str = ..., **options: Any) -> Embedding: ...


@overload
def embed(traj: Sequence[Run], method: str = ..., **options: Any) -> list[Embedding]: ...


def embed(  # type: ignore[misc]
    traj: Run | Sequence[Run],
    method: str = "pca",
    *,
    n_components: int | None = None,
    space: Literal["raw", "norm"] = "raw",
    center: Literal["all", "token"] = "all",
    iterations: Iterable[int] | None = None,
    fit_on: Literal["all"] | int | Run | Sequence[Run] | Embedding = "all",
    n_neighbors: int | None = None,
    min_dist: float | None = None,
    pcs: int | None = None,
    neighbours: Embedding | None = None,
    seed: int = 0,
    progress: Progress = True,
) -> Embedding | list[Embedding]:
    """Lay out all states of a trajectory in one joint frame; or of several trajectories, in the same one.

    PCA by a streamed covariance, summed in float64, and its leading eigenvectors: exact, one pass over the states to
    fit it, and one to make the coordinates. Each component's sign is chosen so that its largest entry is positive.
    UMAP is one fit of all states on their leading principal components, from where the first of these put them.

    Args:
        traj: what `capture` returns, or the path of a saved trajectory, which is read a prompt at a time; or a list of
            these (runs, prompts, seeds, or models of one width), which gives a list.
        method: "pca" or "umap". Distances and loops in a UMAP are not evidence.
        n_components: how many coordinates; None: three, or as many as there are states or dimensions.
        space: "raw" states, or "norm": after the norm before the unembedding (papers plot `ln_f(s)`).
        center: "all": one mean for all states. Differences between tokens are then most of the variance, and the joint
            frame shows those first; "token" takes each token's own mean over the iterations away: how it moves is left.
        iterations: which ones are laid out; None: all. `range(1, R + 1)` leaves out the start.
        fit_on: what the frame is made of: "all" that is laid out; a position (-1: each prompt's last); other runs
            (`[a, b]`: the union of both); or a PCA embedding, whose frame is used again.
        n_neighbors, min_dist, pcs: for UMAP: 15 (or all there are), 0.1, and 50 principal components to start from.
        neighbours: for UMAP: an earlier UMAP of the same states, whose neighbours are used again.
        seed: fixes the UMAP, and which states `trust` compares.
        progress: a bar after one second; False for none, or a function `f(share, what)`, which may raise to cancel.

    Raises:
        EmbeddingError: an unknown method, space or center; more components than there are; fewer than two states;
            states that are not finite; runs of different widths; options that belong to another method.

    >>> import latentlens as ll
    >>> one, two = (ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4, seed=seed) for seed in (0, 1))
    >>> ll.embed(one).coords.dims
    ('prompt', 'iteration', 'position', 'component')
    >>> a, b = ll.embed([one, two], iterations=range(1, 5), space="norm")
    >>> a.frame is b.frame, a.coords.iteration.values.tolist()
    (True, [1, 2, 3, 4])
    """
    many = isinstance(traj, (list, tuple))
    asked = Asked(
        runs=list(traj) if many else [traj],  # type: ignore[arg-type, list-item]
        method=method,
        n_components=n_components,
        space=space,
        center=center,
        iterations=iterations,
        fit_on=(fit_on.frame if fit_on.layout is None else fit_on.layout) if isinstance(fit_on, Embedding) else fit_on,
        n_neighbors=n_neighbors,
        min_dist=min_dist,
        pcs=pcs,
        neighbours=neighbours.layout or neighbours.frame if isinstance(neighbours, Embedding) else neighbours,
        seed=seed,
    )
    found = [Embedding(*parts) for parts in fit(asked, progress)]
    return found if many else found[0]
