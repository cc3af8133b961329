"""What a map shows of its candidates: anchors, arrows and regions, as numbers in the drawn components.

In: a `Landmarks` and the readout that it was made from. Out: a `Marks`, which both backends draw.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int

from latentlens.errors import FigureError
from latentlens.figures.escape import visible
from latentlens.figures.kinds.places import texts
from latentlens.figures.style import token_slots

if TYPE_CHECKING:
    from latentlens.landmarks import Landmarks

NAMED = 8
"""At most this many anchors are drawn: those of the tokens that lead most states."""
SAID = 4
"""So many of those who lead in a slice are named below it."""
LONGEST = 0.16
"""The length of the longest arrow, as a share of the map's longer side."""

NEAR = 0.1
"""Crosses nearer than this share of their spread, both ways, have their names on opposite sides."""


@dataclass(frozen=True, eq=False)
class Marks:
    """Numbers of the landmarks of a map.

    Attributes:
        anchors: one row a candidate: x, y, states, text, slot, side (of the cross, where its name stands).
        arrows: one row a token: x, y (the state), dx, dy (as drawn), text, slot, slope [logits per state unit].
        leaders: one row a token that leads somewhere in the slice: text, slot, share of the slice, most first.
        regions: `[y, x]`, rows of `leaders`; None without a slice. x, y: where.
        note: what has to be said of them below the map.
    """

    anchors: pd.DataFrame
    arrows: pd.DataFrame
    leaders: pd.DataFrame
    regions: Int[np.ndarray, "y x"] | None
    x: Float[np.ndarray, x]
    y: Float[np.ndarray, y]
    note: str


@dataclass(frozen=True, eq=False)
class _Named:
    """Tokens' texts and places in the palette; with `shown`, a place that the map's states do not use is "other"."""

    readout: xr.Dataset
    slots: dict[int, int]
    shown: frozenset[int] | None

    def table(self, tokens: np.ndarray) -> pd.DataFrame:
        found = [self.slots.get(int(token), -1) for token in tokens]
        slots = [slot if self.shown is None or slot in self.shown else -1 for slot in found]
        names = texts(self.readout, tokens) if len(tokens) else np.empty(0, dtype=object)
        return pd.DataFrame({"text": names, "slot": slots})


def marks_of(
    landmarks: Landmarks,
    readout: xr.Dataset,
    coords: xr.DataArray,
    axes: tuple[int, ...],
    shown: Collection[int] | None = None,
) -> Marks:
    """What is drawn of them in a map of two components; `shown` are the colours that its states use, if any."""
    _check(landmarks, coords, axes)
    named = _Named(readout, token_slots(readout), None if shown is None else frozenset(shown))
    chosen = [c - 1 for c in axes]
    arrows = _arrows(landmarks, named, chosen, coords)
    leaders, regions = _regions(landmarks.regions, named)
    area = landmarks.regions
    return Marks(
        _anchors(landmarks, named, chosen),
        arrows,
        leaders,
        regions,
        np.empty(0) if area is None else area.x.values,
        np.empty(0) if area is None else area.y.values,
        _note(landmarks, readout, arrows, leaders),
    )


def _check(landmarks: Landmarks, coords: xr.DataArray, axes: tuple[int, ...]) -> None:
    if not hasattr(landmarks, "anchors"):
        raise FigureError(f"expected what ll.mark returns as landmarks of map, got {type(landmarks).__name__}")
    if len(axes) != 2 or (landmarks.regions is not None and axes != tuple(landmarks.components)):
        raise FigureError(
            f"expected a map of components {tuple(landmarks.components)} for these landmarks, got {axes}: "
            "pass components= to ll.mark, and dims=2"
        )
    if landmarks.iteration not in coords.iteration.values:
        raise FigureError(f"expected landmarks at an iteration of the map, got {landmarks.iteration}: embed with it")


def _anchors(landmarks: Landmarks, named: _Named, chosen: list[int]) -> pd.DataFrame:
    """The centroids: those of tokens with an arrow first, then those of most states."""
    tokens, where = landmarks.anchors.token.values, landmarks.anchors.coordinate.values[:, chosen].astype(float)
    rows = pd.DataFrame({"x": where[:, 0], "y": where[:, 1], "states": landmarks.anchors.states.values})
    rows = rows.join(named.table(tokens)).assign(plain=[int(token) not in landmarks.arrows for token in tokens])
    rows = rows.dropna(subset=["x"]).sort_values(["plain", "states"], ascending=[True, False], kind="stable")
    rows = rows.drop(columns="plain").head(NAMED)
    return rows.assign(side=_sides(rows[["x", "y"]].to_numpy()))


