"""The exact answer beside a plotly stream: a bar of its shares, or diamonds at its heights."""

from __future__ import annotations

from typing import Any

import pandas as pd

from latentlens.figures.browser.page import ink, tint
from latentlens.figures.escape import for_browser
from latentlens.figures.kinds.stream import Stream, candidates, truth_marks

STEP = 0.022
"""The room of a diamond, as a share of the panel."""


def truth_bar(table: pd.DataFrame, dark: bool) -> list[dict[str, Any]]:
    """A bar a candidate, one on another in the order of the bands, on (x3, y)."""
    out: list[dict[str, Any]] = []
    below = 0.0
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
                "base": [below],
                "xaxis": "x3",
                "yaxis": "y",
                "marker": {"color": tint(c.slot, dark), "line": {"color": ink(dark).page, "width": 1}},
                "hovertemplate": "truth %{y:.3f}<extra>" + for_browser(c.label) + "</extra>",
                "showlegend": False,
            }
        )
        below += c.truth
    return out


def truth_diamonds(table: pd.DataFrame, dark: bool) -> list[dict[str, Any]]:
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


def truth_room(figure: Stream, table: pd.DataFrame) -> float:
    """The room for diamonds right of the last iteration, in iterations."""
    return (table.attrs["iterations"] - table.attrs["first"]) * (0.012 + STEP * most_marks(figure, table))


def most_marks(figure: Stream, table: pd.DataFrame) -> int:
    """How many diamonds stand side by side."""
    if figure.mode != "line" or not table.attrs["truth_known"]:
        return 0
    return 1 + max((place for _, place in truth_marks(table)), default=-1)
