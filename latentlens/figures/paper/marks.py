"""Draw the candidates of a map with matplotlib: shades below, crosses and arrows above."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from latentlens.figures.escape import apart, for_paper
from latentlens.figures.kinds.marks import Marks
from latentlens.figures.paper.page import text_size
from latentlens.figures.style import LIGHT, mix, slot_colour

SHADE = 0.22


def draw_marks(axes: Axes, marks: Marks) -> None:
    """Everything that there is of them, without moving the axes."""
    if marks.regions is not None:
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
        _name(axes, row, (row["x"] + row["dx"], row["y"] + row["dy"]), outline)
    for row in marks.anchors.to_dict("records"):
        colour = mix(slot_colour(row["slot"]), LIGHT.text, 0.25)
        axes.plot(
            [row["x"]], [row["y"]], "x", ms=6, mew=1.6, color=colour, zorder=6, gid="anchor", path_effects=outline
        )
        _name(axes, row, (row["x"], row["y"]), outline)


def _name(axes: Axes, row: dict[Any, Any], where: tuple[float, float], outline: list[Any]) -> None:
    """A candidate's text beside its mark, on the side that an arrow points to, or that is free."""
    left, below = row.get("dx", 0) < 0 or "left" in row.get("side", ""), "bottom" in row.get("side", "")
    axes.annotate(
        for_paper(apart(str(row["text"])), 12),
        where,
        xytext=(-4 if left else 4, -3 if below else 3),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top" if below else "baseline",
        fontsize=text_size(axes) - 1.5,
        color=mix(slot_colour(row["slot"]), LIGHT.text, 0.25),
        zorder=8,
        path_effects=outline,
    )


def _shades(axes: Axes, marks: Marks) -> None:
    """A faint colour a leader, with a thin line where the leader changes."""
    assert marks.regions is not None
    paint = np.array([to_rgb(slot_colour(int(slot))) for slot in marks.leaders.slot])
    half = [(edge[1] - edge[0]) / 2 for edge in (marks.x, marks.y)]
    extent = (marks.x[0] - half[0], marks.x[-1] + half[0], marks.y[0] - half[1], marks.y[-1] + half[1])
    limits = axes.get_xlim(), axes.get_ylim()
    rgb = 1 - SHADE * (1 - paint[marks.regions])
    axes.imshow(rgb, extent=extent, origin="lower", interpolation="nearest", zorder=0, aspect="auto", gid="regions")
    for leader in range(1, len(marks.leaders)):
        here = (marks.regions == leader).astype(float)
        axes.contour(marks.x, marks.y, here, levels=[0.5], colors=LIGHT.faint, linewidths=0.5, zorder=0.5)
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])
