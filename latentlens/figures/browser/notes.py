"""What is written on a plotly stream: the candidates' names, the commitment, the veil over a random start."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from latentlens.figures.browser.page import ink, lettering, tint
from latentlens.figures.browser.truth import STEP, most_marks, truth_room
from latentlens.figures.escape import for_browser
from latentlens.figures.kinds.labels import Label, spread
from latentlens.figures.kinds.stream import Stream, commitment_note
from latentlens.figures.style import readable_on


def marks(table: pd.DataFrame, dark: bool) -> list[dict[str, Any]]:
    """The veil over what lies before iteration 1, and the rule at the commitment."""
    at, shade = table.attrs, ink(dark)
    whole: dict[str, Any] = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1, "layer": "above"}
    out = []
    if at["random_start"] and at["first"] == 0:
        veil = {"type": "rect", "x0": 0, "x1": 1, "fillcolor": shade.page, "opacity": 0.6, "line": {"width": 0}}
        out.append({"name": "random start", **whole, **veil})
    if at["commitment"] >= at["first"]:
        rule = {"type": "line", "x0": at["commitment"], "x1": at["commitment"]}
        out.append({"name": "commitment", **whole, **rule, "line": {"color": shade.text, "width": 1.2, "dash": "dot"}})
    return out


def notes(figure: Stream, table: pd.DataFrame, dark: bool) -> list[dict[str, Any]]:
    """Small words above the panel: the commitment, the truth."""
    at, shade = table.attrs, ink(dark)
    plain: dict[str, Any] = {"showarrow": False, "yref": "paper", "y": 1, "yanchor": "bottom"}
    plain["font"] = {"size": 11, "color": shade.muted}
    out, words = [], commitment_note(table)
    if words:
        near_end = at["commitment"] > at["first"] + 0.6 * (at["iterations"] - at["first"])
        out.append(plain | {"x": at["commitment"], "text": words, "xanchor": "right" if near_end else "left"})
    if most_marks(figure, table):
        span = (at["iterations"] - at["first"]) * STEP
        out.append(plain | {"x": at["iterations"] + span / 2, "text": "◆ truth", "xanchor": "center"})
    if figure.mode == "area" and at["truth_known"]:
        out.append(plain | {"xref": "x3", "x": 0.5, "text": "truth", "xanchor": "center"})
    return out


def names(figure: Stream, table: pd.DataFrame, labels: list[Label], dark: bool) -> list[dict[str, Any]]:
    """The candidates' names on their bands, or at the right end of their lines."""
    out = []
    if figure.mode == "area":
        for label in labels:
            colour = readable_on(tint(label.slot, dark))
            out.append(_note(label, label.x, label.y, colour, "center"))
        return out
    rank = figure.mode == "rank"
    heights = [np.log10(label.y) if rank else label.y for label in labels]
    span = np.log10(np.nanmax(table["rank"]) * 1.3) if rank else 1.02
    end = table.attrs["iterations"] + truth_room(figure, table)
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
