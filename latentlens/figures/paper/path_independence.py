"""Draw path independence with matplotlib: two panels over one iteration axis."""

from __future__ import annotations

import pandas as pd

from latentlens.figures.kinds.curves import curves, notes
from latentlens.figures.kinds.path_independence import PathIndependent, panel
from latentlens.figures.paper.line import bands, curve, iterations_axis, note, vertical
from latentlens.figures.paper.page import Page, new_page, playhead, settings, upright


def draw(figure: PathIndependent, table: pd.DataFrame, style: str = "default") -> Page:
    """The spread above, the answers below."""
    with settings(style):
        page = new_page(style, 0.6, least=2.6)
        both = page.subplots(2, 1, sharex=True, height_ratios=[1.4, 1])
        for number, (axes, share) in enumerate(zip(both, (0.48, 0.34))):
            part = panel(table, number)
            (row,) = curves(part, part.attrs["log"])
            bands(axes, row)
            curve(axes, row)
            vertical(axes, part)
            axes.set_ylabel(upright(page, part.attrs["title"], share))
            playhead(axes, figure.playhead)
        iterations_axis(both[1], table)
        above = panel(table, 0)
        note(both[0], notes(above, above.attrs["log"]))
        page.align_ylabels()
    return page
