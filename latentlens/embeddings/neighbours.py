"""The nearest neighbours of points, exactly, some points at a time.

In: points of a few dozen dimensions. Out: who is near whom, how far, and how much each of them weighs.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from latentlens.progress import Progress, progress_bar

QUERIES = 2_048
"""Points whose neighbours are looked for between two calls of `progress`."""


def nearest(
    points: Float[np.ndarray, "point d"], queries: Float[np.ndarray, "query d"], k: int, progress: Progress = False
) -> tuple[Int[np.ndarray, "query k"], Float[np.ndarray, "query k"]]:
    """The `k` nearest points of every query and their Euclidean distances, nearest first.

    >>> index, distance = nearest(np.array([[0.0], [1.0], [3.0]]), np.array([[0.75]]), k=2)
    >>> index.tolist(), distance.tolist()
    ([[1, 0]], [[0.25, 0.75]])
    """
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points)
    indices, distances = [], []
    with progress_bar(progress, len(queries), "neighbours", "state") as advance:
        for start in range(0, len(queries), QUERIES):
            part = queries[start : start + QUERIES]
            distance, index = found.kneighbors(part)
            indices.append(index.astype(np.int32))
            distances.append(distance.astype(np.float32))
            advance(len(part))
    return np.concatenate(indices), np.concatenate(distances)


def memberships(distance: Float[np.ndarray, "query k"]) -> Float[np.ndarray, "query k"]:
    """How strongly each neighbour belongs to a point: w = exp(-max(d - rho, 0) / sigma), rows that sum to 1.

    rho is the smallest distance above 0, and sigma is such that the weights sum to log2(k) before they are divided by
    their sum (McInnes, Healy and Melville 2018, section 3.1).

    >>> memberships(np.array([[1.0, 1.0, 1.0, 1.0]])).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    distance = distance.astype(np.float64)
    rho = np.where(distance > 0, distance, np.inf).min(1, keepdims=True)
    beyond = np.maximum(distance - np.where(np.isfinite(rho), rho, 0), 0)
    scale = np.maximum(beyond.mean(1, keepdims=True), 1e-12)
    low, high = np.full_like(scale, -20.0), np.full_like(scale, 20.0)
    for _ in range(64):  # bisection for the logarithm of sigma, in units of the mean distance
        middle = (low + high) / 2
        much = np.exp(-beyond / (scale * np.exp(middle))).sum(1, keepdims=True) > np.log2(distance.shape[1])
        low, high = np.where(much, low, middle), np.where(much, middle, high)
    weights = np.exp(-beyond / (scale * np.exp(low)))
    return weights / weights.sum(1, keepdims=True)
