"""Draw a waterfall with plotly; a click on a state gives customdata [prompt, position, iteration]."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from latentlens.figures.browser.map import below, broken
from latentlens.figures.browser.page import colorbar, colorscale, ink, layout
from latentlens.figures.escape import for_browser
from latentlens.figures.kinds.waterfall import Waterfall, depth_names

NAMED = 24
"""At most this many tokens are named along the depth."""


def draw(figure: Waterfall, table: pd.DataFrame, dark: bool = False, width: int = 900) -> go.Figure:
    """Traces: the other tokens, the chosen one, its start and its end."""
    shade = ink(dark)
    faint, strong = table[~table.strong], table[table.strong]
    data = [_paths(faint, table, "other tokens", 3, 0.55, dark)] if len(faint) else []
    data.append(_paths(strong, table, "chosen token", 7, 1.0, dark))
    data[-1]["line"]["colorbar"] = colorbar("iteration", dark)
    data[-1]["line"]["showscale"] = True
    ring = {"symbol": "circle-open", "size": 7, "color": shade.text}
    square = {"symbol": "square", "size": 5, "color": shade.text}
    for name, row, marker in (("start", strong.iloc[:1], ring), ("end", strong.iloc[-1:], square)):
        place = {"x": row.x.to_numpy(), "y": row.position.to_numpy(), "z": row.y.to_numpy()}
        data.append(
            {"type": "scatter3d", "name": name, "mode": "markers", "marker": marker, "hoverinfo": "skip", **place}
        )
    page = layout(figure.kind, dark, showlegend=False, margin={"l": 0, "r": 8, "t": 32, "b": 8})
    page["scene"] = _scene(table, dark)
    below(page, table, dark, width)
    return go.Figure(data=data, layout=page)


def _paths(rows: pd.DataFrame, table: pd.DataFrame, name: str, wide: int, opacity: float, dark: bool) -> dict[str, Any]:
    count = rows.position.nunique()
    parts = {key: rows[key].to_numpy(float).reshape(count, -1) for key in ("x", "y", "position", "iteration")}
    prompts = np.full((count, parts["x"].shape[1]), float(table.attrs["prompt"]))
    ids = [broken(prompts), broken(parts["position"]), broken(parts["iteration"])]
    texts = np.repeat([for_browser(text) for text in rows.token_text], 1).reshape(count, -1)
    return {
        "type": "scatter3d",
        "name": name,
        "mode": "lines",
        "x": broken(parts["x"]),
        "y": broken(parts["position"]),
        "z": broken(parts["y"]),
        "line": {
            "width": wide,
            "color": np.nan_to_num(broken(parts["iteration"])),
            "cmin": 0,
            "cmax": max(table.attrs["iterations"], 1),
            "colorscale": colorscale("iteration", dark),
        },
        "opacity": opacity,
        "customdata": np.column_stack(ids),
        "text": np.pad(texts, ((0, 0), (0, 1)), constant_values="").ravel().tolist(),
        "hovertemplate": "%{text}<br>position %{customdata[1]}, iteration %{customdata[2]}<extra></extra>",
        "showlegend": False,
    }


def _scene(table: pd.DataFrame, dark: bool) -> dict[str, Any]:
    """The tokens' names along the depth."""
    names, shade = depth_names(table, NAMED), ink(dark)
    axis = {"gridcolor": shade.grid, "zerolinecolor": shade.grid, "showbackground": False, "nticks": 5}
    depth = axis | {
        "title": {"text": ""},
        "tickvals": [position for position, _ in names],
        "ticktext": [for_browser(text) for _, text in names],
    }
    across, up = table.attrs["axes"]
    return {
        "xaxis": axis | {"title": {"text": across}},
        "yaxis": depth,
        "zaxis": axis | {"title": {"text": up}},
        "aspectmode": "manual",
        "aspectratio": {"x": 1, "y": 1.8, "z": 0.8},
        "camera": {"eye": {"x": 2.2, "y": -1.5, "z": 1.1}, "center": {"x": 0, "y": 0, "z": -0.2}},
    }
