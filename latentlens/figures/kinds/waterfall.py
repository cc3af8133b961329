"""The paths of neighbouring tokens one behind the other, each about where it ends.

In: a PCA of `embed`, and optionally a readout for the tokens' texts. Out: one row a (position, iteration).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from latentlens.errors import FigureError
from latentlens.figures.base import Figure, option
from latentlens.figures.escape import visible
from latentlens.figures.kinds.orbits import CENTERS, about, checked, from_start, lengths, titles
from latentlens.figures.kinds.places import check_position, check_prompt, check_readout, several, texts

if TYPE_CHECKING:
    from latentlens.embeddings import Embedding


@dataclass(frozen=True)
class Waterfall(Figure):
    """Which tokens go round and which come to rest, side by side (Geiping et al. 2025, arXiv 2502.05171).

    In three dimensions: two principal components from each token's own centre, and the tokens in depth. The chosen one
    is drawn strongly; of a long prompt only its `tokens` neighbours are drawn. Needs a PCA.
    """

    kind: ClassVar[str] = "waterfall"

    prompt: int = option(0, "which prompt; negative ones count from the end")
    position: int = option(-1, "which token is drawn strongly")
    tokens: int = option(24, "how many tokens are drawn, the chosen one among them", low=1)
    components: tuple[int, ...] = option((1, 2), "which two components, from 1", whole=False)
    center: str = option("last", "what lies at 0: the last state, or the mean of the tail", choices=CENTERS)
    start: int | None = option(None, "the first iteration that is drawn; None leaves a known random start out", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = tuple(several("components of waterfall", self.components) or ())
        if len(found) != 2 or len(set(found)) != 2 or min(found) < 1:
            raise FigureError(
                f"expected components of waterfall to be 2 different whole numbers from 1, got {self.components!r}"
            )
        object.__setattr__(self, "components", found)

    def table(self, emb: Embedding, readout: xr.Dataset | None = None) -> pd.DataFrame:
        """One row a (position, iteration).

        Columns: position, iteration, x, y [state units], from each token's centre, token_text ("" without a readout),
        strong. `attrs`: axes (titles with the share of variance), first, iterations, prompt, position, notes, model.
        """
        coords = checked(emb, self.kind)
        if max(self.components) > coords.sizes["component"]:
            raise FigureError(
                f"expected components of waterfall from 1 to {coords.sizes['component']}, got {max(self.components)}: "
                "embed with more n_components"
            )
        prompt = check_prompt(coords.sizes["prompt"], self.prompt)
        count = lengths(coords)[prompt]
        chosen = check_position(count, self.position, prompt)
        first = max(min(chosen - self.tokens // 2, count - self.tokens), 0)
        shown = np.arange(first, min(first + self.tokens, count))
        names, kept = _names(readout, coords, prompt, shown), from_start(coords, self.start, readout)
        paths = coords.isel(prompt=prompt).transpose("position", "iteration", "component").values[shown]
        paths = about(paths, self.center)[:, kept][..., [c - 1 for c in self.components]].astype(float)
        iterations = coords.iteration.values[kept]
        table = pd.DataFrame(
            {
                "position": np.repeat(shown, len(iterations)),
                "iteration": np.tile(iterations, len(shown)),
                "x": paths[..., 0].ravel(),
                "y": paths[..., 1].ravel(),
                "token_text": np.repeat(names, len(iterations)),
                "strong": np.repeat(shown == chosen, len(iterations)),
            }
        )
        table.attrs = {
            "axes": titles(emb, self.components),
            "first": int(iterations[0]),
            "iterations": int(iterations[-1]),
            "prompt": prompt,
            "position": chosen,
            "notes": [emb.trust_of(self.components).caption],
            "model": str(emb.attrs.get("model")),
        }
        return table

    def describe(self, table: pd.DataFrame) -> str:
        """How many tokens, and which one still moves the most at its end."""
        at = table.attrs
        steps = table.groupby("position")[["x", "y"]].diff().pow(2).sum(axis=1).pow(0.5)
        tail = table.iteration > (at["first"] + at["iterations"]) / 2
        moved = steps[tail].groupby(table.position[tail]).mean()
        most = int(moved.idxmax())
        name = table.token_text[table.position == most].iloc[0]
        named = f"{visible(str(name))} (position {most})" if name else f"position {most}"
        said = (
            f"{table.position.nunique()} tokens over iterations {at['first']} to {at['iterations']} in "
            f"{' and '.join(at['axes'])}; in the second half {named} moves most, {moved.max():.2g} an iteration, "
            f"the highlighted one {moved[at['position']]:.2g}."
        )
        return " ".join([said, *at["notes"]])


def _names(readout: xr.Dataset | None, coords: xr.DataArray, prompt: int, shown: np.ndarray) -> np.ndarray:
    """The tokens' texts, where a readout of the same prompts knows them."""
    if readout is None:
        return np.full(len(shown), "", dtype=object)
    check_readout("waterfall", readout)
    sizes = [[part.sizes[d] for d in ("prompt", "position")] for part in (coords, readout)]
    if sizes[0] != sizes[1]:
        raise FigureError(
            f"expected a readout of the embedded trajectory, {sizes[0]} [prompt, position], got {sizes[1]}"
        )
    return np.asarray(texts(readout, readout.token.values[prompt, shown]), dtype=object)


def depth_names(table: pd.DataFrame, most: int) -> list[tuple[int, str]]:
    """Position and text of the tokens that are named along the depth, at most so many, the chosen one among them."""
    rows = table.drop_duplicates("position")
    every = -(-len(rows) // most)
    kept = (rows.position - table.attrs["position"]) % every == 0
    return [(int(row.position), str(row.token_text) or str(row.position)) for row in rows[kept].itertuples()]
