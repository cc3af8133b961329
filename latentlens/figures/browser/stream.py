"""Draw a stream with plotly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from latentlens.figures.browser.page import ink, layout, playhead
from latentlens.figures.escape import for_browser
from latentlens.figures.kinds.labels import Label, iteration_ticks, rank_ticks, spread, stream_labels, unlabelled
from latentlens.figures.kinds.stream import AXIS, Stream, candidates, commitment_note, truth_marks, wide
from latentlens.figures.style import mix, readable_on, slot_colour

BAR = 0.03
"""The width of the truth's bar, as a share of the page."""
STEP = 0.022
"""The room of a diamond, as a share of the panel."""


def draw(figure: Stream, table: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Main panel on (x, y), entropy on (x, y2), the truth's bar on (x3, y)."""
    at, shade = table.attrs, ink(dark)
    bar = figure.mode == "area" and at["truth_known"]
    right = _right(figure, table)
    low = 0.27 if figure.entropy else 0.0
    data = _bands(figure, table, dark) + (_truth_bar(table, dark) if bar else [])
    if figure.mode == "line" and at["truth_known"]:
        data += _truth_diamonds(table, dark)
    if figure.entropy:
        data.append(_entropy(table, dark))
    first, last = at["first"], at["iterations"]
    room = 0.0 if figure.mode == "area" else _room(figure, table)
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
        shapes=[playhead(figure.playhead), *_marks(figure, table, dark, low)],
        annotations=_labels(figure, table, dark, right) + _notes(figure, table, dark),
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


def _right(figure: Stream, table: pd.DataFrame) -> float:
    """Where the panels end, as a share of the page: room for the longest label."""
    if figure.mode == "area":
        return 0.955 if table.attrs["truth_known"] else 1.0
    longest = max(len(label.text) for label in stream_labels(figure, table))
    return 1 - min(0.02 + 0.011 * longest, 0.2)


def _bands(figure: Stream, table: pd.DataFrame, dark: bool) -> list[dict[str, Any]]:
    """A trace a candidate; the first candidate lies at the bottom, the rest on top."""
    column = "rank" if figure.mode == "rank" else "prob"
    values, out = wide(table, column), []
    nameless = unlabelled(table, stream_labels(figure, table)) if figure.mode == "area" else []
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
            "line": {"color": colour, "width": 2.4, "dash": "dot" if c.slot >= 8 else "solid"},
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


def _truth_bar(table: pd.DataFrame, dark: bool) -> list[dict[str, Any]]:
    out = []
    for c in candidates(table).itertuples():
        if not c.truth > 0 or (c.candidate < 0 and c.truth < 1e-6):
            continue
        out.append(
            {
                "type": "bar",
                "name": f"truth: {for_browser(c.label)}",
                "x": [0.5],
                "y": [c.truth],
                "width": [1],
                "base": [_below(table, c.candidate)],
                "xaxis": "x3",
                "yaxis": "y",
                "marker": {"color": tint(c.slot, dark), "line": {"color": ink(dark).page, "width": 1}},
                "hovertemplate": "truth %{y:.3f}<extra>" + for_browser(c.label) + "</extra>",
                "showlegend": False,
            }
        )
    return out


def _below(table: pd.DataFrame, candidate: int) -> float:
    """The truth's mass under a candidate, in the order of the bands."""
    each = candidates(table)
    before = each.candidate.tolist().index(candidate)
    return float(each.truth.iloc[:before].sum())


def _truth_diamonds(table: pd.DataFrame, dark: bool) -> list[dict[str, Any]]:
    """A diamond a candidate at its exact probability, side by side where they are equal."""
    first, last = table.attrs["first"], table.attrs["iterations"]
    return [
        {
            "type": "scatter",
            "name": f"truth: {for_browser(c.label)}",
            "x": [last + (last - first) * STEP * (0.5 + place)],
            "y": [c.truth],
            "mode": "markers",
            "marker": {
                "symbol": "diamond",
                "size": 11,
                "color": tint(c.slot, dark),
                "line": {"color": ink(dark).text, "width": 1.4},
            },
            "cliponaxis": False,
            "hovertemplate": "truth %{y:.3f}<extra>" + for_browser(c.label) + "</extra>",
            "showlegend": False,
        }
        for c, place in truth_marks(table)
    ]


def _room(figure: Stream, table: pd.DataFrame) -> float:
    """The room for diamonds right of the last iteration, in iterations."""
    return (table.attrs["iterations"] - table.attrs["first"]) * (0.012 + STEP * _most_marks(figure, table))


def _most_marks(figure: Stream, table: pd.DataFrame) -> int:
    """How many diamonds stand side by side."""
    if figure.mode != "line" or not table.attrs["truth_known"]:
        return 0
    return 1 + max((place for _, place in truth_marks(table)), default=-1)


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


def _marks(figure: Stream, table: pd.DataFrame, dark: bool, low: float) -> list[dict[str, Any]]:
    """The veil over what lies before iteration 1, and the rule at the commitment."""
    at, shade, out = table.attrs, ink(dark), []
    if at["random_start"] and at["first"] == 0:
        out.append(
            {
                "name": "random start",
                "type": "rect",
                "xref": "x",
                "yref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": 0,
                "y1": 1,
                "fillcolor": shade.page,
                "opacity": 0.6,
                "line": {"width": 0},
                "layer": "above",
            }
        )
    if at["commitment"] >= at["first"]:
        out.append(
            {
                "name": "commitment",
                "type": "line",
                "xref": "x",
                "yref": "paper",
                "x0": at["commitment"],
                "x1": at["commitment"],
                "y0": 0,
                "y1": 1,
                "line": {"color": shade.text, "width": 1.2, "dash": "dot"},
                "layer": "above",
            }
        )
    return out


def _notes(figure: Stream, table: pd.DataFrame, dark: bool) -> list[dict[str, Any]]:
    """Small words above the panel: the commitment, the truth."""
    at, shade = table.attrs, ink(dark)
    plain: dict[str, Any] = {"showarrow": False, "yref": "paper", "y": 1, "yanchor": "bottom"}
    plain["font"] = {"size": 11, "color": shade.muted}
    out, words = [], commitment_note(table)
    if words:
        near_end = at["commitment"] > at["first"] + 0.6 * (at["iterations"] - at["first"])
        out.append(plain | {"x": at["commitment"], "text": words, "xanchor": "right" if near_end else "left"})
    if _most_marks(figure, table):
        span = (at["iterations"] - at["first"]) * STEP
        out.append(plain | {"x": at["iterations"] + span / 2, "text": "◆ truth", "xanchor": "center"})
    if figure.mode == "area" and at["truth_known"]:
        out.append(plain | {"xref": "x3", "x": 0.5, "text": "truth", "xanchor": "center"})
    return out


def _labels(figure: Stream, table: pd.DataFrame, dark: bool, right: float) -> list[dict[str, Any]]:
    """The candidates' names on their bands, or at the right end of their lines."""
    out = []
    labels = stream_labels(figure, table)
    if figure.mode == "area":
        for label in labels:
            colour = readable_on(tint(label.slot, dark))
            out.append(_note(label, label.x, label.y, colour, "center"))
        return out
    rank = figure.mode == "rank"
    heights = [np.log10(label.y) if rank else label.y for label in labels]
    span = np.log10(np.nanmax(table["rank"]) * 1.3) if rank else 1.02
    end = table.attrs["iterations"] + _room(figure, table)
    placed = spread(heights, 0.075 * span, *((-0.05, span) if rank else (0.0, 1.02)))
    for label, y in zip(labels, placed):
        out.append(_note(label, end, y, lettering(label.slot, dark), "left"))
    return out


def _note(label: Label, x: float, y: float, colour: str, anchor: str) -> dict[str, Any]:
    return {
        "xref": "x",
        "yref": "y",
        "x": x,
        "y": y,
        "text": for_browser(label.text, 16),
        "showarrow": False,
        "xanchor": anchor,
        "yanchor": "middle",
        "font": {"size": 12, "color": colour},
    }


def tint(slot: int, dark: bool) -> str:
    """A candidate's colour; on a dark page the rest is darker, so that it stays behind."""
    return "#4a505b" if slot < 0 and dark else slot_colour(slot)


def lettering(slot: int, dark: bool) -> str:
    """A candidate's colour, moved towards the ink so that its name can be read on the page."""
    return mix(tint(slot, dark), ink(dark).text, 0.35)
