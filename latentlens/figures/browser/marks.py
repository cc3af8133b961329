"""Draw the candidates of a map with plotly: shades below, crosses and arrows above."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentlens.figures.browser.page import ink, lettering, tint
from latentlens.figures.escape import apart, for_browser
from latentlens.figures.kinds.marks import Marks

SHADE = 0.2


def shades(marks: Marks, dark: bool) -> list[dict[str, Any]]:
    """Who would lead, as one faint colour a token, with a thin line where the leader changes."""
    if marks.regions is None:
        return []
    count, where = len(marks.leaders), {"x": marks.x, "y": marks.y}
    steps = [n / count for n in range(count + 1)]
    scale = [[at, tint(int(slot), dark)] for slot, *ends in zip(marks.leaders.slot, steps, steps[1:]) for at in ends]
    names = np.array([for_browser(str(text)) for text in marks.leaders.text], dtype=object)
    area = {
        "type": "heatmap",
        "name": "regions",
        **where,
        "z": marks.regions,
        "zmin": -0.5,
        "zmax": count - 0.5,
        "colorscale": scale,
        "opacity": SHADE,
        "showscale": False,
        "text": names[marks.regions],
        "hovertemplate": "%{text} would lead here<extra></extra>",
    }
    return [area, *(_border(marks.regions == leader, where, ink(dark).muted) for leader in range(1, count))]


def _border(inside: np.ndarray, where: dict[str, Any], colour: str) -> dict[str, Any]:
    return {
        "type": "contour",
        "name": "border",
        **where,
        "z": inside.astype(float),
        "contours": {"coloring": "none", "start": 0.5, "end": 0.5, "size": 1},
        "line": {"color": colour, "width": 0.8},
        "showscale": False,
        "showlegend": False,
        "hoverinfo": "skip",
    }


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
            "text": [for_browser(apart(str(text))) for text in rows.text],
            "textposition": rows.side.tolist(),
            "textfont": {"size": 12, "color": colours},
            "marker": {"symbol": "x-thin", "size": 10, "line": {"width": 2.4, "color": colours}},
            "customdata": rows.states.to_numpy(),
            "hovertemplate": "%{text} leads %{customdata} states; this is their centre<extra></extra>",
            "showlegend": False,
        }
    ]


def arrows(marks: Marks, dark: bool) -> list[dict[str, Any]]:
    """Which way each logit grows, as annotations with the token's name at the tip."""
    same = {"xref": "x", "yref": "y", "axref": "x", "ayref": "y"}
    found: list[dict[str, Any]] = []
    for row in marks.arrows.to_dict("records"):
        colour, left = lettering(int(row["slot"]), dark), row["dx"] < 0
        tip = {"x": row["x"] + row["dx"], "y": row["y"] + row["dy"]}
        head = {"arrowhead": 2, "arrowsize": 1.1, "arrowwidth": 2.2, "arrowcolor": colour}
        found.append(
            {"name": "arrow", "text": "", "showarrow": True, "ax": row["x"], "ay": row["y"], **same, **tip, **head}
        )
        place = {"xanchor": "right" if left else "left", "yanchor": "bottom", "xshift": -4 if left else 4}
        hover = {"hovertext": for_browser(f"the logit of {row['text']} grows by {row['slope']:.2g} per unit")}
        words = {
            "text": for_browser(apart(str(row["text"]))),
            "showarrow": False,
            "font": {"size": 12, "color": colour},
        }
        found.append({"name": "arrow-name", "xref": "x", "yref": "y", **tip, **place, **words, **hover})
    return found
