"""Tokens by iterations: which candidate leads in each cell.

In: a readout of `decode`. Out: one row a (position, iteration) of one prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from latentlens.errors import FigureError
from latentlens.figures.base import Figure, option
from latentlens.figures.escape import visible
from latentlens.figures.kinds.places import check_position, check_readout, rows_of, texts
from latentlens.figures.style import DARK, LIGHT, RAMPS, on_ramp, readable_on

COLORS = {
    "entropy": "entropy [bits]",
    "kl_to_final": "KL to the final prediction [bits]",
    "prob": "probability of the leading candidate",
    "missing_bits": "KL from the final prediction [bits]",
    "kl_step": "KL from the iteration before [bits]",
    "kl_step_back": "KL to the iteration before [bits]",
    "js_to_final": "Jensen-Shannon divergence to the final prediction [bits]",
    "total_variation": "total variation to the final prediction",
    "agreement": "whether the leader is the final one",
    "margin": "probability of the leader less that of the second",
    "nucleus_size": "tokens that hold 0.9 of the mass",
    "exit_pdf": "probability that the exit gate stops here",
    "exit_cdf": "probability that the exit gate has stopped by here",
}
"""What a cell's colour can say, with its unit; those below `kl_step` only where the readout was asked for them."""
SHARES = ("prob", "js_to_final", "total_variation", "agreement", "margin", "exit_pdf", "exit_cdf")
"""Those from 0 to 1, whatever the readout."""


@dataclass(frozen=True)
class Grid(Figure):
    """What every position would answer after each iteration: the leader as text, a quantity as colour.

    Tokens run down in reading order, iterations to the right. Where the model starts from a random state, iteration 0
    does not stretch the colours.
    """

    kind: ClassVar[str] = "grid"

    color: str = option("entropy", "what the colour of a cell says", choices=tuple(COLORS))
    prompt: int = option(0, "which prompt; negative ones count from the end")
    text: str = option(
        "auto",
        "write the leader in every cell, only where it changes, or not; auto: by the room",
        choices=("auto", "all", "changes", "none"),
    )
    mark: int | None = option(None, "a position whose row is framed; negative ones count from the end")
    playhead: int | None = option(None, "an iteration to mark", low=0)

    def table(self, out: xr.Dataset) -> pd.DataFrame:
        """One row a (position, iteration), positions first.

        Columns: prompt, position, iteration; token (id) and token_text of the prompt; top (id), top_text and prob of
        the leading candidate; entropy and kl_to_final [bits]; what the colour says, if it is another. `attrs`:
        prompt, tokens, iterations, random_start, mark, commitment (by position), model, lens.
        """
        check_readout(self.kind, out)
        prompt, length, last, here = rows_of(out, self.prompt, self.playhead)
        top, tokens = here.top_token.values[..., 0], here.token.values
        position, iteration = np.indices(top.shape)
        words = texts(out, tokens)
        table = pd.DataFrame(
            {
                "prompt": prompt,
                "position": position.ravel(),
                "iteration": here.iteration.values[iteration.ravel()],
                "token": tokens[position.ravel()],
                "token_text": words[position.ravel()],
                "top": top.ravel(),
                "top_text": texts(out, top.ravel()),
                "prob": here.top_prob.values[..., 0].ravel().astype(float),
                "entropy": here.entropy.values.ravel().astype(float),
                "kl_to_final": here.kl_to_final.values.ravel().astype(float),
            }
        )
        if self.color not in table:
            table[self.color] = _asked(here, self.color).values.ravel().astype(float)
        table.attrs = {
            "prompt": prompt,
            "tokens": [str(word) for word in words],
            "iterations": last,
            "random_start": bool(out.attrs.get("random_start", 0)),
            "mark": None if self.mark is None else check_position(length, self.mark, prompt),
            "commitment": here.commitment.values.tolist(),
            "model": str(out.attrs.get("model")),
            "lens": str(out.attrs.get("lens")),
        }
        return table

    def describe(self, table: pd.DataFrame) -> str:
        """The size of the grid, and what the last token's row ends on."""
        at = table.attrs
        end = table.iloc[-1]
        commitment = at["commitment"][-1]
        return (
            f"{len(at['tokens'])} tokens by iterations 0 to {at['iterations']}: at the last token, "
            f"{visible(end.token_text)}, {visible(end.top_text)} leads from iteration {commitment} on and ends with "
            f"probability {end.prob:.2f}, entropy {end.entropy:.1f} bits; colour is {COLORS[self.color]}."
        )


