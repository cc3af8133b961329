"""What a map shows of its candidates: anchors, arrows and regions, as numbers in the drawn components.

In: a `Landmarks` and the readout that it was made from. Out: a `Marks`, which both backends draw.
"""

from __future__ import annotations

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
LONGEST = 0.16
"""The length of the longest arrow, as a share of the map's longer side."""


@dataclass(frozen=True, eq=False)
class Marks:
    """Numbers of the landmarks of a map.

    Attributes:
        anchors: one row a candidate: x, y, states, text, slot.
        arrows: one row a token: x, y (the state), dx, dy (as drawn), text, slot, slope [logits per state unit].
        slots: `[y, x]`, the palette's place of who would lead; None without a slice; x, y: where.
        note: what has to be said of them below the map.
    """

    anchors: pd.DataFrame
    arrows: pd.DataFrame
    slots: Int[np.ndarray, "y x"] | None
    x: Float[np.ndarray, x]
    y: Float[np.ndarray, y]
    note: str


def marks_of(landmarks: Landmarks, readout: xr.Dataset, coords: xr.DataArray, axes: tuple[int, ...]) -> Marks:
    """What is drawn of them in a map of two components."""
    if not hasattr(landmarks, "anchors"):
        raise FigureError(f"expected what ll.mark returns as landmarks of map, got {type(landmarks).__name__}")
    if len(axes) != 2 or (landmarks.regions is not None and axes != tuple(landmarks.components)):
        raise FigureError(
            f"expected a map of components {tuple(landmarks.components)} for these landmarks, got {axes}: "
            "pass components= to ll.mark, and dims=2"
        )
    if landmarks.iteration not in coords.iteration.values:
        raise FigureError(f"expected landmarks at an iteration of the map, got {landmarks.iteration}: embed with it")
    slots, chosen = token_slots(readout), [c - 1 for c in axes]
    here = coords.sel(iteration=landmarks.iteration).values[landmarks.prompt, landmarks.position][chosen]
    area = landmarks.regions
    places = (
        np.array([slots.get(int(t), -1) for t in range(int(area.top_token.max()) + 1)]) if area is not None else None
    )
    return Marks(
        _anchors(landmarks, readout, slots, chosen),
        _arrows(landmarks, readout, slots, chosen, here, coords),
        None if area is None or places is None else places[area.top_token.values],
        np.empty(0) if area is None else area.x.values,
        np.empty(0) if area is None else area.y.values,
        _note(landmarks, readout),
    )


def _anchors(landmarks: Landmarks, readout: xr.Dataset, slots: dict[int, int], chosen: list[int]) -> pd.DataFrame:
    """The centroids, those of most states first."""
    tokens, where = landmarks.anchors.token.values, landmarks.anchors.coordinate.values[:, chosen]
    rows = pd.DataFrame(
        {
            "x": where[:, 0].astype(float),
            "y": where[:, 1].astype(float),
            "states": landmarks.anchors.states.values,
            "text": texts(readout, tokens),
            "slot": [slots.get(int(token), -1) for token in tokens],
        }
    )
    return rows.dropna(subset=["x"]).sort_values("states", ascending=False, kind="stable").head(NAMED)


def _arrows(
    landmarks: Landmarks,
    readout: xr.Dataset,
    slots: dict[int, int],
    chosen: list[int],
    here: np.ndarray,
    coords: xr.DataArray,
) -> pd.DataFrame:
    """The projected gradients, the longest a fixed share of the map."""
    tokens = np.array(list(landmarks.arrows), dtype=int)
    way = np.array([landmarks.arrows[int(t)][chosen] for t in tokens]).reshape(-1, 2)
    slope = np.hypot(way[:, 0], way[:, 1])
    points = coords.values[..., chosen]
    side = np.nanmax(np.nanmax(points, (0, 1, 2)) - np.nanmin(points, (0, 1, 2))) or 1.0
    drawn = way * (LONGEST * side / (slope.max() or 1.0)) if len(way) else way
    return pd.DataFrame(
        {
            "x": np.full(len(tokens), float(here[0])),
            "y": np.full(len(tokens), float(here[1])),
            "dx": drawn[:, 0],
            "dy": drawn[:, 1],
            "text": texts(readout, tokens) if len(tokens) else np.empty(0, dtype=object),
            "slot": [slots.get(int(token), -1) for token in tokens],
            "slope": slope,
        }
    )


def _note(landmarks: Landmarks, readout: xr.Dataset) -> str:
    """What anchors, arrows and regions mean."""
    token = readout.token.values[landmarks.prompt, landmarks.position]
    state = f"the state of {visible(str(texts(readout, token)), 14)} at iteration {landmarks.iteration}"
    said = ["Crosses: the centre of the states that a token leads"]
    if landmarks.arrows:
        said.append(f"arrows: which way a logit grows at {state}")
    if landmarks.regions is not None:
        count = landmarks.regions.sizes
        said.append(
            f"shades: a slice, who would lead if {state} were elsewhere, all else held "
            f"({count['x']} x {count['y']} points decoded)"
        )
    return f"{'; '.join(said)}."
