"""Where the names of candidates go, so that they lie on what they name and never on one another.

In: a stream's table. Out: places in data coordinates; both backends use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from latentlens.figures.escape import visible
from latentlens.figures.kinds.stream import Stream, candidates, wide

ROOM = 0.065
"""A band carries its name where it is at least this thick."""
SEEN = 0.02
"""A band that never reaches this share is too thin to be asked about."""
LONGEST = 16
"""Longer names are cut."""


@dataclass(frozen=True)
class Label:
    """A candidate's text and where it points: x is an iteration, y a probability, a stacked share or a rank."""

    candidate: int
    slot: int
    text: str
    x: float
    y: float


def stream_labels(figure: Stream, table: pd.DataFrame, letter: float = 0.012) -> list[Label]:
    """One label a candidate that has room: on its band (area), or at the end of its line (line, rank).

    `letter` is the width of a letter as a share of the panel's.
    """
    values = wide(table, "rank" if figure.mode == "rank" else "prob")
    last = table.attrs["iterations"]
    rows = [c for c in candidates(table).itertuples() if c.candidate >= 0 or figure.mode == "area"]
    if figure.mode != "area":
        return [Label(c.candidate, c.slot, c.label, last, float(values[c.candidate].iloc[-1])) for c in rows]
    upper, steps = values.cumsum(axis=1), np.arange(len(values))
    found = []
    for c in rows:
        band = values[c.candidate].to_numpy()
        half = (0.5 * len(visible(c.label, LONGEST)) + 0.9) * letter * steps[-1]
        x = _thickest(band, half, int(table.attrs["random_start"] and table.attrs["first"] == 0))
        if x is not None:
            y = float(np.interp(x, steps, upper[c.candidate].to_numpy() - band / 2))
            found.append(Label(c.candidate, c.slot, c.label, float(values.index[0] + x), y))
    return found


def unlabelled(table: pd.DataFrame, labels: Sequence[Label]) -> list[int]:
    """The candidates that can be seen but carry no name: they go into a legend."""
    peaks = wide(table, "prob").loc[int(table.attrs["random_start"]) :].max()
    named = {label.candidate for label in labels}
    return [c for c in peaks.index.tolist() if c not in named and peaks[c] >= (SEEN if c >= 0 else ROOM)]


def _thickest(band: np.ndarray, half: float, first: int) -> float | None:
    """Where a band is thick enough over `half` to both sides, the farthest right; None where it never is."""
    end = len(band) - 1
    if first + half > end - half:
        return None
    places = np.linspace(first + half, end - half, 4 * len(band))
    around = places[:, None] + half * np.linspace(-1, 1, 7)
    inside = np.interp(around, np.arange(len(band)), band).min(axis=1)
    if inside.max() < ROOM:
        return None
    return float(places[np.flatnonzero(inside >= max(ROOM, 0.85 * inside.max()))[-1]])


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights near the wanted ones, at least `gap` apart, between `low` and `high` where they fit.

    >>> spread([0.0, 0.0, 1.0], 0.25, 0.0, 1.0)
    [0.0, 0.25, 1.0]
    """
    order = np.argsort(wanted, kind="stable")
    heights = np.array(wanted, dtype=float)[order]
    if not len(heights):
        return []
    gap = min(gap, (high - low) / max(len(heights) - 1, 1))
    steps = gap * np.arange(len(heights))
    # Pool neighbours that are too close: the least-squares answer under "at least gap apart", then within the ends.
    heights = np.clip(_isotonic(heights - steps), low, high - steps[-1]) + steps
    out = np.empty(len(heights))
    out[order] = heights
    return [float(y) for y in out]


def _isotonic(values: np.ndarray) -> np.ndarray:
    """The nearest rising sequence (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, count = blocks.pop()
            before, size = blocks[-1]
            blocks[-1] = [(before * size + mean * count) / (size + count), size + count]
    return np.concatenate([np.full(int(count), mean) for mean, count in blocks])


def iteration_ticks(first: int, last: int, most: int = 9) -> list[int]:
    """Round iterations to write on an axis, the last one always among them.

    >>> iteration_ticks(0, 24)
    [0, 4, 8, 12, 16, 20, 24]
    """
    step = next(s for s in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 10**9) if (last - first) / s <= most - 1)
    ticks = [t for t in range(first, last + 1) if t % step == 0 or t == first]
    if last - ticks[-1] < step / 2 and ticks[-1] != last and len(ticks) > 1:
        ticks.pop()
    return ticks if ticks[-1] == last else [*ticks, last]


def rank_ticks(top: float) -> list[int]:
    """1, 2, 5, 10, ... up to the worst rank.

    >>> rank_ticks(12)
    [1, 2, 5, 10]
    """
    return [t for base in (1, 10, 100, 1_000, 10_000, 100_000) for t in (base, 2 * base, 5 * base) if t <= top]


PLACES = {
    "top center": (0, 1),
    "bottom center": (0, -1),
    "middle right": (1, 0),
    "middle left": (-1, 0),
    "top right": (1, 1),
    "bottom right": (1, -1),
    "top left": (-1, 1),
    "bottom left": (-1, -1),
}
"""Where a name may stand beside its point, the best first."""


def free_places(points: np.ndarray, letters: Sequence[int]) -> list[str]:
    """A place for each name, so that no name lies on another name or on a point; `points` `[n, 2]` in text heights.

    >>> free_places(np.array([[0.0, 0.0], [0.1, 0.0], [9.0, 9.0]]), [3, 3, 3])
    ['top center', 'bottom center', 'top center']
    """
    dots = [(x - 0.4, x + 0.4, y - 0.4, y + 0.4) for x, y in points]
    taken: list[tuple[float, float, float, float]] = []
    out = []
    for number, ((x, y), count) in enumerate(zip(points, letters, strict=True)):
        half = 0.3 * max(count, 2)
        boxes = {}
        for place, (across, up) in PLACES.items():
            cx, cy = x + across * (half + 0.6), y + up * 1.1
            boxes[place] = (cx - half, cx + half, cy - 0.55, cy + 0.55)
        others = taken + dots[:number] + dots[number + 1 :]
        best = next((p for p, box in boxes.items() if not any(_overlap(box, other) for other in others)), "top center")
        taken.append(boxes[best])
        out.append(best)
    return out


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]