def _asked(here: xr.Dataset, name: str) -> xr.DataArray:
    """A statistic that not every readout has."""
    if name not in here:
        where = "of a model with an exit gate" if name.startswith("exit") else f'decoded with statistics="{name}"'
        raise FigureError(f"expected a readout {where} for color={name!r} of grid, got one without")
    return here[name]


def cells(table: pd.DataFrame, column: str) -> np.ndarray:
    """One column as `[position, iteration]`; what both backends draw from."""
    return table[column].to_numpy().reshape(len(table.attrs["tokens"]), -1)


def ramp_of(column: str) -> str:
    """The ramp of a quantity: its own, or that of its kind (shares, divergences, the rest)."""
    if column in RAMPS:
        return column
    return "prob" if column in SHARES else "kl_to_final" if "KL" in COLORS[column] else "entropy"


def colour_range(table: pd.DataFrame, column: str) -> tuple[float, float, bool]:
    """Lowest and highest value of the colours, and whether some cells lie above: a random start does not count."""
    if column in SHARES:
        return 0.0, 1.0, False
    values = cells(table, column)
    counted = values[:, 1:] if table.attrs["random_start"] and values.shape[1] > 1 else values
    high = float(np.nanmax(counted))
    high = high if high > 0 else 1.0
    return 0.0, high, bool(np.nanmax(values) > high)


def shown(figure: Grid, table: pd.DataFrame, crowded: bool) -> np.ndarray:
    """Which cells carry text, `[position, iteration]` of bool: all, those where a candidate takes the lead, or none.

    "auto" is all, or changes where it is `crowded`. What a random start says is no lead.
    """
    top = cells(table, "top")
    mode = ("changes" if crowded else "all") if figure.text == "auto" else figure.text
    if mode != "changes":
        return np.full(top.shape, mode == "all")
    out = np.ones(top.shape, dtype=bool)
    out[:, 1:] = top[:, 1:] != top[:, :-1]
    if table.attrs["random_start"]:
        out[:, 1:2] = True
    return out


@dataclass(frozen=True)
class Writing:
    """A text on a grid: where it starts, how many cells it may run over, and the ink that can be read on them."""

    row: int
    column: int
    room: int
    ink: str
    text: str


def writings(figure: Grid, table: pd.DataFrame, *, dark: bool, crowded: bool) -> list[Writing]:
    """The texts that are shown; each ends where the next begins, or where the cells would need the other ink."""
    visible, words = shown(figure, table, crowded), cells(table, "top_text")
    low, high, _ = colour_range(table, figure.color)
    ramp, values = RAMPS[ramp_of(figure.color)][int(dark)], (cells(table, figure.color) - low) / (high - low)
    page = (DARK if dark else LIGHT).page  # which is seen where there is no number
    colours = [page if np.isnan(value) else on_ramp(ramp, value) for value in values.ravel()]
    inks = np.array([readable_on(colour) for colour in colours]).reshape(values.shape)
    out = []
    for row, column in np.argwhere(visible).tolist():
        ends = visible[row, column + 1 :] | (inks[row, column + 1 :] != inks[row, column])
        room = int(np.argmax(ends)) if ends.any() else len(ends)
        out.append(Writing(row, column, room + 1, str(inks[row, column]), str(words[row, column])))
    return out
