"""Draw a grid with plotly: one heatmap; a click on a cell gives customdata [position, iteration]."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from latentlens.figures.browser.page import CLEAR, colorbar, colorscale, ink, layout, playhead
from latentlens.figures.escape import for_browser
from latentlens.figures.kinds.grid import COLORS, Grid, cells, colour_range, shown
from latentlens.figures.kinds.labels import iteration_ticks


def draw(figure: Grid, table: pd.DataFrame, dark: bool = False) -> go.Figure:
    """One heatmap on (x, y); `layout.shapes[0]` frames the playhead's column, `shapes[1]` the marked row."""
    at, shade = table.attrs, ink(dark)
    rows, last = len(at["tokens"]), at["iterations"]
    low, high, above = colour_range(table, figure.color)
    texts = np.array([for_browser(t, 8) for t in table.top_text], dtype=object).reshape(rows, -1)
    hover = np.array([for_browser(t) for t in table.top_text], dtype=object).reshape(rows, -1)
    words = [for_browser(word, 12) for word in at["tokens"]]
    title = COLORS[figure.color] + (" (iteration 0 may lie above)" if above else "")
    heat = {
        "type": "heatmap",
        "x": np.arange(last + 1, dtype=np.int32),
        "y": np.arange(rows, dtype=np.int32),
        "z": cells(table, figure.color),
        "text": np.where(shown(figure, table), texts, "").tolist(),
        "hovertext": [
            [
                f"<b>{for_browser(word)}</b> at {position}, iteration {iteration}<br>"
                f"leader {hover[position, iteration]} "
                for iteration in range(last + 1)
            ]
            for position, word in enumerate(at["tokens"])
        ],
        "texttemplate": "%{text}",
        "textfont": {"size": 11 if (last + 1) <= 26 else 9},
        "customdata": np.stack([cells(table, "position"), cells(table, "iteration")], -1).astype(np.int32),
        "hovertemplate": "%{hovertext}<br>" + COLORS[figure.color].split(" [")[0] + " %{z:.3f}<extra></extra>",
        "zmin": low,
        "zmax": high,
        "colorscale": colorscale(figure.color, dark),
        "colorbar": colorbar(title, dark),
        "xgap": 1,
        "ygap": 1,
    }
    axis: dict[str, Any] = {"showgrid": False, "ticks": "outside", "tickcolor": CLEAR, "showline": False}
    page = layout(
        figure.kind,
        dark,
        xaxis=axis
        | {
            "title": {"text": "iteration"},
            "range": [-0.5, last + 0.5],
            "tickvals": iteration_ticks(0, last, 14),
            "tickformat": "d",
        },
        yaxis=axis
        | {
            "range": [rows - 0.5, -0.5],
            "tickvals": list(range(rows)),
            "ticktext": words,
            "tickfont": {"size": 11, "color": shade.text},
        },
        shapes=[
            playhead(figure.playhead, half=0.5),
            _row(at["mark"], dark),
        ],
        height=int(np.clip(20 * rows + 90, 260, 2400)),
        margin={"l": 56, "r": 12, "t": 32, "b": 44},
    )
    return go.Figure(data=[heat], layout=page)


def _row(position: int | None, dark: bool) -> dict[str, Any]:
    """The frame around the marked position's row."""
    y = 0 if position is None else position
    return {
        "name": "mark",
        "type": "rect",
        "xref": "paper",
        "yref": "y",
        "x0": 0,
        "x1": 1,
        "y0": y - 0.5,
        "y1": y + 0.5,
        "line": {"color": ink(dark).text, "width": 1.6},
        "layer": "above",
        "visible": position is not None,
    }
