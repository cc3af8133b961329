"""UMAP: one layout of all points at once, which is kept and never made again.

In: points (the leading principal components of states). Out: a `Layout`: coordinates, neighbours, parameters.
umap-learn is imported when a layout is made, not before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from latentlens.embeddings.neighbours import memberships, nearest
from latentlens.errors import EmbeddingError
from latentlens.progress import Progress, progress_bar

FEW = 10_000
"""Up to this many points umap-learn makes 500 epochs, above it 200."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Points and where UMAP (McInnes, Healy and Melville 2018) put them.

    Attributes:
        points: `[point, pc]`, float32, what was laid out.
        coordinates: `[point, component]`, float32, without a unit.
        index, distance: `[point, neighbour]`, each point's nearest ones, itself among them, exactly.
        parameters: n_neighbors, min_dist, epochs, seed.
        versions: of umap-learn and numba.
    """

    points: Float[np.ndarray, "point pc"] = field(repr=False)
    coordinates: Float[np.ndarray, "point component"] = field(repr=False)
    index: Int[np.ndarray, "point neighbour"] = field(repr=False)
    distance: Float[np.ndarray, "point neighbour"] = field(repr=False)
    parameters: dict[str, Any]
    versions: dict[str, str]

    def place(self, points: Float[np.ndarray, "query pc"]) -> Float[np.ndarray, "query component"]:
        """Where other points belong: the mean of their nearest points' coordinates, by strength of membership.

        This is where umap-learn starts a transform; nothing is optimised after it, so that it is the same every time.
        """
        index, distance = nearest(self.points, points, self.index.shape[1])
        weights = memberships(distance)
        return np.einsum("qk,qkc->qc", weights, self.coordinates[index]).astype(np.float32)


def lay_out(
    points: Float[np.ndarray, "point pc"],
    n_components: int,
    *,
    n_neighbors: int | None,
    min_dist: float,
    seed: int,
    progress: Progress,
    known: Layout | None = None,
) -> Layout:
    """Lay out points from where their first components put them (Kobak and Linderman 2021), on one thread.

    Args:
        known: a layout of the same points: its neighbours are used again, and only the layout is made.
        progress: is told of neighbours, then of the start and of every epoch; what it raises ends the work.

    Raises:
        EmbeddingError: too few points, or parameters that do not fit.
    """
    check_parameters(n_neighbors, min_dist, len(points))
    if known is None:
        k = min(15, len(points) - 1) if n_neighbors is None else n_neighbors
        index, distance = nearest(points, points, k, progress)
    else:
        index, distance = known.index, known.distance
    epochs = 500 if len(points) <= FEW else 200
    with progress_bar(progress, epochs, "umap", "epoch") as advance:
        coordinates = _fitted(points, n_components, index, distance, min_dist, seed, epochs, advance)
    return Layout(
        points=points,
        coordinates=coordinates,
        index=index,
        distance=distance,
        parameters={"n_neighbors": index.shape[1], "min_dist": min_dist, "epochs": epochs, "seed": seed},
        versions={name: version(name) for name in ("umap-learn", "numba")},
    )


def check_parameters(n_neighbors: int | None, min_dist: float, points: int) -> None:
    """Refuse what UMAP cannot use."""
    if points < 4:
        raise EmbeddingError(f"expected at least four states for method='umap', got {points}: use method='pca'")
    whole = isinstance(n_neighbors, int) and not isinstance(n_neighbors, bool)
    if n_neighbors is not None and (not whole or not 2 <= n_neighbors < points):
        raise EmbeddingError(f"expected n_neighbors from 2 to {points - 1} (states - 1), got {n_neighbors!r}")
    if isinstance(min_dist, bool) or not isinstance(min_dist, (int, float)) or not 0 <= min_dist <= 1:
        raise EmbeddingError(f"expected min_dist from 0 to 1, got {min_dist!r}")


def _fitted(
    points: np.ndarray,
    n_components: int,
    index: np.ndarray,
    distance: np.ndarray,
    min_dist: float,
    seed: int,
    epochs: int,
    advance: Callable[[int], None],
) -> Float[np.ndarray, "point component"]:
    """umap-learn's own fit, watched through its progress bar: it has no callback."""
    import numba
    import umap

    advance(0)  # these imports take seconds, and so does the graph that is made of the neighbours
    threads, bar = numba.get_num_threads(), _Epochs(advance)
    fit = umap.UMAP(
        n_neighbors=index.shape[1],
        n_components=n_components,
        min_dist=min_dist,
        n_epochs=epochs,
        init=_start(points, n_components, seed),
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(index, distance),
        force_approximation_algorithm=True,  # otherwise umap-learn ignores the neighbours of few points
        tqdm_kwds={"file": bar, "disable": False, "mininterval": 0, "miniters": 1, "bar_format": "{n}", "leave": True},
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="precomputed_knn", category=UserWarning)
            warnings.filterwarnings("ignore", message=".*not an NNDescent object", category=UserWarning)
            out = fit.fit_transform(points)
    except _Ended:
        # tqdm's bar is stopped while it holds the lock of all bars, and would never let go of it
        tqdm.get_lock().release()
        raise bar.reason from None  # type: ignore[misc]
    finally:
        numba.set_num_threads(threads)
    return np.asarray(out, dtype=np.float32)


def _start(points: np.ndarray, n_components: int, seed: int) -> np.ndarray:
    """The first components, with a little noise, so that no two points and no axis are the same throughout."""
    start = points[:, :n_components]
    noise = np.random.default_rng(seed).normal(size=start.shape)
    return (start + 1e-4 * (float(start.std()) or 1.0) * noise).astype(np.float32)


class _Ended(Exception):
    """The caller's progress function has raised: see `_Epochs.reason`."""


class _Epochs:
    """The file that umap-learn's progress bar writes to, `\\r12`: tells how many epochs are done.

    What `advance` raises is kept, because tqdm swallows some exceptions of a file.
    """

    def __init__(self, advance: Callable[[int], None]) -> None:
        self.advance, self.done = advance, 0
        self.reason: BaseException | None = None

    def write(self, text: str) -> None:
        if self.reason is not None or not text.strip().isdigit():
            return
        fresh = int(text) - self.done
        if fresh <= 0:
            return
        self.done += fresh
        try:
            self.advance(fresh)
        except BaseException as error:
            self.reason = error
            raise _Ended from error

    def flush(self) -> None:
        """Nothing waits here."""
