"""Draw a waterfall with matplotlib in three dimensions: the tokens in depth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from latentlens.figures.escape import for_paper
from latentlens.figures.kinds.waterfall import Waterfall, depth_names
from latentlens.figures.paper.map import below
from latentlens.figures.paper.page import Page, colormap, colour_bar, new_page, page_of, settings, text_size
from latentlens.figures.style import LIGHT

NAMED = 12
"""At most this many tokens are named along the depth."""


def draw(figure: Waterfall, table: pd.DataFrame, style: str = "default") -> Page:
    """One path a token, coloured by iteration; the chosen one thick, with a ring at its start."""
    last = max(table.attrs["iterations"], 1)
    scale = ScalarMappable(Normalize(0, last), colormap("iteration"))
    with settings(style):
        page = new_page(style, 0.6, least=2.1, most=4.2)
        page.set_layout_engine("none")
        axes: Any = page.add_subplot(projection="3d")
        side, left = 1.0 / page.get_figwidth(), 0.2 / page.get_figwidth()
        axes.set_position((left, 0.0, 1 - side - left, 1.0))
        for position, rows in table.groupby("position"):
            strong = position == table.attrs["position"]
            points = np.column_stack([rows.x, rows.position, rows.y])
            lines = Line3DCollection(
                list(np.stack([points[:-1], points[1:]], 1)),
                colors=scale.to_rgba(rows.iteration.to_numpy()[1:]),
                linewidths=1.8 if strong else 0.8,
                alpha=1.0 if strong else 0.65,
                gid="strong" if strong else "path",
            )
            axes.add_collection(lines)
            if strong:
                axes.plot(*points[:1].T, "o", ms=5, mfc="none", mec=LIGHT.text, mew=0.9, gid="start")
                axes.plot(*points[-1:].T, "s", ms=4, mfc=LIGHT.text, mec="white", mew=0.5, gid="end")
        _axes(axes, table)
        place = page.add_axes((1 - 0.6 / page.get_figwidth(), 0.25, 0.1 / page.get_figwidth(), 0.5))
        bar = colour_bar(page, scale, "iteration", cax=place)
        bar.locator = MaxNLocator(6, integer=True)
        bar.update_ticks()
        below(page, axes, table)
    return page


def _axes(axes: Any, table: pd.DataFrame) -> None:
    """Panes without colour, the tokens' names along the depth."""
    names = depth_names(table, NAMED if page_of(axes).get_figwidth() > 4 else NAMED // 2)
    axes.set_xlim(table.x.min(), table.x.max())
    axes.set_ylim(table.position.min() - 0.5, table.position.max() + 0.5)
    axes.set_zlim(table.y.min(), table.y.max())
    axes.set_xlabel(table.attrs["axes"][0], labelpad=-4)
    axes.set_zlabel(table.attrs["axes"][1], labelpad=-4)
    axes.set_yticks([position for position, _ in names])
    axes.set_yticklabels(
        [for_paper(text, 10) for _, text in names], fontsize=text_size(axes) - 1.5, va="center", ha="left"
    )
    axes.set_box_aspect((1, 1.7, 0.8), zoom=0.75 + 0.04 * page_of(axes).get_figwidth())
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_tick_params(pad=-3)
        axis.pane.set_facecolor("white")
        axis.pane.set_edgecolor(LIGHT.grid)
        axis._axinfo["grid"].update(color=LIGHT.grid, linewidth=0.4)
    for axis in (axes.xaxis, axes.zaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.view_init(elev=24, azim=-38)
