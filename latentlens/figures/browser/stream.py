"""Draw a stream with plotly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from latentlens.figures.browser.notes import marks, names, notes
from latentlens.figures.browser.page import ink, layout, playhead, tint
from latentlens.figures.browser.truth import truth_bar, truth_diamonds, truth_room
from latentlens.figures.escape import for_browser, visible
from latentlens.figures.kinds.labels import LONGEST, Label, iteration_ticks, rank_ticks, stream_labels, unlabelled
from latentlens.figures.kinds.stream import AXIS, Stream, candidates, exits, wide
from latentlens.figures.style import PALETTE

LETTER = 7.2
"""The width of a letter in pixels."""
BAR = 0.03
"""The width of the truth's bar, as a share of the page."""


def draw(figure: Stream, table: pd.DataFrame, dark: bool = False, width: int = 900) -> go.Figure:
    """Main panel on (x, y), entropy on (x, y2), the truth's bar on (x3, y)."""
    at, shade = table.attrs, ink(dark)
    bar = figure.mode == "area" and at["truth_known"]
    right = _right(figure, table, width)
    low = 0.27 if figure.entropy else 0.0
    labels = stream_labels(figure, table, LETTER / (0.87 * width))
    data = _bands(figure, table, labels, dark) + (truth_bar(table, dark) if bar else [])
    if figure.mode == "line" and at["truth_known"]:
        data += truth_diamonds(table, dark)
    if at["gated"] and figure.mode != "rank":
        data.append(_exits(table, dark))
    if figure.entropy:
        data.append(_entropy(table, dark))
    first, last = at["first"], at["iterations"]
    room = 0.0 if figure.mode == "area" else truth_room(figure, table)
    axis = {
        "range": [first, last + room],
        "domain": [0, right - (BAR + 0.012 if bar else 0)],
        "title": {"text": "iteration"},
        "anchor": "y2" if figure.entropy else "y",
        "tickformat": "d",
        "unifiedhovertitle": {"text": "iteration %{x}"},
        "spikecolor": shade.muted,
        "spikethickness": -1,
        "spikedash": "solid",
        "showgrid": False,
        "tickvals": iteration_ticks(first, last),
    }
    page = layout(
        figure.kind,
        dark,
        xaxis=axis,
        yaxis={"domain": [low, 1], "title": {"text": AXIS[figure.mode]}, **_scale(figure, table)},
        shapes=[playhead(figure.playhead), *marks(table, dark)],
        annotations=names(figure, table, labels, dark) + notes(figure, table, dark),
        hovermode="x unified",
        barmode="overlay",
        showlegend=True,
        legend={"orientation": "h", "y": -0.16, "yanchor": "top", "x": 0},
        margin={"l": 56, "r": 12, "t": 44, "b": 44},
    )
    if figure.entropy:
        top = float(np.nanmax(table.entropy))
        page["yaxis2"] = {"domain": [0, low - 0.07], "title": {"text": "entropy [bits]"}, "range": [0, top * 1.08 or 1]}
        page["yaxis2"] |= {"nticks": 4, "anchor": "x"}
    if bar:
        page["xaxis3"] = {"domain": [right - BAR, right], "range": [0, 1], "visible": False, "anchor": "y"}
    page["hoverlabel"] = {"namelength": -1, "bgcolor": shade.page}
    return go.Figure(data=data, layout=page)


def _right(figure: Stream, table: pd.DataFrame, width: int) -> float:
    """Where the panels end, as a share of the page: room for the longest label."""
    if figure.mode == "area":
        return 0.955 if table.attrs["truth_known"] else 1.0
    longest = max(len(visible(c.label, LONGEST)) for c in candidates(table).itertuples() if c.candidate >= 0)
    return 1 - min((10 + LETTER * longest) / width, 0.3)


def _bands(figure: Stream, table: pd.DataFrame, labels: list[Label], dark: bool) -> list[dict[str, Any]]:
    """A trace a candidate; the first candidate lies at the bottom, the rest on top."""
    column = "rank" if figure.mode == "rank" else "prob"
    values, out = wide(table, column), []
    nameless = unlabelled(table, labels) if figure.mode == "area" else []
    x = values.index.to_numpy(np.int32)
    edge = ink(dark).page
    for c in candidates(table).itertuples():
        if c.candidate < 0 and figure.mode != "area":
            continue
        colour = tint(c.slot, dark)
        trace: dict[str, Any] = {
            "type": "scatter",
            "name": for_browser(c.label),
            "x": x,
            "y": values[c.candidate].to_numpy(np.float64),
            "mode": "lines",
            "line": {"color": colour, "width": 2.4, "dash": "dot" if c.slot >= len(PALETTE) else "solid"},
            "hovertemplate": "%{y:.3f}" if column == "prob" else "%{y:d}",
            "showlegend": c.candidate in nameless,
            "meta": {"candidate": int(c.candidate), "token": int(c.token)},
        }
        if figure.mode == "area":
            trace |= {"stackgroup": "mass", "fillcolor": colour, "line": {"color": edge, "width": 0.8}}
        else:
            trace |= {"mode": "lines+markers", "marker": {"size": 5, "color": colour}, "cliponaxis": False}
        out.append(trace)
    return out


def _exits(table: pd.DataFrame, dark: bool) -> dict[str, Any]:
    """What the exit gate says, over the candidates; named in the legend."""
    pdf, shade = exits(table), ink(dark)
    return {
        "type": "scatter",
        "name": "exit probability",
        "x": pdf.index.to_numpy(np.int32),
        "y": pdf.to_numpy(np.float64),
        "mode": "lines+markers",
        "line": {"color": shade.text, "width": 1.6, "dash": "dash"},
        "marker": {"size": 8, "symbol": "diamond", "color": shade.page, "line": {"color": shade.text, "width": 1.6}},
        "hovertemplate": "%{y:.3f}",
        "showlegend": True,
        "cliponaxis": False,
    }


def _entropy(table: pd.DataFrame, dark: bool) -> dict[str, Any]:
    bits = table.groupby("iteration").entropy.first()
    colour = ink(dark).muted
    return {
        "type": "scatter",
        "name": "entropy",
        "x": bits.index.to_numpy(np.int32),
        "y": bits.to_numpy(np.float64),
        "yaxis": "y2",
        "mode": "lines+markers",
        "line": {"color": colour, "width": 1.8},
        "marker": {"size": 4},
        "hovertemplate": "%{y:.2f} bits",
        "showlegend": False,
        "cliponaxis": False,
    }


def _scale(figure: Stream, table: pd.DataFrame) -> dict[str, Any]:
    if figure.mode == "area":
        return {"range": [0, 1], "showgrid": False, "nticks": 6}
    if figure.mode == "line":
        return {"range": [0, 1.02], "nticks": 6}
    top = float(np.nanmax(table["rank"]))
    ticks = rank_ticks(top)
    return {
        "type": "log",
        "range": [np.log10(top * 1.15), np.log10(0.88)],
        "tickvals": ticks,
        "ticktext": [f"{t:,}" for t in ticks],
    }
