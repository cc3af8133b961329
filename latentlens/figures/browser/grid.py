"""Draw a grid with plotly; a click on a cell gives customdata [position, iteration]."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from latentlens.figures.browser.page import CLEAR, colorbar, colorscale, ink, layout, playhead
from latentlens.figures.escape import for_browser, visible
from latentlens.figures.kinds.convergence import Convergence
from latentlens.figures.kinds.grid import COLORS, Grid, cells, colour_range, ramp_of, writings
from latentlens.figures.kinds.labels import iteration_ticks

SIDES = 150
"""Pixels beside the cells, about: the tokens, the colour bar."""


def draw(figure: Grid, table: pd.DataFrame, dark: bool = False, width: int = 900) -> go.Figure:
    """Traces: the heatmap, and the leaders' texts in an ink that can be read on each cell.

    `layout.shapes[0]` frames the playhead's column, `shapes[1]` the marked row.
    """
    page = sheet(figure, table, dark)
    return go.Figure(data=[_cells(figure, table, dark, width), _texts(figure, table, dark, width)], layout=page)


def sheet(figure: Grid | Convergence, table: pd.DataFrame, dark: bool) -> dict[str, Any]:
    """Tokens down, iterations to the right, as high as the rows need; with the playhead and the marked row."""
    at, shade = table.attrs, ink(dark)
    rows, last = len(at["tokens"]), at["iterations"]
    axis: dict[str, Any] = {"showgrid": False, "ticks": "outside", "tickcolor": CLEAR, "showline": False}
    across = {"title": {"text": "iteration"}, "range": [-0.5, last + 0.5], "tickformat": "d"}
    down = {"range": [rows - 0.5, -0.5], "tickvals": list(range(rows))}
    return layout(
        figure.kind,
        dark,
        xaxis=axis | across | {"tickvals": iteration_ticks(0, last, 14)},
        yaxis=axis
        | down
        | {
            "ticktext": [for_browser(word, 12) for word in at["tokens"]],
            "tickfont": {"size": 11, "color": shade.text},
        },
        shapes=[playhead(figure.playhead, half=0.5), _row(at["mark"], dark)],
        height=int(np.clip(20 * rows + 90, 260, 2400)),
        margin={"l": 56, "r": 12, "t": 32, "b": 44},
        showlegend=False,
    )


def _cells(figure: Grid, table: pd.DataFrame, dark: bool, width: int) -> dict[str, Any]:
    at = table.attrs
    low, high, above = colour_range(table, figure.color)
    leaders = cells(table, "top_text")
    hover = [
        [f"<b>{for_browser(word)}</b> at {position}, iteration {r}<br>leader {for_browser(leaders[position, r])}"]
        for position, word in enumerate(at["tokens"])
        for r in range(at["iterations"] + 1)
    ]
    return {
        "type": "heatmap",
        "name": "cells",
        "x": np.arange(at["iterations"] + 1, dtype=np.int32),
        "y": np.arange(len(at["tokens"]), dtype=np.int32),
        "z": cells(table, figure.color),
        "hovertext": np.array(hover, dtype=object).reshape(leaders.shape).tolist(),
        "customdata": np.stack([cells(table, "position"), cells(table, "iteration")], -1).astype(np.int32),
        "hovertemplate": "%{hovertext}<br>" + COLORS[figure.color].split(" [")[0] + " %{z:.3f}<extra></extra>",
        "zmin": low,
        "zmax": high,
        "colorscale": colorscale(ramp_of(figure.color), dark),
        "colorbar": colorbar(COLORS[figure.color] + (" (iteration 0 may lie above)" if above else ""), dark),
        **gaps(table, width),
    }


def gaps(table: pd.DataFrame, width: int) -> dict[str, int]:
    """Lines between cells; none beside cells so narrow that nothing would be left."""
    return {"xgap": int((width - SIDES) / (table.attrs["iterations"] + 1) > 3), "ygap": 1}


def _texts(figure: Grid, table: pd.DataFrame, dark: bool, width: int) -> dict[str, Any]:
    """The leaders, in black or white by the colour of the cell, cut to their room; nothing to hover or to click."""
    columns = table.attrs["iterations"] + 1
    cell = (width - SIDES) / columns
    size = 11 if cell > 30 else 10 if cell > 24 else 9
    cell /= 0.58 * size  # now in letters
    usual = np.quantile([len(visible(text, 8)) for text in table.top_text.unique()], 0.8)
    written = writings(figure, table, dark=dark, crowded=bool(usual > cell))
    texts, across, places = [], [], []
    for w in written:
        text = for_browser(w.text, max(int(min(cell * w.room, 8)), 2))
        inside = len(visible(w.text, 8)) <= cell
        texts.append(text)
        across.append(w.column if inside or w.room == 1 else w.column - 0.47)
        places.append("middle center" if inside or w.room == 1 else "middle right")
    return {
        "type": "scatter",
        "name": "leaders",
        "mode": "text",
        "x": np.array(across, dtype=np.float32),
        "y": np.array([w.row for w in written], dtype=np.int32),
        "text": texts,
        "textposition": places,
        "textfont": {"size": size, "color": [w.ink for w in written]},
        "hoverinfo": "skip",
    }


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
