"""Draw the candidates of a map with matplotlib: shades below, crosses and arrows above."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from latentlens.figures.escape import for_paper
from latentlens.figures.kinds.marks import Marks
from latentlens.figures.paper.page import text_size
from latentlens.figures.style import LIGHT, mix, slot_colour

SHADE = 0.22


def draw_marks(axes: Axes, marks: Marks) -> None:
    """Everything that there is of them, without moving the axes."""
    if marks.slots is not None:
        _shades(axes, marks)
    outline: list[Any] = [withStroke(linewidth=1.6, foreground="white")]
    for row in marks.arrows.to_dict("records"):
        style: dict[str, Any] = {"arrowstyle": "-|>", "color": slot_colour(row["slot"]), "linewidth": 1.3, "shrinkA": 0}
        drawn = axes.annotate(
            "",
            (row["x"] + row["dx"], row["y"] + row["dy"]),
            (row["x"], row["y"]),
            arrowprops=style,
            zorder=7,
            gid="arrow",
        )
        if drawn.arrow_patch is not None:
            drawn.arrow_patch.set_path_effects(outline)
    for row in marks.anchors.to_dict("records"):
        colour = mix(slot_colour(row["slot"]), LIGHT.text, 0.25)
        axes.plot(
            [row["x"]], [row["y"]], "x", ms=6, mew=1.6, color=colour, zorder=6, gid="anchor", path_effects=outline
        )
        axes.annotate(
            for_paper(str(row["text"]), 12),
            (row["x"], row["y"]),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=text_size(axes) - 1.5,
            color=colour,
            zorder=8,
            path_effects=outline,
        )


def _shades(axes: Axes, marks: Marks) -> None:
    assert marks.slots is not None
    kinds, inverse = np.unique(marks.slots, return_inverse=True)
    paint = np.array([to_rgb(slot_colour(int(slot))) for slot in kinds])
    half = [(edge[1] - edge[0]) / 2 for edge in (marks.x, marks.y)]
    extent = (marks.x[0] - half[0], marks.x[-1] + half[0], marks.y[0] - half[1], marks.y[-1] + half[1])
    rgb = 1 - SHADE * (1 - paint[inverse.reshape(marks.slots.shape)])
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(rgb, extent=extent, origin="lower", interpolation="nearest", zorder=0, aspect="auto", gid="regions")
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])
