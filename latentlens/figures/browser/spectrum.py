"""Draw a spectrum with plotly; a click on a point gives customdata [prompt, position, iteration]."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from latentlens.figures.browser.page import colorbar, colorscale, ink, layout
from latentlens.figures.escape import for_browser
from latentlens.figures.kinds.spectrum import ROUND, Spectrum, heading, reach
from latentlens.figures.style import RAMPS, on_ramp


def draw(figure: Spectrum, table: pd.DataFrame, dark: bool = False, width: int = 900) -> go.Figure:
    """Traces: the eigenvalues, and the Floquet multipliers where there are orbits."""
    shade, end = ink(dark), reach(table)
    axis = {"range": [-end, end], "zeroline": True, "zerolinecolor": shade.grid, "zerolinewidth": 1, "nticks": 7}
    circle = {"type": "circle", "x0": -1, "x1": 1, "y0": -1, "y1": 1, "layer": "below"}
    turning = bool((table.iteration == ROUND).any())
    page = layout(
        figure.kind,
        dark,
        xaxis=axis | {"title": {"text": "real part"}, "constrain": "domain"},
        yaxis=axis | {"title": {"text": "imaginary part"}, "scaleanchor": "x", "scaleratio": 1, "constrain": "domain"},
        shapes=[{"name": "unit circle", **circle, "line": {"color": shade.muted, "width": 1.4}}],
        annotations=[_heading(heading(table), shade.muted)],
        showlegend=turning,
        legend={"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top"},
        margin={"l": 56, "r": 12, "t": 36, "b": 44},
    )
    return go.Figure(data=[_eigenvalues(table, dark), *([_multipliers(table, dark)] if turning else [])], layout=page)


def _eigenvalues(table: pd.DataFrame, dark: bool) -> dict[str, Any]:
    rows, last = table[table.iteration != ROUND], table.attrs["iterations"]
    looked = table.attrs["looked"]
    marker = {
        "size": 9,
        "color": rows.iteration.to_numpy(np.int32),
        "cmin": 0,
        "cmax": last,
        "colorscale": colorscale("iteration", dark),
        "line": {"width": 0.8, "color": ink(dark).page},
    }
    if len(looked) > 1:
        marker["colorbar"] = colorbar("iteration", dark)
    else:
        marker["color"] = on_ramp(RAMPS["iteration"][dark], looked[0] / last)
    return _points(rows, "eigenvalues", "iteration %{customdata[2]}") | {"marker": marker}


def _multipliers(table: pd.DataFrame, dark: bool) -> dict[str, Any]:
    rows, shade = table[table.iteration == ROUND], ink(dark)
    marker = {"size": 11, "symbol": "diamond-open", "color": shade.text, "line": {"width": 1.8, "color": shade.text}}
    return _points(rows, "Floquet multipliers of the last round", "Floquet multiplier") | {"marker": marker}


def _points(rows: pd.DataFrame, name: str, what: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": name,
        "mode": "markers",
        "x": rows.real.to_numpy(np.float64),
        "y": rows.imag.to_numpy(np.float64),
        "customdata": np.column_stack([rows[["prompt", "position", "iteration"]], rows.modulus]),
        "hovertemplate": f"{what}<br>%{{x:.3f}} + %{{y:.3f}} i<br>modulus %{{customdata[3]:.3f}}<extra></extra>",
        "cliponaxis": False,
    }


def _heading(words: str, colour: str) -> dict[str, Any]:
    place = {"xref": "x domain", "x": 0, "xanchor": "left", "yref": "y domain", "y": 1, "yanchor": "bottom"}
    return {"text": for_browser(words), "showarrow": False, "font": {"size": 11, "color": colour}, **place}
