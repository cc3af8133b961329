"""Draw the candidates of a map with plotly: shades below, crosses and arrows above."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentlens.figures.browser.page import ink, lettering, tint
from latentlens.figures.escape import for_browser
from latentlens.figures.kinds.marks import Marks

SHADE = 0.2


def shades(marks: Marks, dark: bool) -> list[dict[str, Any]]:
    """Who would lead, as one faint colour a token."""
    if marks.slots is None:
        return []
    kinds, inverse = np.unique(marks.slots, return_inverse=True)
    steps = [n / len(kinds) for n in range(len(kinds) + 1)]
    scale = [[at, tint(int(slot), dark)] for slot, *ends in zip(kinds, steps, steps[1:]) for at in ends]
    return [
        {
            "type": "heatmap",
            "name": "regions",
            "x": marks.x,
            "y": marks.y,
            "z": inverse.reshape(marks.slots.shape),
            "zmin": -0.5,
            "zmax": len(kinds) - 0.5,
            "colorscale": scale,
            "opacity": SHADE,
            "showscale": False,
            "hoverinfo": "skip",
        }
    ]


def anchors(marks: Marks, dark: bool) -> list[dict[str, Any]]:
    """A cross and a name for each candidate."""
    rows, colours = marks.anchors, [lettering(int(slot), dark) for slot in marks.anchors.slot]
    return [
        {
            "type": "scatter",
            "name": "anchors",
            "mode": "markers+text",
            "x": rows.x.to_numpy(),
            "y": rows.y.to_numpy(),
            "text": [for_browser(str(text)) for text in rows.text],
            "textposition": "top right",
            "textfont": {"size": 12, "color": colours},
            "marker": {"symbol": "x-thin", "size": 10, "line": {"width": 2.4, "color": colours}},
            "customdata": rows.states.to_numpy(),
            "hovertemplate": "%{text} leads %{customdata} states; this is their centre<extra></extra>",
            "showlegend": False,
        }
    ]


def arrows(marks: Marks, dark: bool) -> list[dict[str, Any]]:
    """Which way each logit grows, as annotations."""
    same = {"xref": "x", "yref": "y", "axref": "x", "ayref": "y", "showarrow": True, "text": ""}
    return [
        same
        | {
            "name": "arrow",
            "ax": row["x"],
            "ay": row["y"],
            "x": row["x"] + row["dx"],
            "y": row["y"] + row["dy"],
            "arrowhead": 2,
            "arrowsize": 1.1,
            "arrowwidth": 2.2,
            "arrowcolor": lettering(int(row["slot"]), dark),
            "hovertext": for_browser(f"the logit of {row['text']} grows by {row['slope']:.2g} per unit"),
            "bordercolor": ink(dark).page,
        }
        for row in marks.arrows.to_dict("records")
    ]
