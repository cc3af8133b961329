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

TITLES = {"stream": "Candidates", "map": "States", "grid": "Every token", "line": "One statistic", "motion": "Motion"}
OPTIONS = {"stream": ("mode",), "map": ("dims", "color"), "grid": ("color",), "line": ("y",)}
"""Which options of each figure the page offers."""
WORDS = {
    "area": "Shares",
    "line": "Lines",
    "rank": "Ranks",
    "2": "2-D",
    "3": "3-D",
    "iteration": "Iteration",
    "top": "Leader",
}
STATISTICS = {
    "entropy": "Entropy",
    "kl_to_final": "KL to the final",
    "missing_bits": "KL from the final",
    "kl_step": "KL from the iteration before",
    "kl_step_back": "KL to the iteration before",
    "js_to_final": "Jensen-Shannon to the final",
    "total_variation": "Total variation to the final",
    "agreement": "Agreement with the final",
    "prob": "Probability",
    "top_prob": "Probability of the leader",
    "other_prob": "Probability of all others",
    "margin": "Margin of the leader",
    "rank": "Rank",
    "surprisal": "Surprisal",
    "nucleus_size": "Tokens that hold 0.9",
    "truth_bits": "KL from the exact answer",
    "exit_pdf": "Exit probability",
    "exit_cdf": "Exit probability, summed",
}
"""What a reader may draw, by the name in a readout; a figure offers those that it can draw of a run."""
FIRST = {"grid": ("entropy", "kl_to_final", "prob"), "line": ("entropy",)}
"""What is offered before anything has run."""
SUFFIXES = {"pdf": "the figure", "svg": "the figure", "csv": "its numbers"}
"""What can be downloaded, and what is in it."""


def card(name: str, title: str, children: list[Any], beside: list[Any] | None = None) -> html.Section:
    """A card with a title, and what stands at its right."""
    head = html.Div(
        [html.H2(title, id=f"{name}-title"), html.Div(beside or [], className="beside")], className="card-head"
    )
    return html.Section([head, *children], className=f"card {name}-card", **aria(labelledby=f"{name}-title"))


def picture(kind: str, above: Any = (), below: Any = (), beside: Any = ()) -> html.Section:
    """A figure's card: its choices, its downloads, what stands around it, the graph and its text alternative."""
    graph = dcc.Graph(
        id=kind, figure=blank(), config=GRAPH, className="graph", responsive=True, style={"height": "100%"}
    )
    return card(
        kind,
        TITLES[kind],
        [
            *above,
            html.Div(
                html.Div(graph, className="sheet"),
                id=f"{kind}-frame",
                className=f"frame {kind}-frame",
                role="img",
                **aria(label=f"{TITLES[kind]}: nothing has run yet"),
            ),
            *below,
        ],
        [*beside, *(choice(kind, option) for option in OPTIONS[kind]), downloads(kind)],
    )


def blank() -> go.Figure:
    """Nothing yet: no axes, and the card's own ground, light or dark."""
    clear, hidden = "rgba(0,0,0,0)", {"visible": False}
    return go.Figure(layout={"paper_bgcolor": clear, "plot_bgcolor": clear, "xaxis": hidden, "yaxis": hidden})


def statistics(names: Any) -> list[dict[str, str]]:
    """Choices of a statistic, as a picker takes them."""
    return [{"value": name, "label": STATISTICS[name]} for name in names]


def choice(kind: str, option: str) -> dmc.SegmentedControl | dmc.Select:
    """An option of a figure, as the figure itself describes it."""
    field = next(field for field in fields(KINDS[kind]) if field.name == option)
    if kind in FIRST:
        return dmc.Select(
            id=f"{kind}-{option}",
            data=statistics(FIRST[kind]),
            value=str(field.default),
            allowDeselect=False,
            size="xs",
            w=210,
            comboboxProps={"width": 230, "position": "bottom-end"},
            maxDropdownHeight=420,
            **aria(label=f"{TITLES[kind]}: {field.metadata['help']}"),
        )
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
