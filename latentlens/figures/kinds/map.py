"""The path of each token's state through the iterations, in a few principal components.

In: an `Embedding`, and a readout where tokens are to be named. Out: one row a (prompt, position, iteration).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from latentlens.errors import FigureError
from latentlens.figures.base import Figure, check_whole, option
from latentlens.figures.escape import visible
from latentlens.figures.kinds.marks import marks_of
from latentlens.figures.kinds.places import check_iteration, check_position, check_prompt, check_readout, several, texts
from latentlens.figures.style import token_slots

if TYPE_CHECKING:
    from latentlens.embeddings import Embedding
    from latentlens.landmarks import Landmarks

AXES = ("x", "y", "z")
NAMED = 8
"""At most this many paths carry the name of their token."""
COLOURED = 8
"""At most this many leading candidates have a colour of their own; the rarest are "other"."""


@dataclass(frozen=True)
class Map(Figure):
    """Where the states go: one path a (prompt, position), from a ring at its start to a square at its end.

    By default every position is drawn faintly and each prompt's last one (or `strong=`) strongly; `position=` draws
    only those, strongly. Both axes of a 2-D map have the same scale. Below stands what the drawn components keep of
    the states, and, for a UMAP, always that distances and loops in it are not evidence.
    """

    kind: ClassVar[str] = "map"

    dims: int = option(2, "two or three dimensions", choices=(2, 3))
    components: tuple[int, ...] | None = option(None, "which components, from 1; None is the first ones", whole=False)
    color: str = option("iteration", "colour by iteration, or by leading candidate", choices=("iteration", "top"))
    prompt: int | tuple[int, ...] | None = option(None, "which prompts; None is all", whole=False)
    position: int | tuple[int, ...] | None = option(None, "which tokens; None is all, one strongly", whole=False)
    strong: int = option(-1, "which token is drawn strongly among all; -1 is each prompt's last")
    playhead: int | None = option(None, "an iteration to mark", low=0)
    trust: bool = option(True, "say below how far to trust the map", choices=(True, False))

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("components", "prompt", "position"):
            found = several(f"{name} of map", getattr(self, name))
            object.__setattr__(self, name, None if found is None else tuple(found))
        axes = self.axes
        if len(axes) != self.dims or len(set(axes)) != self.dims or min(axes) < 1:
            raise FigureError(
                f"expected components of map to be {self.dims} different whole numbers from 1 (dims={self.dims}), "
                f"got {self.components!r}"
            )

    @property
    def axes(self) -> tuple[int, ...]:
        """The components that are drawn, counted from 1."""
        return tuple(range(1, self.dims + 1)) if self.components is None else self.components

    def table(
        self, emb: Embedding, readout: xr.Dataset | None = None, landmarks: Landmarks | None = None
    ) -> pd.DataFrame:
        """One row a (prompt, position, iteration), iterations last.

        Columns: prompt, position, iteration; x, y (and z), float32 [state units]; strong (drawn strongly); and with
        a readout token (id), token_text, top (id), top_text, prob of the leader, slot (its place in the palette or -1).
        `attrs`: first and last of the iterations, axes (titles with the share of variance), notes (what stands below),
        model, named, random_start, marks (the landmarks as numbers, or None).
        """
        coords = self._checked(emb, readout)
        if landmarks is not None and readout is None:
            raise FigureError("expected a readout for landmarks of map, got none: pass figures.map(emb, readout, ...)")
        said = readout
        readout = None if readout is None else readout.sel(iteration=coords.iteration.values)
        paths = [(p, i, strong) for p in self._prompts(coords) for i, strong in self._positions(coords, p)]
        count = coords.sizes["iteration"]
        points = coords.transpose("prompt", "position", "iteration", "component").values
        where = np.array([(p, i) for p, i, _ in paths]).reshape(-1, 2)
        chosen = points[where[:, 0], where[:, 1]][..., [c - 1 for c in self.axes]].astype(np.float32)
        columns: dict[str, Any] = {
            "prompt": np.repeat(where[:, 0], count),
            "position": np.repeat(where[:, 1], count),
            "iteration": np.tile(coords.iteration.values, len(paths)),
        }
        columns |= {AXES[d]: chosen[..., d].ravel() for d in range(self.dims)}
        columns["strong"] = np.repeat([strong for *_, strong in paths], count)
        if readout is not None:
            columns |= _said(readout, where, count, columns["strong"])
        table = pd.DataFrame(columns)
        table.attrs = {
            "first": int(coords.iteration[0]),
            "iterations": int(coords.iteration[-1]),
            "axes": _titles(emb, self.axes, " of variance" if self.dims == 2 else ""),
            "notes": _notes(emb, self.axes, self.trust),
            "model": str(emb.attrs.get("model")),
            "named": readout is not None,
            "marks": None,
            "random_start": bool(readout.attrs.get("random_start", 0)) if readout is not None else False,
        }
        if landmarks is not None and said is not None:
            table.attrs["marks"] = marks_of(
                landmarks, said, coords, self.axes, table.slot.unique().tolist() if self.color == "top" else None
            )
            table.attrs["notes"] = [*table.attrs["notes"], table.attrs["marks"].note]
        return table

    def describe(self, table: pd.DataFrame) -> str:
        """How many paths, how far the strong ones travel, and how far to trust the picture."""
        at = table.attrs
        strong = table[table.strong]
        axes = list(AXES[: self.dims])
        steps = strong.groupby(["prompt", "position"])[axes].diff().pow(2).sum(axis=1, min_count=1).pow(0.5)
        half = strong.iteration > (at["first"] + at["iterations"]) / 2
        many = table.groupby(["prompt", "position"]).ngroups
        said = (
            f"{many} {'path' if many == 1 else 'paths'} over iterations {at['first']} to {at['iterations']} in "
            f"{', '.join(at['axes'])}; the highlighted states move {steps[~half].mean():.2g} an iteration in the first "
            f"half and {steps[half].mean():.2g} in the second"
        )
        if at["named"]:
            end = strong.iloc[-1]
            said += f"; the last one ends where {visible(end.top_text)} leads with {end.prob:.2f}"
        return " ".join([f"{said}.", *at["notes"]])

    def _checked(self, emb: Embedding, readout: xr.Dataset | None) -> xr.DataArray:
        if not hasattr(emb, "explained_variance_ratio"):
            raise FigureError(f"expected what ll.embed returns for map, got {type(emb).__name__}: embed first")
        coords = emb.coords
        if max(self.axes) > coords.sizes["component"]:
            raise FigureError(
                f"expected components of map from 1 to {coords.sizes['component']}, got {max(self.axes)}: "
                "embed with more n_components"
            )
        laid_out = coords.iteration.values
        check_iteration("playhead", int(laid_out[-1]), self.playhead)
        if self.playhead is not None and self.playhead not in laid_out:
            raise FigureError(f"expected playhead to be an iteration of the map, got {self.playhead}: embed with it")
        if self.color == "top" and readout is None:
            raise FigureError("expected a readout for color='top' of map, got none: pass figures.map(emb, readout)")
        if readout is not None:
            check_readout(self.kind, readout)
            shapes = [tuple(a.sizes[d] for d in ("prompt", "iteration", "position")) for a in (coords, readout)]
            chosen = len(laid_out) <= laid_out[-1] and bool(np.isin(laid_out, readout.iteration.values).all())
            if shapes[0] != shapes[1] and not (chosen and shapes[0][::2] == shapes[1][::2]):
                raise FigureError(
                    f"expected a readout of the embedded trajectory, {list(shapes[0])} [prompt, iteration, position], "
                    f"got {list(shapes[1])}"
                )
        return coords

    def _prompts(self, coords: xr.DataArray) -> list[int]:
        count = coords.sizes["prompt"]
        if self.prompt is None:
            return list(range(count))
        return [check_prompt(count, check_whole("prompt of map", p)) for p in self.prompt]  # type: ignore[union-attr]

    def _positions(self, coords: xr.DataArray, prompt: int) -> list[tuple[int, bool]]:
        """The positions of a prompt that are drawn, and whether strongly; the strong ones last, so they lie on top."""
        length = int(np.isfinite(coords.values[prompt, 0, :, 0]).sum())
        if self.position is None:
            chosen = check_position(length, self.strong, prompt)
            return [*((i, False) for i in range(length) if i != chosen), (chosen, True)]
        return [(check_position(length, p, prompt), True) for p in self.position]  # type: ignore[union-attr]


def _titles(emb: Embedding, axes: tuple[int, ...], of: str) -> list[str]:
    """What stands along the axes: a component and its share of the variance; a UMAP has none."""
    if emb.method == "umap":
        return [f"UMAP {c}" for c in axes]
    return [f"PC {c} ({100 * emb.explained_variance_ratio[c - 1]:.1f}%{of})" for c in axes]


def _notes(emb: Embedding, axes: tuple[int, ...], trust: bool) -> list[str]:
    """What stands below: how far to trust what is drawn, and the frame where it is not the usual one."""
    out = []
    if trust:
        out.append(emb.trust_of(axes).caption)
    elif emb.method == "umap":
        out.append(f"{emb.trust_of(axes).warning}.")
    choices = {
        "states after the norm": emb.frame.space == "norm",
        "each token about its own mean": emb.frame.center == "token",
        f"a frame of {emb.attrs.get('fit_on')}": emb.attrs.get("fit_on", "all states") != "all states",
    }
    chosen = ", ".join(name for name, is_so in choices.items() if is_so)
    return [*out, f"{chosen[0].upper()}{chosen[1:]}."] if chosen else out


def _said(readout: xr.Dataset, where: np.ndarray, count: int, strong: np.ndarray) -> dict[str, Any]:
    """Tokens and leaders of the chosen paths, a value a vertex."""
    cells = readout.transpose("prompt", "position", "iteration", ...)
    tokens = readout.token.transpose("prompt", "position").values[where[:, 0], where[:, 1]]
    top = cells.top_token.values[where[:, 0], where[:, 1], :, 0].ravel()
    prob = cells.top_prob.values[where[:, 0], where[:, 1], :, 0].ravel()
    slots = token_slots(readout)
    unique, inverse = np.unique(top, return_inverse=True)
    return {
        "token": np.repeat(tokens, count),
        "token_text": np.repeat(texts(readout, tokens), count),
        "top": top,
        "top_text": texts(readout, unique)[inverse],
        "prob": prob.astype(float),
        "slot": _coloured(np.array([slots.get(int(t), -1) for t in unique])[inverse], strong),
    }


def _coloured(slots: np.ndarray, strong: np.ndarray) -> np.ndarray:
    """The slots, with -1 for all but the most frequent; those of the strong paths come first."""
    kinds, inverse, counts = np.unique(slots, return_inverse=True, return_counts=True)
    weight = counts + len(slots) * np.bincount(inverse, weights=strong, minlength=len(kinds))
    order = kinds[np.argsort(-weight, kind="stable")]
    return np.where(np.isin(slots, order[order >= 0][:COLOURED]), slots, -1)
