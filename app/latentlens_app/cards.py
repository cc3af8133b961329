"""The cards on the page: a title, what stands beside it, and a picture.

In: the name of a figure. Out: components; a figure's choices become its controls. Knows nothing about runs.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import dcc, html

from latentlens.figures import KINDS
from latentlens_app.style import GRAPH, aria

TITLES = {"stream": "Candidates", "map": "States", "grid": "Every token"}
OPTIONS = {"stream": ("mode",), "map": ("dims", "color"), "grid": ("color",)}
"""Which options of each figure the page offers."""
WORDS = {
    "area": "Shares",
    "line": "Lines",
    "rank": "Ranks",
    "2": "2-D",
    "3": "3-D",
    "iteration": "Iteration",
    "top": "Leader",
    "entropy": "Entropy",
    "kl_to_final": "KL to final",
    "prob": "Probability",
}
SUFFIXES = {"pdf": "the figure", "svg": "the figure", "csv": "its numbers"}
"""What can be downloaded, and what is in it."""


def card(name: str, title: str, children: list[Any], beside: list[Any] | None = None) -> html.Section:
    """A card with a title, and what stands at its right."""
    head = html.Div(
        [html.H2(title, id=f"{name}-title"), html.Div(beside or [], className="beside")], className="card-head"
    )
    return html.Section([head, *children], className=f"card {name}-card", **aria(labelledby=f"{name}-title"))


def picture(kind: str) -> html.Section:
    """A figure's card: its choices, its downloads, the graph and its text alternative."""
    graph = dcc.Graph(
        id=kind, figure=blank(), config=GRAPH, className="graph", responsive=True, style={"height": "100%"}
    )
    return card(
        kind,
        TITLES[kind],
        [
            html.Div(
                html.Div(graph, className="sheet"),
                id=f"{kind}-frame",
                className=f"frame {kind}-frame",
                role="img",
                **aria(label=f"{TITLES[kind]}: nothing has run yet"),
            )
        ],
        [*(choice(kind, option) for option in OPTIONS[kind]), downloads(kind)],
    )


def blank() -> go.Figure:
    """Nothing yet: no axes, and the card's own ground, light or dark."""
    clear, hidden = "rgba(0,0,0,0)", {"visible": False}
    return go.Figure(layout={"paper_bgcolor": clear, "plot_bgcolor": clear, "xaxis": hidden, "yaxis": hidden})


def choice(kind: str, option: str) -> dmc.SegmentedControl:
    """An option of a figure, as the figure itself describes it."""
    field = next(field for field in fields(KINDS[kind]) if field.name == option)
    values = [str(value) for value in field.metadata["choices"]]
    return dmc.SegmentedControl(
        id=f"{kind}-{option}",
        data=[{"value": value, "label": WORDS.get(value, value)} for value in values],
        value=str(field.default),
        size="xs",
        **aria(label=f"{TITLES[kind]}: {field.metadata['help']}"),
    )


def downloads(kind: str) -> html.Div:
    """What saves a figure for paper, or its numbers."""
    buttons = [
        html.Button(
            suffix.upper(),
            id={"type": "save", "kind": kind, "suffix": suffix},
            className="save",
            title=f"Download {what} as {suffix.upper()}",
            **aria(label=f"Download {TITLES[kind]}, {what}, as {suffix.upper()}"),
        )
        for suffix, what in SUFFIXES.items()
    ]
    return html.Div(buttons, className="saves", role="group", **aria(label=f"Download {TITLES[kind]}"))
