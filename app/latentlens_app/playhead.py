"""What the page does by itself, without asking the server: playhead, play, clicks, keys, and what a tab remembers.

In: an app. Out: its client-side callbacks, wired to the functions of `assets/page.js`.
"""

from __future__ import annotations

from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State

from latentlens_app.sides import SIDES


def connect(app: Dash) -> None:
    """Say which events call which function of the page."""

    def on(function: str, *wires: Any, **options: Any) -> None:
        app.clientside_callback(ClientsideFunction("latentlens", function), *wires, **options)

    at, live, position = Input("at", "value"), Input("live", "data"), Input("position", "data")
    on("open", Output("saved", "data"), Input("loaded", "data"))
    on("look", Output("look", "data"), Input("loaded", "data"))
    on("remember", Input("shown", "data"), Input("job", "data"), position, at)
    _connect_status(on)
    for side in SIDES:
        _connect_side(on, side)
    _connect_model(on)
    _connect_play(on)
    chosen = (Output("position", "data", allow_duplicate=True), Output("at", "value", allow_duplicate=True))
    tokens = Input({"type": "token", "position": ALL}, "n_clicks")
    clicks = (tokens, *(Input(kind, "clickData") for kind in ("grid", "stream", "line")))
    on("choose", *chosen, *clicks, prevent_initial_call=True)
    figures = tuple(Input(kind, "figure") for kind in ("stream", "map", "grid", "line", "motion"))
    on("mark", at, position, live, Input("coords", "data"), *figures)
    on("say", Output({"type": "says", "position": ALL}, "children"), at, live, Input("strip", "children"))
    on("press", *(Output({"type": "token", "position": ALL}, name) for name in PRESSED), position, live)
    bar = tuple(Output({"type": kind, "token": ALL}, name) for kind, name in BARS)
    on("fill", *bar, at, Input("bars-data", "data"))
    told = tuple(Output(name, "children") for name in ("now-iteration", "now-where", "now-bits", "leader"))
    on("tell", *told, at, position, live)
    on("announce", Output("announce", "children"), Input("leader", "children"), Input("playing", "data"))


PRESSED = ("className", "aria-pressed", "tabIndex")
BARS = (("bar", "style"), ("fill", "style"), ("chance", "children"))


def _connect_status(on: Any) -> None:
    """How far the run is, and what went wrong."""
    on(
        "status",
        Output("progress", "value"),
        Output("progress-text", "children"),
        Output("progress-box", "className"),
        Output("run", "disabled"),
        Output("cancel", "disabled"),
        Output("error", "children"),
        Output("error", "hide"),
        Input("status", "data"),
    )


def _connect_side(on: Any, side: str) -> None:
    """How far the work beside a run is."""
    names = (f"{side}-progress", f"{side}-text", f"{side}-side", f"{side}-cancel")
    what = ("value", "children", "className", "disabled")
    on("side", *(Output(name, prop) for name, prop in zip(names, what)), Input(f"{side}-status", "data"))


def _connect_model(on: Any) -> None:
    """What the model is, and the controls that depend on it."""
    lens = Input("lens", "value")
    on("lenses", Output("lens", "data"), Output("lens-file-box", "hidden"), lens, Input("model-data", "data"))
    on("describe", Output("about", "children"), Input("model", "value"), Input("model-data", "data"))
    on(
        "fit",
        Output("iterations", "value", allow_duplicate=True),
        Output("iterations", "disabled"),
        Output("prompt", "description"),
        Output("examples", "hidden"),
        Input("model", "value"),
        Input("model-data", "data"),
        State("iterations", "value"),
        prevent_initial_call=True,
    )


def _connect_play(on: Any) -> None:
    """Play, pause, and the clock between."""
    playing = Output("playing", "data", allow_duplicate=True)
    start = Output("at", "value", allow_duplicate=True)
    here = (State("playing", "data"), State("at", "value"), State("at", "max"))
    on("toggle", playing, start, Input("play", "n_clicks"), *here, prevent_initial_call=True)
    on("tick", playing, start, Input("clock", "n_intervals"), *here, prevent_initial_call=True)
    shown = (Output("clock", "disabled"), Output("play", "className"), Output("play", "aria-label"))
    on("play", *shown, Input("playing", "data"))
