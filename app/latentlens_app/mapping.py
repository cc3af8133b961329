"""The map on a page: which layout it shows, its frame, its trust line, and where the playhead goes on it.

Each callback is a plain function of a `Desk` and of what the page sends. A layout that is not there yet is made as a
job; the map shows the one before until it is there.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import Dash, Input, Output, State, html, no_update

import latentlens as ll
from latentlens.figures.base import Drawing
from latentlens_app.cards import TITLES
from latentlens_app.desk import Desk
from latentlens_app.layouts import Layout, lay_out, layout_of, shown_layout
from latentlens_app.marking import marked
from latentlens_app.runs import Run
from latentlens_app.sides import begin, busy_with, let_go, progress
from latentlens_app.style import aria
from latentlens_app.views import figure_of, plain

Told = dict[str, Any] | None
CHOICES = ("map-method", "map-dims", "map-space", "map-center", "map-fit", "map-start")


def method() -> dmc.SegmentedControl:
    """Principal components, or a UMAP."""
    return dmc.SegmentedControl(
        id="map-method",
        data=[{"value": "pca", "label": "PCA"}, {"value": "umap", "label": "UMAP"}],
        value="pca",
        size="xs",
        **aria(label="States: how they are laid out"),
    )


def frame() -> html.Details:
    """What the frame of the map is made of."""
    fields = [
        _select("map-space", "States", {"raw": "Raw", "norm": "After the last norm"}),
        _select("map-center", "Centre", {"all": "One for all tokens", "token": "Each token's own mean"}),
        _select("map-fit", "Frame made of", {"all": "All tokens", "token": "The chosen token"}),
        dmc.Checkbox(id="map-start", label="Leave out the start", checked=False, size="xs", radius="sm"),
    ]
    return html.Details([html.Summary("Frame"), html.Div(fields, className="fields")], className="more")


def _select(name: str, label: str, words: dict[str, str]) -> dmc.Select:
    data = [{"value": value, "label": word} for value, word in words.items()]
    return dmc.Select(id=name, label=label, data=data, value=data[0]["value"], allowDeselect=False, size="xs")


def below() -> list[Any]:
    """What stands below the map: how far a layout is, and how far to trust the one that is shown."""
    return [
        progress("layout", "the layout"),
        progress("marks", "the marks"),
        html.Div(id="map-notes", className="hint notes"),
    ]


def choose_layout(desk: Desk, *sent: Any) -> tuple:
    """Show the layout that the controls say, or begin to make it; a new run starts from its first components."""
    *values, shown, laid, told = sent
    if not shown:
        return no_update, no_update
    run, wanted = desk.run(shown), Layout.chosen(*values)
    if layout_of(run, wanted) is not None:
        let_go(desk, told)
        found = {"key": shown["key"], "layout": wanted.to_page()}
        return no_update if found == laid else found, no_update
    fresh = laid is None or laid["key"] != shown["key"]
    first = {"key": shown["key"], "layout": Layout().to_page()} if fresh else no_update
    if busy_with(desk, run, wanted.to_page(), told):
        return first, no_update
    return first, begin(desk, run, partial(lay_out, run, wanted), wanted.to_page(), told)


def take_layout(desk: Desk, status: Told, told: Told, shown: Told) -> Any:
    """The layout that was made, where the page still shows its states."""
    if not status or not told or not shown or (status["id"], status["state"]) != (told["id"], "done"):
        return no_update
    if desk.run(shown).ask.states_key != told["states"]:
        return no_update
    return {"key": shown["key"], "layout": told["wanted"]}


def go_back(desk: Desk, status: Told, told: Told, laid: Told, dims: str) -> tuple:
    """Where a layout was cancelled or failed, the controls say what is shown again; once, lest a later choice go."""
    ended = status and told and status["id"] == told["id"] and status["state"] in ("cancelled", "failed")
    job = desk.job(told)
    if not ended or not laid or (job is not None and not job.first_heard()):
        return (no_update,) * len(CHOICES)
    now = Layout(**laid["layout"])
    fit = "all" if now.position is None else "token"
    return now.method, dims if now.dims is None else str(now.dims), now.space, now.center, fit, not now.start


def show_map(
    desk: Desk, position: int | None, look: Told, dims: str, color: str, laid: Told, marks: Told = None
) -> tuple:
    """The paths of all tokens, the chosen one strongly; how far to trust them stands below as text."""
    if not laid or not look or position is None:
        return (no_update,) * 3
    run = desk.run(laid)
    drawn = map_of(run, laid, position, dims, color, marks)
    notes = [html.P(note) for note in drawn.table().attrs["notes"]]
    return figure_of(run, drawn, look), f"{TITLES['map']}: {drawn.describe()}", notes


def map_of(run: Run, laid: dict[str, Any], position: int, dims: str, color: str, marks: Told = None) -> Drawing:
    """The map as it is shown: a layout of two dimensions is not drawn in three, and marks are for two."""
    emb = shown_layout(run, laid)
    most = max(min(int(dims), emb.coords.sizes["component"]), 2)
    found = marked(run, laid, position, marks) if most == 2 else None
    options = {"dims": most, "color": color, "strong": position}
    return ll.figures.map(emb, run.out, found, **options)


def show_coords(desk: Desk, laid: Told) -> Any:
    """Where the states of every token lie in the layout that is shown; None where one was left out."""
    if not laid:
        return no_update
    run = desk.run(laid)
    coords = shown_layout(run, laid).coords.isel(prompt=0).reindex(iteration=np.arange(run.traj.iterations + 1))
    return plain(coords.transpose("iteration", "position", "component").values)


def connect(app: Dash, desk: Desk) -> None:
    """Say which events call which function."""

    def on(function: Any, *wires: Any, **options: Any) -> None:
        app.callback(*wires, **options)(partial(function, desk))

    job, laid = Output("layout-job", "data"), Output("layout", "data")
    values = [Input(name, "checked" if name == "map-start" else "value") for name in CHOICES]
    kept = (State("layout", "data"), State("layout-job", "data"))
    on(choose_layout, laid, job, *values, Input("position", "data"), Input("shown", "data"), *kept)
    now = (Input("layout-status", "data"), State("layout-job", "data"))
    again = Output("layout", "data", allow_duplicate=True)
    on(take_layout, again, *now, State("shown", "data"), prevent_initial_call=True)
    back = [Output(wire.component_id, wire.component_property, allow_duplicate=True) for wire in values]
    state = (State("layout", "data"), State("map-dims", "value"))
    on(go_back, *back, *now, *state, prevent_initial_call=True)
    look = (Input("look", "data"), Input("map-dims", "value"), Input("map-color", "value"))
    drawn = (Output("map", "figure"), Output("map-frame", "aria-label"), Output("map-notes", "children"))
    on(show_map, *drawn, Input("position", "data"), *look, Input("layout", "data"), Input("marks", "data"))
    on(show_coords, Output("coords", "data"), Input("layout", "data"))