def _sides(where: Float[np.ndarray, "anchor 2"]) -> list[str]:
    """On which side of each cross its name stands: away from the nearest other one, where that is close."""
    span = np.ptp(where, axis=0) if len(where) else np.ones(2)
    across, up = ((where[None, :, k] - where[:, None, k]) / (span[k] or 1.0) for k in (0, 1))  # [from, to]
    found = []
    for row, (dx, dy) in enumerate(zip(across, up)):
        near = [k for k in np.argsort(np.abs(dx) + np.abs(dy)) if k != row and abs(dx[k]) < NEAR and abs(dy[k]) < NEAR]
        if not near:
            found.append("top right")
            continue
        nearest = near[0]
        lower, left = (dy[nearest], dx[nearest], row) > (0, 0, nearest), dx[nearest] > 0
        found.append(f"{'bottom' if lower else 'top'} {'left' if left and not lower else 'right'}")
    return found


def _arrows(landmarks: Landmarks, named: _Named, chosen: list[int], coords: xr.DataArray) -> pd.DataFrame:
    """The projected gradients, the longest a fixed share of the map."""
    here = coords.sel(iteration=landmarks.iteration).values[landmarks.prompt, landmarks.position][chosen]
    tokens = np.array(list(landmarks.arrows), dtype=int)
    way = np.array([landmarks.arrows[int(t)][chosen] for t in tokens]).reshape(-1, 2)
    slope = np.hypot(way[:, 0], way[:, 1])
    points = coords.values[..., chosen]
    side = np.nanmax(np.nanmax(points, (0, 1, 2)) - np.nanmin(points, (0, 1, 2))) or 1.0
    drawn = way * (LONGEST * side / (slope.max() or 1.0)) if len(way) else way
    kept = slope / [landmarks.slopes[int(t)] or 1.0 for t in tokens]
    return pd.DataFrame(
        {
            "x": np.full(len(tokens), float(here[0])),
            "y": np.full(len(tokens), float(here[1])),
            "dx": drawn[:, 0],
            "dy": drawn[:, 1],
            "slope": slope,
            "kept": kept,
        }
    ).join(named.table(tokens))


def _regions(area: xr.Dataset | None, named: _Named) -> tuple[pd.DataFrame, np.ndarray | None]:
    """Who leads in the slice, most first, and where each does."""
    if area is None:
        return named.table(np.empty(0, dtype=int)).assign(share=[]), None
    tokens, inverse, counts = np.unique(area.top_token.values, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    leaders = named.table(tokens[order]).assign(share=counts[order] / counts.sum())
    return leaders, np.argsort(order)[inverse].reshape(area.top_token.shape)


def _note(landmarks: Landmarks, readout: xr.Dataset, arrows: pd.DataFrame, leaders: pd.DataFrame) -> str:
    """What anchors, arrows and regions mean, and how far to trust them."""
    token = readout.token.values[landmarks.prompt, landmarks.position]
    state = f"the state of {visible(str(texts(readout, token)), 14)} at iteration {landmarks.iteration}"
    said = ["crosses: the centre of the states that a token leads"] if landmarks.anchors.sizes["candidate"] else []
    if len(arrows):
        low, high = arrows.kept.min(), arrows.kept.max()
        share = f"{high:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"
        said.append(
            f"arrows: which way a logit grows at {state}, their lengths to one another; "
            f"{share} of the gradient lies in this plane"
        )
    if landmarks.regions is not None:
        count = landmarks.regions.sizes
        who = [f"{visible(str(row.text), 14)} {row.share:.0%}" for row in leaders.head(SAID).itertuples()]
        said.append(
            f"shades: a slice, who would lead if {state} were elsewhere, all else held ({', '.join(who)}"
            f"{', others' if len(leaders) > SAID else ''}; {count['x']} x {count['y']} points decoded)"
        )
    joined = "; ".join(said)
    return f"{joined[:1].upper()}{joined[1:]}."
