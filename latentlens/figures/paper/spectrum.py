"""Draw a spectrum with matplotlib: one square panel."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from latentlens.figures.escape import for_paper
from latentlens.figures.kinds.spectrum import ROUND, Spectrum, heading, reach
from latentlens.figures.paper.page import Page, colormap, colour_bar, new_page, settings, text_size, through_zero
from latentlens.figures.style import LIGHT


def draw(figure: Spectrum, table: pd.DataFrame, style: str = "default") -> Page:
    """The unit circle, the eigenvalues by iteration, the Floquet multipliers as diamonds."""
    end, last = reach(table), table.attrs["iterations"]
    rows, turning = table[table.iteration != ROUND], table[table.iteration == ROUND]
    with settings(style):
        page = new_page(style, 0.72, most=3.6)
        axes = page.subplots()
        through_zero(axes)
        circle = Circle((0, 0), 1, fill=False, edgecolor=LIGHT.muted, linewidth=0.9, zorder=2, gid="unit-circle")
        axes.add_patch(circle)
        points = axes.scatter(
            rows.real,
            rows.imag,
            c=rows.iteration,
            cmap=colormap("iteration"),
            vmin=0,
            vmax=last,
            s=14,
            edgecolors="white",
            linewidths=0.3,
            zorder=3,
            gid="eigenvalues",
        )
        if len(turning):
            _multipliers(axes, turning)
        axes.set(xlim=(-end, end), ylim=(-end, end), aspect="equal", xlabel="real part", ylabel="imaginary part")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_title(for_paper(heading(table)), loc="left", fontsize=text_size(axes) - 1, color=LIGHT.muted, pad=4)
        if len(table.attrs["looked"]) > 1:
            colour_bar(page, points, "iteration", ax=axes, pad=0.02)
    return page


def _multipliers(axes: Axes, turning: pd.DataFrame) -> None:
    """Open diamonds, named below the panel."""
    axes.scatter(
        turning.real,
        turning.imag,
        s=26,
        marker="D",
        facecolors="none",
        edgecolors=LIGHT.text,
        linewidths=0.9,
        zorder=4,
        label="Floquet multipliers of the last round",
        gid="floquet",
    )
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.16), borderaxespad=0, handletextpad=0.3)
