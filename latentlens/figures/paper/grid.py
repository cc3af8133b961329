"""Draw a grid with matplotlib: vector cells, text as text."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator

from latentlens.figures.escape import for_paper
from latentlens.figures.kinds.convergence import Convergence
from latentlens.figures.kinds.grid import COLORS, Grid, cells, colour_range, ramp_of, writings
from latentlens.figures.kinds.labels import iteration_ticks
from latentlens.figures.paper.fonts import text_width
from latentlens.figures.paper.page import Page, colormap, colour_bar, new_page, page_of, settings, text_size
from latentlens.figures.style import LIGHT, PAPERS, PLAYHEAD

SMALLEST, CROWDED = 4.0, 5.0
"""Points: smaller text is left out; where most would be below `CROWDED`, only changes of the lead are written."""


def draw(figure: Grid, table: pd.DataFrame, style: str = "default") -> Page:
    """A mesh of cells, the leaders' texts on them, and a colour bar."""
    rows, columns = len(table.attrs["tokens"]), table.attrs["iterations"] + 1
    with settings(style):
        page = sheet(style, rows)
        axes = page.subplots()
        low, high, above = colour_range(table, figure.color)
        mesh = axes.pcolormesh(
            np.arange(columns + 1) - 0.5,
            np.arange(rows + 1) - 0.5,
            cells(table, figure.color),
            cmap=colormap(ramp_of(figure.color)),
            vmin=low,
            vmax=high,
            edgecolors="white",
            linewidth=0.3,
        )
        token_axes(axes, table)
        more = "max" if above else "neither"
        colour_bar(page, mesh, COLORS[figure.color], ax=axes, pad=0.01, extend=more, extendfrac=0.02)
        _texts(axes, figure, table, page)
        frames(axes, figure, table)
    return page


def sheet(style: str, rows: int) -> Page:
    """A page as high as its rows of text need."""
    paper = PAPERS[style]
    return new_page(style, (rows * 1.35 * paper.size / 72 + 0.5) / paper.width, least=1.3)


def token_axes(axes: Axes, table: pd.DataFrame) -> None:
    """Tokens down, iterations to the right."""
    at = table.attrs
    rows = len(at["tokens"])
    axes.set(xlim=(-0.5, at["iterations"] + 0.5), ylim=(rows - 0.5, -0.5), xlabel="iteration")
    axes.xaxis.set_major_locator(FixedLocator(iteration_ticks(0, at["iterations"], 14)))
    axes.yaxis.set_major_locator(FixedLocator(range(rows)))
    axes.yaxis.set_major_formatter(FixedFormatter([for_paper(word, 12) for word in at["tokens"]]))
    axes.tick_params(axis="y", length=0, labelsize=row_size(axes, rows))
    axes.tick_params(axis="x", length=2)
    axes.spines[:].set_visible(False)


def row_size(axes: Axes, rows: int) -> float:
    """The size of text beside a row, in points."""
    return min(text_size(axes) - 1, page_of(axes).get_figheight() * 0.85 * 72 / rows * 0.8)


def _texts(axes: Axes, figure: Grid, table: pd.DataFrame, page: Page) -> None:
    """As large as the cell allows; a text may run over the empty cells to its right."""
    rows, columns = cells(table, "top").shape
    width, height = page.get_size_inches() * 72
    cell = (width * 0.78 / columns, height * 0.85 / rows)
    usual = np.quantile([text_width(for_paper(text, 8)) for text in table.top_text.unique()], 0.8)
    for w in writings(figure, table, dark=False, crowded=bool(0.9 * cell[0] < usual * CROWDED)):
        word = for_paper(w.text, 8)
        size = min(cell[1] * 0.7, w.room * cell[0] * 0.88 / max(text_width(word), 1.0), text_size(axes) - 1.5)
        if size < SMALLEST:
            continue
        inside = text_width(word) * size <= cell[0] * 0.9
        axes.text(
            w.column if inside else w.column - 0.45,
            w.row,
            word,
            color=w.ink,
            fontsize=size,
            ha="center" if inside else "left",
            va="center_baseline",
            gid=f"cell-{w.row}-{w.column}",
            in_layout=False,
        )


def frames(axes: Axes, figure: Grid | Convergence, table: pd.DataFrame) -> None:
    """Around the marked row and the playhead's column."""
    at = table.attrs
    rows, columns = len(at["tokens"]), at["iterations"] + 1
    if at["mark"] is not None:
        axes.add_patch(
            Rectangle(
                (-0.5, at["mark"] - 0.5),
                columns,
                1,
                fill=False,
                edgecolor=LIGHT.text,
                linewidth=1,
                clip_on=False,
                gid="mark",
            )
        )
    if figure.playhead is not None:
        axes.add_patch(
            Rectangle(
                (figure.playhead - 0.5, -0.5),
                1,
                rows,
                fill=False,
                edgecolor=PLAYHEAD,
                linewidth=1.2,
                clip_on=False,
                gid="playhead",
            )
        )
