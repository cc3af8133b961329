"""Draw orbits with plotly: panels side by side; a click on a state gives customdata [prompt, position, iteration]."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from latentlens.figures.browser.map import below
from latentlens.figures.browser.page import colorbar, colorscale, ink, layout
from latentlens.figures.escape import for_browser
from latentlens.figures.kinds.orbits import Orbits

GAP = 0.09
"""Between two panels, as a share of the width: room for the titles of an axis."""


def draw(figure: Orbits, table: pd.DataFrame, dark: bool = False, width: int = 900) -> go.Figure:
    """Traces: path, states, start and end of each panel."""
    titles, shade = table.attrs["axes"], ink(dark)
    page = layout(figure.kind, dark, showlegend=False, margin={"l": 56, "r": 12, "t": 32, "b": 44})
    wide = (1 - GAP * (len(titles) - 1)) / len(titles)
    data: list[dict[str, Any]] = []
    for number, ((_, rows), names) in enumerate(zip(table.groupby("pair"), titles)):
        end = "" if number == 0 else str(number + 1)
        low = number * (wide + GAP)
        zero = {"zeroline": True, "zerolinecolor": shade.grid, "zerolinewidth": 1, "nticks": 6}
        page[f"xaxis{end}"] = {"title": {"text": names[0]}, "domain": [low, min(low + wide, 1)], "anchor": f"y{end}"}
        page[f"yaxis{end}"] = {"title": {"text": names[1]}, "anchor": f"x{end}", "scaleanchor": f"x{end}"}
        page[f"xaxis{end}"] |= zero
        page[f"yaxis{end}"] |= zero
        data += [trace | {"xaxis": f"x{end}", "yaxis": f"y{end}"} for trace in _panel(rows, table, dark)]
    data[1]["marker"] |= {"showscale": True, "colorbar": colorbar("iteration", dark)}
    below(page, table, dark, width)
    if table.attrs["said"]:
        place = {"xref": "paper", "x": 0, "xanchor": "left", "yref": "paper", "y": 1, "yanchor": "bottom"}
        font = {"size": 11, "color": shade.muted}
        said = {"text": for_browser(table.attrs["said"]), "showarrow": False, "font": font, **place}
        page["annotations"] = [*page.get("annotations", []), said]
    return go.Figure(data=data, layout=page)


def _panel(rows: pd.DataFrame, table: pd.DataFrame, dark: bool) -> list[dict[str, Any]]:
    shade, at = ink(dark), table.attrs
    x, y = rows.x.to_numpy(), rows.y.to_numpy()
    ids = np.column_stack([np.full(len(rows), at["prompt"]), np.full(len(rows), at["position"]), rows.iteration])
    line = {"color": shade.muted, "width": 1.4}
    marker = {
        "size": 7,
        "color": rows.iteration.to_numpy(np.int32),
        "cmin": 0,
        "cmax": max(at["iterations"], 1),
        "colorscale": colorscale("iteration", dark),
        "line": {"width": 0},
    }
    hover = "iteration %{customdata[2]}<br>%{x:.3g}, %{y:.3g}<extra></extra>"
    ring = {"symbol": "circle-open", "size": 12, "color": shade.text, "line": {"width": 1.6, "color": shade.text}}
    square = {"symbol": "square", "size": 8, "color": shade.text, "line": {"width": 1, "color": shade.page}}
    still: dict[str, Any] = {"type": "scatter", "hoverinfo": "skip"}
    return [
        still | {"name": "path", "mode": "lines", "x": x, "y": y, "line": line, "opacity": 0.8},
        {
            "type": "scatter",
            "name": "states",
            "mode": "markers",
            "x": x,
            "y": y,
            "marker": marker,
            "customdata": ids,
            "hovertemplate": hover,
        },
        still | {"name": "start", "mode": "markers", "x": x[:1], "y": y[:1], "marker": ring},
        still | {"name": "end", "mode": "markers", "x": x[-1:], "y": y[-1:], "marker": square},
    ]
