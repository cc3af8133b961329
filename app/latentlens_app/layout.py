"""The page: header, controls, token strip, pictures, and the dock with the playhead.

In: what a page opens with. Out: a tree of components. Knows nothing about runs or callbacks.
"""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from latentlens_app import mapping, marking, motion_panel, sides
from latentlens_app.asking import ITERATIONS
from latentlens_app.cards import card, picture
from latentlens_app.controls import controls
from latentlens_app.style import THEME, aria


def page(model: str, prompt: str) -> dmc.MantineProvider:
    """The whole page, before anything has run."""
    return dmc.MantineProvider(
        [
            *_stores(),
            html.A("Skip to the playhead", href="#dock", className="skip"),
            _header(),
            html.Div([controls(model, prompt), _main()], className="shell"),
            _dock(),
        ],
        theme=THEME,
        defaultColorScheme="auto",
    )


def _stores() -> list[Any]:
    """What the page remembers, and its two clocks."""
    return [
        dcc.Store(id="loaded", data=True),  # set once, so that what must happen first can wait for it
        dcc.Store(id="saved"),  # what this tab showed before it was reloaded
        dcc.Store(id="look"),  # light or dark, and how wide the pictures are
        dcc.Store(id="job"),
        dcc.Store(id="status"),
        dcc.Store(id="model-data"),  # what is known about the model that was loaded last
        dcc.Store(id="shown"),  # the run that is on the page
        dcc.Store(id="live"),  # what the playhead needs of it
        dcc.Store(id="layout"),  # how the states on the map are laid out
        dcc.Store(id="coords"),  # and where each then lies
        dcc.Store(id="moved"),  # what the motion panel shows
        dcc.Store(id="motion-finished"),
        dcc.Store(id="marks"),  # what is marked on the map
        dcc.Store(id="rest"),  # where the playhead stays for a while
        dcc.Store(id="position"),
        *(part for side in sides.SIDES for part in sides.stores(side)),
        dcc.Store(id="bars-data"),
        dcc.Store(id="playing"),
        dcc.Download(id="file"),
        dcc.Interval(id="poll", interval=250, disabled=True),
        dcc.Interval(id="clock", interval=420, disabled=True),
    ]


def _header() -> html.Header:
    return html.Header(
        [
            html.Div(
                [
                    html.Span(className="mark", **aria(hidden="true")),
                    html.H1("latentlens"),
                    html.P("watch a recurrent-depth model think"),
                ],
                className="brand",
            ),
            html.Div(
                [
                    html.A("Python", href="#python-title", className="link"),
                    dmc.ColorSchemeToggle(
                        id="scheme",
                        lightIcon=html.Span(className="icon sun"),
                        darkIcon=html.Span(className="icon moon"),
                        variant="default",
                        size="md",
                        **aria(label="Light or dark"),
                    ),
                ],
                className="actions",
            ),
        ],
        className="top",
    )


def _main() -> html.Main:
    return html.Main(
        [
            dmc.Alert(
                id="error",
                title="That did not work",
                color="red",
                hide=True,
                withCloseButton=True,
                closeButtonLabel="Close",
            ),
            html.Section(
                [
                    html.Div(
                        [
                            html.H2("Tokens", id="strip-title"),
                            html.P(
                                "below each, what the model would answer there; ↑ ↓ walk along them", className="hint"
                            ),
                        ],
                        className="card-head",
                    ),
                    html.Div(id="strip", className="strip", role="group", **aria(labelledby="strip-title")),
                ],
                className="card strip-card",
            ),
            html.Div([picture("stream", (_followed(),)), _now()], className="row first"),
            html.Div(
                [
                    picture("map", (mapping.frame(), marking.checks()), mapping.below(), (mapping.method(),)),
                    picture("grid"),
                ],
                className="row second",
            ),
            picture("line"),
            motion_panel.panel(),
            _python(),
        ],
        id="main",
    )


def _followed() -> html.Div:
    """The list of candidates, to read and to edit."""
    return html.Div(
        [
            dmc.TagsInput(
                id="track",
                value=[],
                data=["next"],
                splitChars=[],
                placeholder="add: Bob, next, name = Bob, Gus",
                size="xs",
                comboboxProps={"position": "bottom-start"},
                **aria(label="Candidates to follow"),
            ),
            html.Button(
                "Leaders", id="leaders", className="pill", disabled=True, title="Follow whatever leads at an iteration"
            ),
        ],
        className="followed",
    )


def _now() -> html.Section:
    """The candidates at the playhead, as bars."""
    return card(
        "now",
        "At the playhead",
        [
            html.Div(
                [html.Span(id="now-iteration", className="number"), html.Span(id="now-where", className="where")],
                className="now-head",
            ),
            html.Div(id="bars", className="bars", role="list", **aria(label="Candidates at the playhead")),
            html.P(id="now-bits", className="hint"),
        ],
    )


def _dock() -> html.Section:
    return html.Section(
        [
            html.Button(
                html.Span(className="glyph", **aria(hidden="true")),
                id="play",
                className="play",
                **aria(label="Play", keyshortcuts="Space"),
            ),
            html.Div(
                dmc.Slider(
                    id="at",
                    min=0,
                    max=ITERATIONS,
                    step=1,
                    value=ITERATIONS,
                    updatemode="drag",
                    thumbLabel="Iteration",
                    label=None,
                    marks=[],
                    size=6,
                    thumbSize=20,
                ),
                className="track",
            ),
            html.P(id="leader", className="leader"),
            html.P(id="announce", className="hidden", **aria(live="polite")),
            html.P(
                [html.Kbd("←"), html.Kbd("→"), " iteration ", html.Kbd("space"), " play"],
                className="keys",
            ),
        ],
        id="dock",
        className="dock",
        tabIndex=-1,
        **aria(label="Playhead"),
    )


def _python() -> html.Section:
    """The code that makes the same view, to take away."""
    copy = dmc.CopyButton(
        id="copy", value="", children="Copy", copiedChildren="Copied", variant="default", size="compact-xs"
    )
    return card("python", "The same in Python", [html.Pre(html.Code(id="python"))], [copy])
