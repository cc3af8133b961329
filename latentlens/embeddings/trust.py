"""How far a picture of states can be trusted, measured against the states themselves.

In: coordinates, and what was kept of the states. Out: a `Trust`. Knows no method: every layout is asked the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

SAMPLE = 2_000
"""At most this many states are compared with each other: the comparison is quadratic."""
NEIGHBOURS = 10
"""How many nearest neighbours are looked at, or fewer where there are hardly more states."""


@dataclass(frozen=True, eq=False)
class Trust:
    """What a picture keeps of the states. `trust["variance"]` is `trust.variance`.

    Attributes:
        variance: share of the variance of the states that the coordinates hold, from 0 to 1; NaN for UMAP.
        trustworthiness: 1 where no neighbour in the picture is far away in truth (Venna and Kaski 2001).
        neighbours: share of each state's `k` nearest neighbours that are among its `k` nearest in the picture.
        steps: `[iteration]`, mean step length in the picture over the true one; NaN at the first iteration.
        k: how many neighbours were looked at.
        sample: how many states were compared with each other, an equal share of every iteration.
        states: of how many.
        method: "pca" or "umap".
    """

    variance: float
    trustworthiness: float
    neighbours: float
    steps: xr.DataArray = field(repr=False)
    k: int
    sample: int
    states: int
    method: str

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    @property
    def caption(self) -> str:
        """All of it in one line, to stand beside the picture.

        >>> import latentlens as ll
        >>> print(ll.embed(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)).trust.caption)
        Keeps ...% of the variance; trustworthiness ..., ...% of 9 nearest neighbours kept (all 20 states); steps
        drawn at ... to ... of their length.
        """
        kept = f"keeps {self.variance:.0%} of the variance" if np.isfinite(self.variance) else ""
        text = "; ".join(part for part in (self.warning, kept, self._compared, self._drawn) if part)
        return f"{text[0].upper()}{text[1:]}."

    @property
    def warning(self) -> str:
        """What has to stand beside the picture whatever else does: nothing for PCA."""
        return "UMAP: distances and loops in it are not evidence" if self.method == "umap" else ""

    @property
    def _compared(self) -> str:
        if not self.k:
            return f"{self.states} states are too few to compare neighbours"
        whole = self.sample == self.states
        of = f"all {self.states:,} states" if whole else f"{self.sample:,} of {self.states:,} states"
        share = "" if whole else ", an equal share of each iteration"
        return (
            f"trustworthiness {self.trustworthiness:.2f}, {self.neighbours:.0%} of {self.k} nearest neighbours kept "
            f"({of}{share})"
        )

    @property
    def _drawn(self) -> str:
        """How long steps are in the picture; without a unit (UMAP), how uneven that is."""
        known = self.steps.values[np.isfinite(self.steps.values)]
        if not len(known):
            return ""
        low, high = known.min(), known.max()
        if self.method != "umap":
            return f"steps drawn at {low:.2f} to {high:.2f} of their length"
        return f"the same step is drawn up to {high / low:.2g} times as long at another iteration" if low > 0 else ""


@dataclass(eq=False)
class Evidence:
    """What is kept of the states, so that any picture of them can be measured.

    Attributes:
        index: `[sample, 3]`, prompt, place in the laid-out iterations, and position of each sampled state.
        steps: `[iteration]`, mean length of the step that led to each iteration, NaN at the first.
        variance: sum of the variances of all states along all dimensions.
        states: how many there are.
        rows: `[sample, d_model]`, the sampled states; None once only their ranks are kept.
        known: `[sample, sample]`, the ranks, where they are known already.
    """

    index: Int[Tensor, "sample 3"]
    steps: Float[Tensor, iteration]
    variance: float
    states: int
    rows: Float[Tensor, "sample d_model"] | None = field(default=None, repr=False)
    known: Int[Tensor, "sample sample"] | None = field(default=None, repr=False)

    @cached_property
    def ranks(self) -> Int[Tensor, "sample sample"]:
        """The rank of every sampled state among the neighbours of every other: 0 is itself, 1 the nearest."""
        return ranks(self.rows) if self.known is None else self.known  # type: ignore[arg-type]

    def judge(self, coords: xr.DataArray, method: str) -> Trust:
        """Compare coordinates `[prompt, iteration, position, component]` with the states."""
        values = torch.from_numpy(coords.values)
        sample = values[tuple(self.index.T)]
        k = min(NEIGHBOURS, (len(sample) - 1) // 2)
        trustworthiness, kept = compare(self.ranks, sample, k) if k else (np.nan, np.nan)
        rows = values[torch.isfinite(values[..., 0])].double()
        held = float(rows.var(0).sum()) / self.variance if self.variance > 0 else np.nan
        moved = (values[:, 1:] - values[:, :-1]).double().norm(dim=-1)
        drawn = torch.cat([torch.full((1,), torch.nan, dtype=torch.float64), moved.nanmean((0, 2))])
        return Trust(
            variance=np.nan if method == "umap" else held,
            trustworthiness=trustworthiness,
            neighbours=kept,
            steps=_by_iteration(torch.where(self.steps > 0, drawn / self.steps, torch.nan), coords),
            k=k,
            sample=len(sample),
            states=self.states,
            method=method,
        )


def _by_iteration(values: Tensor, coords: xr.DataArray) -> xr.DataArray:
    return xr.DataArray(
        values.numpy(),
        dims="iteration",
        coords={"iteration": coords.iteration.values},
        name="steps",
        attrs={"long_name": "step length in the picture over the true one", "units": "1"},
    )


def ranks(rows: Float[Tensor, "sample d"]) -> Int[Tensor, "sample sample"]:
    """The rank of each row among the neighbours of every other, by distance, then by number; 0 is the row itself.

    >>> ranks(torch.tensor([[0.0], [1.0], [3.0]])).tolist()
    [[0, 1, 2], [1, 0, 2], [2, 1, 0]]
    """
    return _distances(rows).argsort(dim=1, stable=True).argsort(dim=1).to(torch.int16)


def compare(true: Int[Tensor, "sample sample"], rows: Float[Tensor, "sample component"], k: int) -> tuple[float, float]:
    """Trustworthiness (Venna and Kaski 2001), and the share of the k nearest neighbours that are kept.

    T(k) = 1 - 2 / (n k (2 n - 3 k - 1)) * sum over i, and over the k nearest j of i in the picture, of
    max(r(i, j) - k, 0), where r is the true rank.

    >>> line = torch.arange(8.0)[:, None]
    >>> compare(ranks(line), 3 * line, k=2)
    (1.0, 1.0)
    """
    near = _distances(rows).argsort(dim=1, stable=True)[:, 1 : k + 1]
    rank = true.gather(1, near).double()
    n = len(rows)
    worst = n * k * (2 * n - 3 * k - 1) / 2
    return 1 - float((rank - k).clamp(min=0).sum()) / worst, float((rank <= k).double().mean())


def _distances(rows: Tensor) -> Float[Tensor, "sample sample"]:
    """Squared distances in float64, -1 to itself so that it comes first whatever lies at the same place."""
    rows = rows.double() - rows.double().mean(0)
    squares = rows.pow(2).sum(1)
    out = (squares[:, None] + squares - 2 * rows @ rows.T).clamp(min=0)
    return out.fill_diagonal_(-1.0)


def stratified(
    tokens: Int[Tensor, "token 2"], iterations: int, seed: int, limit: int = SAMPLE
) -> Int[Tensor, "sample 3"]:
    """States to compare, (prompt, place in iterations, position): all, or an equal share of every iteration.

    >>> stratified(torch.tensor([[0, 0], [0, 1]]), iterations=2, seed=0).tolist()
    [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
    """
    generator = np.random.default_rng(seed)
    total = len(tokens) * iterations
    share = np.full(iterations, min(limit, total) // iterations)
    share[generator.permutation(iterations)[: min(limit, total) - int(share.sum())]] += 1
    parts = []
    for place, count in enumerate(share):
        chosen = tokens[np.sort(generator.permutation(len(tokens))[:count])]
        parts.append(torch.stack([chosen[:, 0], torch.full((len(chosen),), place), chosen[:, 1]], 1))
    return torch.cat(parts)
