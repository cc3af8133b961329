"""Draw lines with plotly."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from latentlens.figures.browser.convergence import power_text
from latentlens.figures.browser.notes import marks
from latentlens.figures.browser.page import CLEAR, ink, layout, lettering, playhead, tint
from latentlens.figures.escape import for_browser, visible
from latentlens.figures.kinds.curves import curves, limits, named, notes
from latentlens.figures.kinds.labels import LONGEST, iteration_ticks, spread
from latentlens.figures.kinds.line import Line
from latentlens.figures.kinds.motion import Motion
from latentlens.figures.style import PALETTE, rgb

LETTER = 7.2
"""The width of a letter in pixels."""
UPRIGHT = 40
"""How many letters of a title fit along the vertical axis."""
HEIGHT = 420
"""Of the panel in pixels, about: names are set apart by it."""


def draw(figure: Line | Motion, table: pd.DataFrame, dark: bool = False, width: int = 900) -> go.Figure:
    """Bands below, lines above, each named at its right end; `layout.shapes[0]` is the playhead."""
    at, shade, log = table.attrs, ink(dark), table.attrs["log"]
    rows = curves(table, log)
    kept = [row for row in rows if row.series.iloc[0] in named(table)]
    longest = max(len(visible(row.label.iloc[0], LONGEST)) if row.label.iloc[0] else 0 for row in kept)
    right = 1 - min((10 + LETTER * longest) / width, 0.3) if longest else 1.0
    page = layout(
        figure.kind,
        dark,
        xaxis=iterations_axis(table, dark) | {"domain": [0, right]},
        yaxis=vertical(table),
        shapes=[playhead(figure.playhead), *marks(table, dark), *_reference(at["reference"], shade.muted)],
        annotations=_names(kept, limits(table, log), log, dark) + note(notes(table, log), shade.muted, width),
        hovermode="x unified",
        showlegend=False,
        margin={"l": 56, "r": 12, "t": 44, "b": 44},
    )
    page["hoverlabel"] = {"namelength": -1, "bgcolor": shade.page}
    below = [band for row in rows for band in bands(row, dark)]
    return go.Figure(data=below + [curve(row, at["title"], dark) for row in rows], layout=page)


def iterations_axis(table: pd.DataFrame, dark: bool) -> dict[str, Any]:
    """The horizontal axis: whole iterations, and what is said of all lines at one of them."""
    at = table.attrs
    return {
        "range": [at["first"], at["iterations"]],
        "title": {"text": "iteration"},
        "tickformat": "d",
        "tickvals": iteration_ticks(at["first"], at["iterations"]),
        "showgrid": False,
        "unifiedhovertitle": {"text": "iteration %{x}"},
        "spikecolor": ink(dark).muted,
        "spikethickness": -1,
        "spikedash": "solid",
    }


def vertical(table: pd.DataFrame) -> dict[str, Any]:
    """The vertical axis with its title; on a logarithmic one at most eight powers of ten are written."""
    log = table.attrs["log"]
    low, high = limits(table, log)
    lines = (for_browser(part) for part in textwrap.wrap(table.attrs["title"], UPRIGHT))
    out: dict[str, Any] = {"title": {"text": "<br>".join(lines)}, "nticks": 7, "exponentformat": "power"}
    if not log:
        return out | {"range": [low, high]}
    ends = [float(np.log10(low)), float(np.log10(high))]
    if high / low <= 30:
        return out | {"type": "log", "range": ends}
    every = int(np.ceil((ends[1] - ends[0]) / 8))  # plotly's own powers are set larger than other numbers
    ticks = [10.0**k for k in range(int(np.ceil(ends[0])), int(np.floor(ends[1])) + 1) if k % every == 0]
    return out | {"type": "log", "range": ends, "tickvals": ticks, "ticktext": [power_text(value) for value in ticks]}


def _colour(row: pd.DataFrame, dark: bool) -> str:
    slot = int(row.slot.iloc[0])
    return ink(dark).muted if slot < 0 else tint(slot, dark)


def curve(row: pd.DataFrame, title: str, dark: bool) -> dict[str, Any]:
    """One series, a marker at each iteration."""
    colour, slot = _colour(row, dark), int(row.slot.iloc[0])
    return {
        "type": "scatter",
        "name": for_browser(row.label.iloc[0] or title),
        "x": row.iteration.to_numpy(np.int32),
        "y": row.value.to_numpy(np.float64),
        "mode": "lines+markers",
        "line": {"color": colour, "width": 2.4, "dash": "dot" if slot < 0 or slot >= len(PALETTE) else "solid"},
        "marker": {"size": 5, "color": colour},
        "hovertemplate": "%{y:.4~g}",
        "cliponaxis": False,
        "meta": {"series": int(row.series.iloc[0])},
    }


def bands(row: pd.DataFrame, dark: bool) -> list[dict[str, Any]]:
    """The outer band, then the inner one; nothing where there is none."""
    out = []
    for name, low, high in (("outer band", "lowest", "highest"), ("inner band", "low", "high")):
        seen = row[row[low].notna() & row[high].notna()]
        if not len(seen):
            continue
        x, edge = seen.iteration.to_numpy(np.int32), seen[high].to_numpy()
        red, green, blue = rgb(_colour(row, dark))
        out.append(
            {
                "type": "scatter",
                "name": name,
                "x": np.concatenate([x, x[::-1]]),
                "y": np.concatenate([edge, seen[low].to_numpy()[::-1]]),
                "mode": "lines",
                "line": {"width": 0, "color": CLEAR},
                "fill": "toself",
                "fillcolor": f"rgba({red},{green},{blue},{0.12 if name == 'outer band' else 0.22})",
                "hoverinfo": "skip",
            }
        )
    return out


def _names(rows: list[pd.DataFrame], ends: tuple[float, float], log: bool, dark: bool) -> list[dict[str, Any]]:
    """Each series' name behind its last point, spread so that none lies on another."""
    rows = [row for row in rows if row.label.iloc[0] and row.value.notna().any()]
    low, high = np.log10(ends) if log else ends
    last = [row.value.dropna().iloc[-1] for row in rows]
    wanted = [float(np.log10(value)) if log else float(value) for value in last]
    placed = spread(wanted, 16 / HEIGHT * (high - low), low, high)
    return [
        {
            "x": row.iteration.iloc[-1],
            "y": y,
            "text": for_browser(row.label.iloc[0], LONGEST),
            "showarrow": False,
            "xanchor": "left",
            "yanchor": "middle",
            "xshift": 6,
            "font": {"size": 12, "color": _lettering(row, dark)},
        }
        for row, y in zip(rows, placed)
    ]


def _lettering(row: pd.DataFrame, dark: bool) -> str:
    slot = int(row.slot.iloc[0])
    return ink(dark).muted if slot < 0 else lettering(slot, dark)


def _reference(y: float | None, colour: str) -> list[dict[str, Any]]:
    """A broken rule across the panel, if there is one."""
    if y is None:
        return []
    place = {"xref": "x domain", "x0": 0, "x1": 1, "yref": "y", "y0": y, "y1": y, "layer": "below"}
    return [{"name": "reference", "type": "line", **place, "line": {"color": colour, "width": 1.2, "dash": "dash"}}]


def note(words: str, colour: str, width: int) -> list[dict[str, Any]]:
    """Small words above the panel, on as many lines as they need."""
    if not words:
        return []
    lines = [for_browser(part) for part in textwrap.wrap(words, max((width - 70) // 6, 20))]
    place = {"xref": "paper", "x": 0, "xanchor": "left", "yref": "paper", "y": 1, "yanchor": "bottom"}
    look = {"showarrow": False, "font": {"size": 11, "color": colour}, "align": "left"}
    return [{"text": "<br>".join(lines), **look, **place}]
