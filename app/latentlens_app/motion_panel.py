"""The motion panel on a page: closed at first; what it shows is worked out when it is opened, as a job beside the run.

Each callback is a plain function of a `Desk` and of what the page sends.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update

from latentlens.figures.kinds.convergence import QUANTITIES
from latentlens_app.cards import blank, card, downloads
from latentlens_app.desk import Desk
from latentlens_app.movement import FEW, Wanted, refusal
from latentlens_app.sides import begin, busy_with, let_go, progress
from latentlens_app.style import GRAPH, aria
from latentlens_app.views import figure_of, sentence

Told = dict[str, Any] | None
KINDS = {
    "motion": "Quantity",
    "convergence": "Every token",
    "orbits": "Orbits",
    "waterfall": "Waterfall",
    "spectrum": "Spectrum",
    "path_independence": "Other starts",
}
QUANTITY = {
    "step_norm": "Length of the step",
    "relative_step": "Step over the state's norm",
    "state_norm": "Norm of the state",
    "cosine": "Cosine to the step before",
    "angle": "Angle to the step before",
    "acceleration": "Change of the step",
    "distance_to_final": "Distance to the last state",
    "participation_ratio": "Effective dimension of all states",
}
WHO = {"token": "The chosen token", "all": "All tokens"}
COUNTS = {"1": "The last one", "4": "4, evenly spaced", "8": "8, evenly spaced", "0": "All"}
FIELDS = {
    "motion-y": ("motion",),
    "motion-who": ("motion",),
    "motion-color": ("convergence",),
    "motion-spectra": ("spectrum",),
    "motion-starts": ("path_independence",),
}
"""The controls, and the pictures that have them."""
PHONE, TALL = 560, 460
"""Pixels: a width with little room, and the height of the pictures whose axes have one scale."""


def panel() -> html.Section:
    """The card: a button that opens it, a choice of pictures, their controls, one graph."""
    graph = dcc.Graph(
        id="motion", figure=blank(), config=GRAPH, className="graph", responsive=True, style={"height": "100%"}
    )
    body = [
        dmc.SegmentedControl(
            id="motion-kind",
            data=_data(KINDS),
            value="motion",
            size="xs",
            className="wraps",
            **aria(label="Motion: which picture"),
        ),
        html.Div(_fields(), className="fields"),
        progress("motion", "the motion panel"),
        html.P(id="motion-note", className="hint notes", role="note"),
        html.Div(
            html.Div(graph, className="sheet"),
            id="motion-frame",
            className="frame motion-frame",
            role="img",
            **aria(label="Motion: not worked out yet"),
        ),
    ]
    button = html.Button(
        "Open", id="motion-open", className="pill", **aria(expanded="false", controls="motion-body", label="Motion")
    )
    beside = [html.Div(downloads("motion"), id="motion-saves", hidden=True), button]
    hint = html.P("How the states move: worked out when this is opened.", id="motion-hint", className="hint")
    return card("motion", "Motion", [hint, html.Div(body, id="motion-body", hidden=True)], beside)


def _data(words: dict[str, str]) -> list[dict[str, str]]:
    return [{"value": value, "label": word} for value, word in words.items()]


def _fields() -> list[html.Div]:
    """The controls; those of other pictures are hidden."""
    colours = {name: QUANTITY[name] for name in QUANTITIES if name in QUANTITY}
    chosen = (
        ("motion-y", "Quantity", QUANTITY, "step_norm"),
        ("motion-who", "Tokens", WHO, "token"),
        ("motion-color", "Colour", colours, "distance_to_final"),
        ("motion-spectra", "Iterations to look at", COUNTS, "4"),
    )
    fields: list[Any] = [
        dmc.Select(id=name, label=label, data=_data(words), value=value, allowDeselect=False, size="xs")
        for name, label, words, value in chosen
    ]
    starts = dmc.NumberInput(
        id="motion-starts",
        label="Initial states",
        value=FEW,
        min=2,
        step=1,
        size="xs",
        clampBehavior="none",
        debounce=400,
    )
    return [
        html.Div(field, id=f"{field.id}-box", hidden="motion" not in FIELDS[field.id]) for field in [*fields, starts]
    ]


def open_panel(clicks: int | None) -> tuple:
    """Open, or close again."""
    is_open = bool((clicks or 0) % 2)
    return not is_open, not is_open, is_open, "Close" if is_open else "Open", "true" if is_open else "false"


def fit_fields(kind: str) -> list[bool]:
    """Which controls are hidden for a picture."""
    return [kind not in kinds for kinds in FIELDS.values()]


def choose_motion(
    desk: Desk,
    clicks: int | None,
    kind: str,
    y: str,
    who: str,
    color: str,
    spectra: str,
    starts: Any,
    position: int | None,
    shown: Told,
    told: Told,
) -> tuple:
    """Show what the panel asks for, or begin to work it out; a closed panel asks for nothing."""
    if not shown or position is None or not (clicks or 0) % 2:
        let_go(desk, told)
        return no_update, no_update
    run = desk.run(shown)
    wanted = Wanted(kind, min(position, len(run.tokens) - 1), y, who == "all", color, int(spectra), starts)
    moved = {"key": shown["key"], "wanted": wanted.to_page(), "why": refusal(run, kind)}
    if moved["why"] or wanted.there(run):
        let_go(desk, told)
        return moved, no_update
    if busy_with(desk, run, wanted.to_page(), told):
        return moved, no_update
    return moved, begin(desk, run, partial(wanted.make, run), wanted.to_page(), told)


def show_motion(desk: Desk, moved: Told, look: Told, _status: Told) -> tuple:
    """The picture that was asked for, where its numbers are there; otherwise nothing, or why not."""
    if not moved or not look:
        return (no_update,) * 4
    run, wanted = desk.run(moved), Wanted(**moved["wanted"])
    if moved["why"]:
        return blank(), f"Motion: {moved['why']}", {"display": "none"}, moved["why"]
    if not wanted.there(run):
        return blank(), "Motion: not worked out yet", no_update, ""
    drawn = wanted.draw(run, look["widths"]["line"] < PHONE)
    figure = figure_of(run, drawn, look)
    tall = TALL if wanted.kind in ("orbits", "waterfall", "spectrum") else None
    height = {"height": f"{tall or figure.layout.height}px"} if tall or figure.layout.height else {}
    said = sentence(drawn.describe())
    return figure.update_layout(height=None), f"Motion: {said}", height, said


def connect(app: Dash, desk: Desk) -> None:
    """Say which events call which function."""
    opened = Input("motion-open", "n_clicks")
    app.callback(
        Output("motion-body", "hidden"),
        Output("motion-saves", "hidden"),
        Output("motion-hint", "hidden"),
        Output("motion-open", "children"),
        Output("motion-open", "aria-expanded"),
        opened,
        prevent_initial_call=True,
    )(open_panel)
    kind = Input("motion-kind", "value")
    hidden = [Output(f"{name}-box", "hidden") for name in FIELDS]
    app.callback(*hidden, kind, prevent_initial_call=True)(fit_fields)
    asked = (
        opened,
        kind,
        *(Input(name, "value") for name in FIELDS),
        Input("position", "data"),
        Input("shown", "data"),
    )
    moved, job = Output("moved", "data"), Output("motion-job", "data")
    app.callback(moved, job, *asked, State("motion-job", "data"), prevent_initial_call=True)(
        partial(choose_motion, desk)
    )
    drawn = (
        ("motion", "figure"),
        ("motion-frame", "aria-label"),
        ("motion-frame", "style"),
        ("motion-note", "children"),
    )
    now = (Input("moved", "data"), Input("look", "data"), Input("motion-finished", "data"))
    app.callback(*(Output(*one) for one in drawn), *now, prevent_initial_call=True)(partial(show_motion, desk))
    app.callback(Output("motion-finished", "data"), Input("motion-status", "data"), prevent_initial_call=True)(finished)


def finished(status: Told) -> Any:
    """The job that is done; nothing for one that goes on."""
    return status["id"] if status and status["state"] == "done" else no_update
