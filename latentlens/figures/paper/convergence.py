"""Draw convergence with matplotlib: vector cells, text as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from latentlens.figures.escape import for_paper
from latentlens.figures.kinds.convergence import Convergence, at_rest, bar_title, decades, moving, power
from latentlens.figures.paper.grid import frames, row_size, sheet, token_axes
from latentlens.figures.paper.page import Page, colormap, colour_bar, settings, upright
from latentlens.figures.style import AT_REST, LIGHT


def draw(figure: Convergence, table: pd.DataFrame, style: str = "default") -> Page:
    """A mesh of cells, grey where only rounding moves them, the kinds of motion, and a colour bar."""
    rows, columns = len(table.attrs["tokens"]), table.attrs["iterations"] + 1
    values, low, high = moving(table, figure.color)
    with settings(style):
        page = sheet(style, rows)
        axes = page.subplots()
        edges = np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5
        look: dict[str, Any] = {"edgecolors": "white", "linewidth": 0.3}
        mesh = axes.pcolormesh(*edges, values, cmap=colormap("distance"), norm=LogNorm(low, high), gid="cells", **look)
        rest = np.where(at_rest(table, figure.color), 1.0, np.nan)
        axes.pcolormesh(*edges, rest, cmap=ListedColormap([AT_REST[0]]), gid="rounding-floor", **look)
        token_axes(axes, table)
        if figure.labels:
            _kinds(axes, table)
        bar = colour_bar(page, mesh, upright(page, bar_title(table, figure.color), 0.85), ax=axes, pad=0.01)
        bar.ax.yaxis.set(
            major_locator=FixedLocator(decades(low, high)),
            minor_locator=NullLocator(),
            major_formatter=FuncFormatter(lambda value, _: _number(value)),
        )
        frames(axes, figure, table)
    return page


def _kinds(axes: Axes, table: pd.DataFrame) -> None:
    """The kind of motion beside each row."""
    labels = table.attrs["labels"]
    for row, label in enumerate(labels):
        axes.text(
            table.attrs["iterations"] + 0.8,
            row,
            for_paper(label),
            color=LIGHT.muted,
            fontsize=row_size(axes, len(labels)),
            va="center_baseline",
            gid=f"kind-{row}",
        )


def _number(value: float) -> str:
    exponent = power(value)
    return f"{value:g}" if exponent is None else f"$10^{{{exponent}}}$"
