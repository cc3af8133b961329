"""From what `embed` was asked to frames, layouts and coordinates.

In: checked options and runs. Out: the parts of one `Embedding` a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from latentlens.embeddings.coordinates import Place, coordinates
from latentlens.embeddings.frames import CENTERS, SPACES, Basis, Frame, fit_frame
from latentlens.embeddings.layouts import Layout, lay_out
from latentlens.embeddings.sources import Run, Source, source_of
from latentlens.embeddings.trust import Evidence
from latentlens.errors import EmbeddingError
from latentlens.models.base import LatentModel
from latentlens.names import check_name, check_whole
from latentlens.progress import Progress
from latentlens.trajectory import Trajectory

METHODS = ("pca", "umap")
COMPONENTS = 3
PCS = 50
MIN_DIST = 0.1

Parts = tuple[xr.DataArray, Frame, Evidence, "Layout | None", "LatentModel | None", dict[str, Any]]


@dataclass(eq=False)
class Asked:
    """The options of `embed`, as they came; an embedding in `fit_on` or `neighbours` is its frame or its layout."""

    runs: Sequence[Run]
    method: str
    n_components: int | None
    space: str
    center: str
    iterations: Iterable[int] | None
    fit_on: Any
    n_neighbors: int | None
    min_dist: float | None
    pcs: int | None
    neighbours: Any
    seed: int

    def __post_init__(self) -> None:
        check_name("a method", self.method, METHODS, EmbeddingError)
        check_name("a space", self.space, SPACES, EmbeddingError)
        check_name("a center", self.center, CENTERS, EmbeddingError)
        if not self.runs:
            raise EmbeddingError("expected at least one trajectory, got none")
        for name, least in (("n_components", 1), ("pcs", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None:
                check_whole(name, value, EmbeddingError, least)
        if self.method == "pca":
            for name in ("n_neighbors", "min_dist", "pcs", "neighbours"):
                if getattr(self, name) is not None:
                    raise EmbeddingError(f"expected {name} only for method='umap', got it for 'pca': leave it out")
        if self.neighbours is not None and not isinstance(self.neighbours, Layout):
            raise EmbeddingError("expected a UMAP embedding in neighbours, got something else: leave it out")


def fit(asked: Asked, progress: Progress) -> Iterator[Parts]:
    """The parts of one embedding a run, all in the same frame."""
    own = [source_of(run) for run in asked.runs]
    basis = _basis(asked, own)
    frame = _frame(asked, basis, progress)
    layout: Layout | None = None
    starts: dict[tuple[int, int], int] = {}
    if asked.method == "umap":
        layout, starts = _layout(asked, basis, frame, progress)
    for source in own:
        chosen = basis.chosen(source)
        place = None if layout is None else _placing(basis, source, layout, starts)
        coords, evidence = coordinates(source, frame, chosen, asked.seed, progress, place)
        yield coords, frame, evidence, layout, source.model, _attrs(asked, basis, source)


def _basis(asked: Asked, own: list[Source]) -> Basis:
    """What the frame is made of; a run that is also laid out is the same `Source` in both."""
    sources, position, other = own, None, asked.fit_on
    if _whole(other):
        longest = max(source.mask.shape[1] for source in own)
        if not -longest <= other < longest:
            raise EmbeddingError(f"expected a position from {-longest} to {longest - 1} in fit_on, got {other}")
        position = int(other)
    elif isinstance(other, str) and not Path(other).exists():
        check_name("fit_on", other, ("all",), EmbeddingError)
    elif isinstance(other, (Trajectory, Source, str, Path, list, tuple)):
        runs = list(other) if isinstance(other, (list, tuple)) else [other]
        sources = [_same(run, asked.runs, own) for run in runs]
    elif isinstance(other, Layout):
        raise EmbeddingError(
            "expected a PCA embedding in fit_on, got a UMAP, which places new states but does not lay them out: "
            "embed all runs at once, ll.embed([a, b], 'umap')"
        )
    elif not isinstance(other, Frame):
        raise EmbeddingError(
            f"expected 'all', a position, trajectories or an embedding in fit_on, got {type(other).__name__}"
        )
    _check_widths([*own, *sources])
    iterations = _iterations(asked, [*own, *sources])
    return Basis(sources, position, iterations, asked.space, asked.center)


def _same(run: Run, runs: Sequence[Run], own: list[Source]) -> Source:
    """The source of a run that is laid out, or a new one."""
    for known, source in zip(runs, own):
        paths = isinstance(run, (str, Path)) and isinstance(known, (str, Path))
        if known is run or (paths and Path(known) == Path(run)):  # type: ignore[arg-type]
            return source
    return source_of(run)


def _check_widths(sources: list[Source]) -> None:
    widths = sorted({source.width for source in sources})
    if len(widths) > 1:
        raise EmbeddingError(
            f"expected runs of one width, got {' and '.join(map(str, widths))}: models of different widths have no "
            "frame in common"
        )


def _iterations(asked: Asked, sources: list[Source]) -> list[int] | None:
    if asked.iterations is None:
        return None
    wanted, last = list(asked.iterations), min(source.iterations for source in sources)
    for r in wanted:
        if not _whole(r) or not -last - 1 <= r <= last:
            raise EmbeddingError(f"expected an iteration from 0 to {last}, got {r!r}: capture with more iterations")
    if not wanted:
        raise EmbeddingError("expected at least one iteration, got none")
    return sorted({int(r) % (last + 1) for r in wanted})


def _frame(asked: Asked, basis: Basis, progress: Progress) -> Frame:
    """A frame that is fitted, or the one that was given."""
    if not isinstance(asked.fit_on, Frame):
        if asked.method == "pca":
            return fit_frame(basis, asked.n_components, COMPONENTS, progress)
        wanted = max(PCS if asked.pcs is None else asked.pcs, asked.n_components or 1)
        return fit_frame(basis, None, wanted, progress)
    known = asked.fit_on
    if asked.method == "umap":
        raise EmbeddingError("expected method='pca' with an embedding in fit_on, got 'umap': pass trajectories")
    if len(known.mean) != basis.sources[0].width:
        raise EmbeddingError(
            f"expected states of width {len(known.mean)}, got {basis.sources[0].width}: another model?"
        )
    for name in ("space", "center"):
        if getattr(known, name) != getattr(asked, name):
            raise EmbeddingError(
                f"expected {name}={getattr(known, name)!r}, as in the embedding of fit_on, got {getattr(asked, name)!r}"
            )
    there = len(known.components)
    if asked.n_components is not None and asked.n_components > there:
        raise EmbeddingError(
            f"expected n_components from 1 to {there} (fit_on's), got {asked.n_components}: ask for fewer"
        )
    return known.first(there if asked.n_components is None else asked.n_components)


def _layout(asked: Asked, basis: Basis, frame: Frame, progress: Progress) -> tuple[Layout, dict[tuple[int, int], int]]:
    """UMAP of everything in the basis, and at which row each (source, prompt) begins."""
    parts = [frame.project(block) for block in basis.blocks("points", progress)]
    names = [(id(source), prompt) for source in basis.sources for prompt in range(len(source.mask))]
    rows = np.cumsum([0, *map(len, parts)]).tolist()
    points = torch.cat(parts).numpy()
    most = min(points.shape[1], len(points) - 1)
    count = min(COMPONENTS, most) if asked.n_components is None else asked.n_components
    if count > most:
        raise EmbeddingError(
            f"expected n_components from 1 to {most} (principal components), got {count}: ask for fewer"
        )
    known = asked.neighbours
    if known is not None and not np.array_equal(known.points, points):
        raise EmbeddingError("expected neighbours of these very states, got those of others: leave neighbours out")
    if known is not None and asked.n_neighbors not in (None, known.index.shape[1]):
        raise EmbeddingError(
            f"expected n_neighbors={known.index.shape[1]}, as in neighbours, got {asked.n_neighbors}: leave one out"
        )
    layout = lay_out(
        points,
        count,
        n_neighbors=asked.n_neighbors,
        min_dist=MIN_DIST if asked.min_dist is None else asked.min_dist,
        seed=asked.seed,
        progress=progress,
        known=known,
    )
    return layout, dict(zip(names, rows))


def _placing(basis: Basis, source: Source, layout: Layout, starts: dict[tuple[int, int], int]) -> Place:
    """A laid-out state has the coordinates of the layout; any other one is placed between those near it."""

    def place(prompt: int, rows: Tensor) -> Tensor:
        real, start = source.mask[prompt], starts.get((id(source), prompt))
        fitted = basis.seen(source, prompt)[real] & (start is not None)
        out = torch.empty(*rows.shape[:2], layout.coordinates.shape[1])
        if bool(fitted.any()):
            count = rows.shape[0] * int(fitted.sum())
            own = layout.coordinates[start : start + count]  # type: ignore[operator]
            out[:, fitted] = torch.from_numpy(own).reshape(rows.shape[0], -1, out.shape[-1])
        if not bool(fitted.all()):
            others = rows[:, ~fitted]
            placed = layout.place(others.flatten(0, 1).numpy())
            out[:, ~fitted] = torch.from_numpy(placed).reshape(*others.shape[:2], -1)
        return out

    return place


def _attrs(asked: Asked, basis: Basis, source: Source) -> dict[str, Any]:
    if isinstance(asked.fit_on, Frame):
        made_of = "another embedding's states"
    elif basis.position is not None:
        made_of = f"position {basis.position}"
    elif len(basis.sources) > 1:
        made_of = f"{len(basis.sources)} runs"
    else:
        made_of = "all states" if basis.sources[0] is source else "another run"
    return {
        "method": asked.method,
        **source.about,
        "space": asked.space,
        "center": asked.center,
        "fit_on": made_of,
        "versions": {name: version(name) for name in ("torch", "scipy")},
    }


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
