"""Draw path independence with plotly: two panels over one iteration axis."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from latentlens.figures.browser.line import bands, curve, iterations_axis, note, vertical
from latentlens.figures.browser.page import ink, layout, playhead
from latentlens.figures.kinds.curves import curves, notes
from latentlens.figures.kinds.path_independence import PathIndependent, panel

SPLIT = (0.4, 0.48)
"""Where the lower panel ends and the upper one begins."""


def draw(figure: PathIndependent, table: pd.DataFrame, dark: bool = False, width: int = 900) -> go.Figure:
    """The spread on (x, y), the answers on (x, y2); `layout.shapes[0]` is the playhead through both."""
    shade = ink(dark)
    data: list[dict[str, Any]] = []
    axes: list[dict[str, Any]] = []
    for number, domain in enumerate(([SPLIT[1], 1], [0, SPLIT[0]])):
        part = panel(table, number)
        (row,) = curves(part, part.attrs["log"])
        place = {"yaxis": "y2" if number else "y"}
        data += [trace | place for trace in (*bands(row, dark), curve(row, part.attrs["title"], dark))]
        axes.append(vertical(part) | {"domain": domain, "anchor": "x"})
    axes[1] |= {"nticks": 4}
    above = panel(table, 0)
    page: dict[str, Any] = layout(
        figure.kind,
        dark,
        xaxis=iterations_axis(table, dark) | {"anchor": "y2"},
        yaxis=axes[0],
        yaxis2=axes[1],
        shapes=[playhead(figure.playhead)],
        annotations=note(notes(above, above.attrs["log"]), shade.muted, width),
        hovermode="x unified",
        showlegend=False,
        margin={"l": 56, "r": 12, "t": 44, "b": 44},
    )
    page["hoverlabel"] = {"namelength": -1, "bgcolor": shade.page}
    return go.Figure(data=data, layout=page)
