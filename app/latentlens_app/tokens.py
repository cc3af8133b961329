"""The token strip and the bars: texts that came from a model, as components, which escape them.

In: a run. Out: components. Knows nothing about callbacks.
"""

from __future__ import annotations

from typing import Any

from dash import html

from latentlens.figures.escape import visible
from latentlens_app.runs import Run
from latentlens_app.style import aria


def strip(run: Run, position: int) -> list[html.Button]:
    """A button a token; below each, room for what the model would answer there."""
    return [
        html.Button(
            [
                html.Span(visible(text), className="token-text"),
                html.Span(id={"type": "says", "position": index}, className="says"),
            ],
            id={"type": "token", "position": index},
            className="token chosen" if index == position else "token",
            tabIndex=0 if index == position else -1,
            title=f"Token {index + 1} of {len(run.tokens)}",
            **aria(pressed="true" if index == position else "false"),
        )
        for index, text in enumerate(run.tokens)
    ]


def bar_rows(data: dict[str, Any]) -> list[html.Div]:
    """A row a token that ever is among the leaders; the page places, hides and fills them as the playhead moves."""
    return [bar_row(row) for row in data["rows"]]


def bar_row(row: dict[str, Any]) -> html.Div:
    """One token: its text, its bar with a mark at the exact probability, and its numbers."""
    exact = row["exact"]
    known = exact is not None
    tick = [html.Span(className="tick", style={"left": f"{100 * exact}%"})] if known else []
    return html.Div(
        [
            html.Span(row["text"], className="bar-text", title=row["text"]),
            html.Span(
                [
                    html.Span(id={"type": "fill", "token": row["id"]}, className="fill"),
                    *tick,
                ],
                className="bar-track",
                style={"--colour": row["colour"]},
                **aria(hidden="true"),
            ),
            html.Span(id={"type": "chance", "token": row["id"]}, className="chance"),
            html.Span(f"exact {exact:.2f}" if known else "", className="exact"),
        ],
        id={"type": "bar", "token": row["id"]},
        className="bar",
        role="listitem",
        style={"visibility": "hidden"},
    )
