"""The path of one token in pairs of principal components, about where it ends.

In: a PCA of `embed`, and optionally what `dynamics` says of the same run. Out: one row an iteration of each pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from latentlens.errors import FigureError
from latentlens.figures.base import Figure, option
from latentlens.figures.escape import visible
from latentlens.figures.kinds.places import check_position, check_prompt, texts
from latentlens.figures.style import PAPERS

if TYPE_CHECKING:
    from latentlens.embeddings import Embedding

MOST = 3
"""At most this many pairs stand side by side."""
CENTERS = ("last", "tail")


@dataclass(frozen=True)
class Orbits(Figure):
    """Does a state come to rest, drift, or go round (Geiping et al. 2025, arXiv 2502.05171, who draw such pairs)?

    One panel a pair of components, from a ring at the start to a square at the end; both axes of a panel have one
    scale, and 0 is the last state, or the mean of the second half of the iterations. Needs a PCA: loops in a UMAP are
    no evidence. Embed with `n_components=6` for three pairs.
    """

    kind: ClassVar[str] = "orbits"

    prompt: int = option(0, "which prompt; negative ones count from the end")
    position: int = option(-1, "which token; negative ones count from the prompt's own end")
    pairs: int | None = option(None, "how many pairs, at most 3; None is as many as there are", low=1)
    center: str = option("last", "what lies at 0: the last state, or the mean of the tail", choices=CENTERS)
    start: int | None = option(None, "the first iteration that is drawn; None leaves a known random start out", low=0)

    def table(self, emb: Embedding, dyn: xr.Dataset | None = None) -> pd.DataFrame:
        """One row an iteration of each pair.

        Columns: pair (from 1), iteration, x, y [state units], from the centre. `attrs`: axes (two titles a pair, with
        the share of variance), first, iterations, prompt, position, said (what the dynamics call it, or ""), notes.
        """
        coords = checked(emb, self.kind)
        count = coords.sizes["component"] // 2
        if self.pairs is not None and self.pairs > min(count, MOST):
            raise FigureError(
                f"expected pairs of orbits from 1 to {min(count, MOST)}, got {self.pairs}: "
                f"embed with n_components={2 * min(self.pairs, MOST)}"
            )
        count = min(count, MOST) if self.pairs is None else self.pairs
        prompt = check_prompt(coords.sizes["prompt"], self.prompt)
        position = check_position(lengths(coords)[prompt], self.position, prompt)
        path = coords.isel(prompt=prompt, position=position).transpose("iteration", "component").values
        said = "" if dyn is None else _called(dyn, coords, prompt, position)
        kept = from_start(coords, self.start, dyn)
        path = about(path, self.center)[kept]
        rows = [
            pd.DataFrame(
                {
                    "pair": pair + 1,
                    "iteration": coords.iteration.values[kept],
                    "x": path[:, 2 * pair].astype(float),
                    "y": path[:, 2 * pair + 1].astype(float),
                }
            )
            for pair in range(count)
        ]
        table = pd.concat(rows, ignore_index=True)
        table.attrs = {
            "axes": [titles(emb, (2 * pair + 1, 2 * pair + 2)) for pair in range(count)],
            "first": int(table.iteration.min()),
            "iterations": int(coords.iteration[-1]),
            "prompt": prompt,
            "position": position,
            "said": said,
            "notes": [emb.trust_of(tuple(range(1, 2 * count + 1))).caption],
            "model": str(emb.attrs.get("model")),
        }
        return table

    def describe(self, table: pd.DataFrame) -> str:
        """How far out each pair begins, how far it still moves at its end, and what the dynamics call it."""
        at, parts = table.attrs, []
        for (_, rows), names in zip(table.groupby("pair"), at["axes"]):
            x, y = rows.x.to_numpy(float), rows.y.to_numpy(float)
            away = np.hypot(x, y)
            steps = np.hypot(np.diff(x), np.diff(y))
            last = f", its last step {steps[-1]:.2g}" if len(steps) else ""
            parts.append(f"{' and '.join(names)}: from {away[0]:.2g} to {away[-1]:.2g} from the centre{last}")
        said = f" The dynamics call it {at['said']}." if at["said"] else ""
        where = f"The token at position {at['position']} over iterations {at['first']} to {at['iterations']}"
        return " ".join([f"{where}; {'; '.join(parts)}.{said}", *at["notes"]])


def checked(emb: Embedding, kind: str) -> xr.DataArray:
    """The coordinates of a PCA with two components or more."""
    if not hasattr(emb, "explained_variance_ratio"):
        raise FigureError(f"expected what ll.embed returns for {kind}, got {type(emb).__name__}: embed first")
    if emb.method != "pca":
        raise FigureError(
            f"expected a PCA for {kind}, got a {emb.method.upper()}, in which loops are no evidence: "
            "embed with method='pca'"
        )
    if emb.coords.sizes["component"] < 2:
        raise FigureError(f"expected two components or more for {kind}, got 1: embed with n_components=2")
    return emb.coords


def lengths(coords: xr.DataArray) -> list[int]:
    """How many tokens each prompt has."""
    first = coords.transpose("prompt", "iteration", "position", "component").values[:, 0, :, 0]
    return np.isfinite(first).sum(1).tolist()


def from_start(coords: xr.DataArray, start: int | None, said: xr.Dataset | None) -> slice:
    """The iterations from `start` on, two at least; None leaves out a start that is `said` to be random.

    Its jump would set the scale.
    """
    if start is None:
        start = 0 if said is None else int(said.attrs.get("random_start", 0))
    where = int(np.searchsorted(coords.iteration.values, start))
    if where > coords.sizes["iteration"] - 2:
        raise FigureError(f"expected start to leave two iterations or more of {int(coords.iteration[-1])}, got {start}")
    return slice(where, None)


def about(path: Float[np.ndarray, "*token iteration component"], center: str) -> np.ndarray:
    """A path from its last state, or from the mean of the second half of its iterations.

    >>> about(np.array([[3.0, 1.0], [1.0, 1.0]]), "last").tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    if center == "last":
        return path - path[..., -1:, :]
    return path - path[..., path.shape[-2] // 2 :, :].mean(-2, keepdims=True)


def titles(emb: Embedding, components: tuple[int, ...]) -> list[str]:
    """A component and its share of the variance, for the axes."""
    return [f"PC {c} ({100 * emb.explained_variance_ratio[c - 1]:.1f}%)" for c in components]


def panels(style: str, count: int) -> float:
    """The height of a page by its width, for square panels side by side."""
    return 0.8 / count + (0.1 if PAPERS[style].width > 4 else 0.14)


def _called(dyn: xr.Dataset, coords: xr.DataArray, prompt: int, position: int) -> str:
    """The label of a token, with the numbers of an orbit."""
    if not isinstance(dyn, xr.Dataset) or "label" not in dyn:
        raise FigureError(
            f"expected what ll.dynamics returns as the second argument of orbits, got {type(dyn).__name__}"
        )
    if [dyn.sizes["prompt"], dyn.sizes["position"]] != [coords.sizes["prompt"], coords.sizes["position"]]:
        raise FigureError(
            f"expected dynamics of the embedded trajectory, {[coords.sizes['prompt'], coords.sizes['position']]} "
            f"[prompt, position], got {[dyn.sizes['prompt'], dyn.sizes['position']]}"
        )
    here = dyn.isel(prompt=prompt, position=position)
    said = f"{visible(str(texts(dyn, dyn.token.values[prompt, position])), 14)}: {visible(str(here.label.item()))}"
    if here.label.item() == "orbit":
        turns = f", winding {float(here.winding):.2f}" if np.isfinite(here.winding) else ""
        said += f", period {float(here.period):.3g}, strength {float(here.period_strength):.2f}{turns}"
    return said
