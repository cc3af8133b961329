"""Draw convergence with plotly; a click on a cell gives customdata [position, iteration]."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from latentlens.figures.browser.grid import gaps, sheet
from latentlens.figures.browser.page import colorbar, colorscale, ink
from latentlens.figures.escape import for_browser
from latentlens.figures.kinds.convergence import Convergence, at_rest, bar_title, decades, moving, power
from latentlens.figures.kinds.grid import cells
from latentlens.figures.style import AT_REST

LETTER = 6.0
"""The width of a small letter in pixels."""


def draw(figure: Convergence, table: pd.DataFrame, dark: bool = False, width: int = 900) -> go.Figure:
    """Traces: the heatmap (of decimal logarithms), the grey cells at the rounding floor, the kinds of motion.

    `layout.shapes[0]` frames the playhead's column, `shapes[1]` the marked row.
    """
    page = sheet(figure, table, dark)
    if figure.labels:
        longest = max(map(len, table.attrs["labels"]))
        page["xaxis"]["domain"] = [0, 1 - min((14 + LETTER * longest) / width, 0.3)]
        page["shapes"] = [page["shapes"][0], page["shapes"][1] | {"xref": "x domain"}]
    data = [_cells(figure, table, dark, page["height"]), _rest(figure, table, dark)]
    for trace in data:
        trace |= gaps(table, width)
    return go.Figure(data=data + ([_kinds(table, dark)] if figure.labels else []), layout=page)


def _cells(figure: Convergence, table: pd.DataFrame, dark: bool, height: int) -> dict[str, Any]:
    values, low, high = moving(table, figure.color)
    ticks = decades(low, high)
    letters = max(int((height - 90) / LETTER), 16)
    title = "<br>".join(for_browser(part) for part in textwrap.wrap(bar_title(table, figure.color), letters))
    scale = {"tickvals": np.log10(ticks), "ticktext": [power_text(value) for value in ticks]}
    return _heat(figure, table, "cells") | {
        "z": np.log10(values),
        "zmin": float(np.log10(low)),
        "zmax": float(np.log10(high)),
        "colorscale": colorscale("distance", dark),
        "colorbar": colorbar(title, dark) | scale,
    }


def _rest(figure: Convergence, table: pd.DataFrame, dark: bool) -> dict[str, Any]:
    """The cells that only rounding moves."""
    return _heat(figure, table, "rounding floor") | {
        "z": np.where(at_rest(table, figure.color), 1.0, np.nan),
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, AT_REST[dark]], [1, AT_REST[dark]]],
        "showscale": False,
    }


def _heat(figure: Convergence, table: pd.DataFrame, name: str) -> dict[str, Any]:
    at = table.attrs
    values = cells(table, figure.color)
    hover = [
        [
            f"<b>{for_browser(word)}</b> at {position}, iteration {r}<br>{for_browser(at['labels'][position])}<br>"
            f"{for_browser(at['title'])} {values[position, r]:.3g}"
            for r in range(at["iterations"] + 1)
        ]
        for position, word in enumerate(at["tokens"])
    ]
    return {
        "type": "heatmap",
        "name": name,
        "x": np.arange(at["iterations"] + 1, dtype=np.int32),
        "y": np.arange(len(at["tokens"]), dtype=np.int32),
        "hovertext": hover,
        "hovertemplate": "%{hovertext}<extra></extra>",
        "hoverongaps": False,
        "customdata": np.stack([cells(table, "position"), cells(table, "iteration")], -1).astype(np.int32),
    }


def _kinds(table: pd.DataFrame, dark: bool) -> dict[str, Any]:
    """The kind of motion beside each row."""
    at = table.attrs
    return {
        "type": "scatter",
        "name": "kinds of motion",
        "mode": "text",
        "x": np.full(len(at["labels"]), at["iterations"] + 0.5),
        "y": np.arange(len(at["labels"]), dtype=np.int32),
        "text": [f" {for_browser(label)}" for label in at["labels"]],
        "textposition": "middle right",
        "textfont": {"size": 11, "color": ink(dark).muted},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }


def power_text(value: float) -> str:
    """A number on a logarithmic scale; far from 1, as a power of ten."""
    exponent = power(value)
    return f"{value:g}" if exponent is None else f"10<sup>{exponent}</sup>".replace("-", "−")
