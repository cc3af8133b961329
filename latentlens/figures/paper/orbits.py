"""Draw orbits with matplotlib: square panels side by side, as vectors."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from latentlens.figures.escape import for_paper
from latentlens.figures.kinds.orbits import Orbits, panels
from latentlens.figures.paper.map import below
from latentlens.figures.paper.page import Page, colormap, colour_bar, new_page, settings, text_size, through_zero
from latentlens.figures.style import LIGHT


def draw(figure: Orbits, table: pd.DataFrame, style: str = "default") -> Page:
    """A path and its states in each panel, from a ring to a square."""
    titles = table.attrs["axes"]
    with settings(style):
        page = new_page(style, panels(style, len(titles)), least=1.2, most=4.0)
        row = page.subplots(1, len(titles), squeeze=False)[0]
        for axes, (_, rows), names in zip(row, table.groupby("pair"), titles):
            states = _panel(axes, rows, table.attrs["iterations"])
            axes.set_xlabel(names[0])
            axes.set_ylabel(names[1])
        if table.attrs["said"]:
            row[0].set_title(
                for_paper(table.attrs["said"]), loc="left", fontsize=text_size(row[0]) - 1, color=LIGHT.muted, pad=4
            )
        colour_bar(page, states, "iteration", ax=list(row), pad=0.02)
        below(page, row[0], table)
    return page


def _panel(axes: Axes, rows: pd.DataFrame, last: int) -> Any:
    through_zero(axes)
    axes.plot(rows.x, rows.y, color=LIGHT.muted, linewidth=0.7, alpha=0.8, zorder=2, gid="path")
    states = axes.scatter(
        rows.x,
        rows.y,
        c=rows.iteration,
        cmap=colormap("iteration"),
        vmin=0,
        vmax=max(last, 1),
        s=11,
        linewidths=0,
        zorder=3,
        gid="states",
    )
    ring: dict[str, Any] = {"linestyle": "none", "zorder": 5}
    first, end = rows.iloc[0], rows.iloc[-1]
    axes.plot([first.x], [first.y], "o", ms=6, mfc="none", mec=LIGHT.text, mew=0.9, gid="start", **ring)
    axes.plot([end.x], [end.y], "s", ms=4.5, mfc=LIGHT.text, mec="white", mew=0.5, gid="end", **ring)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_box_aspect(1)
    axes.margins(0.08)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    return states
