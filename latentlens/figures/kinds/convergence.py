"""Tokens by iterations: how far each state still is from where it ends, or how long its steps are.

In: what `dynamics` returns. Out: one row a (position, iteration) of one prompt.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from latentlens.errors import FigureError
from latentlens.figures.base import Figure, option
from latentlens.figures.kinds.grid import cells
from latentlens.figures.kinds.line import title_of
from latentlens.figures.kinds.motion import ASKED
from latentlens.figures.kinds.places import check_position, rows_of, texts

QUANTITIES = ("distance_to_final", "step_norm", "relative_step", "distance_to_fixed_point")


@dataclass(frozen=True)
class Convergence(Figure):
    """How every token's state comes to rest; colours are logarithmic (Geiping et al. 2025 plot such a map).

    Tokens run down in reading order, iterations to the right; at the right edge stands the kind of each token's motion.
    A cell that is within the rounding floor (8 eps of the state's norm, unless `dynamics` was told otherwise) is grey:
    there, a difference is that of rounding. The last state's distance to itself is among these.
    """

    kind: ClassVar[str] = "convergence"

    color: str = option("distance_to_final", "what the colour of a cell says", choices=QUANTITIES)
    prompt: int = option(0, "which prompt; negative ones count from the end")
    labels: bool = option(True, "the kind of motion of each token at the right edge", choices=(True, False))
    mark: int | None = option(None, "a position whose row is framed; negative ones count from the end")
    playhead: int | None = option(None, "an iteration to mark", low=0)

    def table(self, dyn: xr.Dataset) -> pd.DataFrame:
        """One row a (position, iteration), positions first.

        Columns: prompt, position, iteration; token (id) and token_text; what the colour says, by its name, in the unit
        of `attrs["title"]`; floor, below which it is rounding (NaN where it is not known); label, the kind of motion.
        `attrs`: title, prompt, tokens, labels (by position), iterations, floor (in eps), mark, model.
        """
        if not isinstance(dyn, xr.Dataset) or "step_norm" not in dyn or "group" in dyn.dims:
            raise FigureError(
                f"expected what ll.dynamics returns for convergence, got {type(dyn).__name__}: call it first"
            )
        if self.color not in dyn:
            raise FigureError(
                f"expected dynamics with fixed_point= for color={self.color!r} of convergence, got one without: "
                f"pass ll.dynamics(traj, {ASKED[self.color]})"
            )
        prompt, length, last, here = rows_of(dyn, self.prompt, self.playhead)
        values = here[self.color].values.astype(float)
        if not (values > 0).any():
            raise FigureError(f"expected numbers above 0 for color={self.color!r} of convergence, got none")
        tokens, kinds, (position, iteration) = here.token.values, here.label.values, np.indices(values.shape)
        words = texts(dyn, tokens)
        table = pd.DataFrame(
            {
                "prompt": prompt,
                "position": position.ravel(),
                "iteration": here.iteration.values[iteration.ravel()],
                "token": tokens[position.ravel()],
                "token_text": words[position.ravel()],
                self.color: values.ravel(),
                "floor": _floor(here, self.color).ravel(),
                "label": kinds[position.ravel()],
            }
        )
        table.attrs = {
            "title": title_of(dyn[self.color]),
            "prompt": prompt,
            "tokens": [str(word) for word in words],
            "labels": [str(kind) for kind in kinds],
            "iterations": last,
            "floor": float(dyn.label.attrs.get("floor", np.nan)),
            "mark": None if self.mark is None else check_position(length, self.mark, prompt),
            "model": str(dyn.attrs.get("model")),
        }
        return table

    def describe(self, table: pd.DataFrame) -> str:
        """The size of the map, where it starts and ends, how the tokens move, and how much is rounding."""
        at, rows = table.attrs, table.groupby("iteration")[self.color].median().dropna()
        ends = rows[rows > 0]
        counted = Counter(at["labels"]).most_common()
        kinds = ", ".join(f"{count} {kind}" for kind, count in counted)
        below = int(at_rest(table, self.color).sum())
        return (
            f"{len(at['tokens'])} tokens by iterations 0 to {at['iterations']}: {at['title']}, in the median "
            f"{ends.iloc[0]:.2g} at iteration {ends.index[0]} and {ends.iloc[-1]:.2g} at {ends.index[-1]}; "
            f"by their motion {kinds}; {below} of {len(table)} cells are within the rounding floor."
        )


def _floor(here: xr.Dataset, name: str) -> np.ndarray:
    """Below what a number is rounding, `[position, iteration]`."""
    eps = float(here.attrs.get("eps", np.nan)) * float(here.label.attrs.get("floor", np.nan))
    sizes = here.state_norm.values.astype(float)
    return eps * (np.ones_like(sizes) if name == "relative_step" else sizes)


def at_rest(table: pd.DataFrame, column: str) -> np.ndarray:
    """Which cells only rounding moves, `[position, iteration]` of bool; zeros are among them."""
    values, floor = cells(table, column), cells(table, "floor")
    return (values <= np.where(np.isnan(floor), 0, floor)) & ~np.isnan(values)


def moving(table: pd.DataFrame, column: str) -> tuple[np.ndarray, float, float]:
    """The cells above the floor `[position, iteration]`, NaN elsewhere, and the lowest and highest of them."""
    values = np.where(at_rest(table, column), np.nan, cells(table, column))
    if np.isnan(values).all():
        return values, 1.0, 10.0
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return values, low, high if high > low else 10 * low


def bar_title(table: pd.DataFrame, column: str) -> str:
    """What colours mean; where there are grey cells, what these are."""
    at, grey = table.attrs, at_rest(table, column).any()
    known = not np.isnan(at["floor"]) and bool(table.floor.notna().any())
    said = f"at most {at['floor']:g} eps of the norm" if known else "zero"
    return f"{at['title']}; grey: {said}" if grey else at["title"]


def decades(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones: powers of ten, or 1, 2 and 5 times these where there are few.

    >>> decades(0.002, 30), decades(1.5, 7)
    ([0.01, 0.1, 1.0, 10.0], [2.0, 5.0])
    """
    tens = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    step = max(1, len(tens) // 7)
    found = [float(f"1e{t}") for t in tens if t % step == 0 and low <= float(f"1e{t}") <= high]
    if len(found) > 1:
        return found
    return [float(f"{m}e{t}") for t in tens for m in (1, 2, 5) if low <= float(f"{m}e{t}") <= high] or [low, high]


def power(value: float) -> int | None:
    """The exponent of a power of ten that is better written as one; None for other numbers.

    >>> power(0.001), power(0.02), power(10.0)
    (-3, None, None)
    """
    exponent = round(float(np.log10(value)))
    return exponent if not -2 < exponent < 3 and np.isclose(value, 10.0**exponent) else None
