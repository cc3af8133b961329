"""What a reader marks on the map: anchors of the candidates, how the leader's logit grows, who would lead elsewhere.

Each callback is a plain function of a `Desk` and of what the page sends. Arrow and regions are of the state where the
playhead rests; they run the model, so they are made as a job and kept with the run.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html, no_update

import latentlens as ll
from latentlens_app.desk import Desk
from latentlens_app.jobs import Report
from latentlens_app.layouts import Layout, shown_layout
from latentlens_app.movement import named
from latentlens_app.runs import Run
from latentlens_app.sides import begin, busy_with, let_go
from latentlens_app.style import aria

Told = dict[str, Any] | None
WORDS = {"anchors": "Anchors", "arrow": "Arrow", "regions": "Regions"}
HELP = {
    "anchors": "the middle of the states that each candidate leads",
    "arrow": "which way the leader's logit grows, at the playhead",
    "regions": "who would lead elsewhere in this plane, at the playhead",
}
SIZE = 16
"""Points along each side of the regions: more are slow, and no clearer at this width."""


def checks() -> html.Div:
    """A box for each kind of mark."""
    boxes = [
        dmc.Checkbox(
            id=f"map-{name}",
            label=word,
            checked=False,
            size="xs",
            radius="sm",
            **aria(label=f"{word}: {HELP[name]}"),
        )
        for name, word in WORDS.items()
    ]
    group = html.Div(boxes, className="checks", role="group", **aria(label="Marks on the map"))
    return html.Div([group, html.P(id="marks-note", className="hint", role="status")])


def choose_marks(
    desk: Desk,
    anchors: bool,
    arrow: bool,
    regions: bool,
    at: int | None,
    position: int | None,
    laid: Told,
    dims: str,
    told: Told,
) -> tuple:
    """Mark what is checked, or begin to work it out; a UMAP and a frame of its own have anchors only."""
    if not laid or position is None:
        return no_update, no_update, ""
    wanted: dict[str, Any] = {"layout": laid["layout"], "anchors": anchors}
    why = _why_not(Layout(**laid["layout"]), dims) if arrow or regions or (anchors and dims == "3") else ""
    if why:
        arrow = regions = False
    if not (anchors or arrow or regions) or dims == "3":
        let_go(desk, told)
        return None, no_update, why
    run = desk.run(laid)
    first = int(shown_layout(run, laid).coords.iteration[0])
    here = (min(position, len(run.tokens) - 1), min(max(at or 0, first), run.traj.iterations))
    place = here if arrow or regions else (-1, -1)
    wanted |= {"arrow": arrow, "regions": regions, "position": place[0], "at": place[1]}
    marks = {"key": laid["key"], "wanted": wanted}
    if found_marks(run, wanted) is not None or busy_with(desk, run, wanted, told):
        return marks, no_update, why
    return marks, begin(desk, run, partial(make_marks, run, wanted), wanted, told), why


def _why_not(layout: Layout, dims: str) -> str:
    """Why arrows and regions have no place in a layout, in one line."""
    if dims == "3":
        return "Marks are drawn in two dimensions."
    if layout.method == "umap" or layout.space != "raw" or layout.center != "all":
        return "Arrow and regions need a PCA of raw states about one centre: a point of any other map is no one state."
    return ""


def make_marks(run: Run, wanted: dict[str, Any], report: Report) -> None:
    """Work out what is checked, and keep it with the run."""
    report(0.0, "mark")
    run.found.put(_key(run, wanted), ll.mark(shown_layout(run, wanted), run.traj, run.out, **options(run, wanted)))


def options(run: Run, wanted: dict[str, Any]) -> dict[str, Any]:
    """How latentlens is asked for what is checked."""
    where = {"iteration": wanted["at"], "position": wanted["position"]} if wanted["at"] >= 0 else {}
    none: dict[str, Any] = {} if wanted["anchors"] else {"tokens": []}
    size = SIZE if wanted["regions"] else None
    return {**where, **none, "arrows": int(wanted["arrow"]), "size": size, "lens": run.ask.lens}


def code(run: Run, marks: Told, laid: Told, position: int) -> list[str]:
    """The Python that makes the marks of the map that is shown; nothing where it has none."""
    if not laid or marked(run, laid, position, marks) is None:
        return []
    assert marks is not None  # marked says so
    return [f"marks = ll.mark(emb, traj, out{named(options(run, marks['wanted']))})"]


def found_marks(run: Run, wanted: dict[str, Any]) -> Any:
    """The marks that were made, or None."""
    return run.found.get(_key(run, wanted))


def marked(run: Run, laid: dict[str, Any], position: int, marks: Told) -> Any:
    """The marks of the map that is shown; None where they are of another layout, token or run."""
    if not marks or marks["key"] != laid["key"] or marks["wanted"]["layout"] != laid["layout"]:
        return None
    if marks["wanted"]["position"] not in (-1, position):
        return None
    return found_marks(run, marks["wanted"])


def finished(status: Told, marks: Told) -> Any:
    """The marks again once their job is done, so that the map is drawn with them."""
    return {**marks, "done": status["id"]} if marks and status and status["state"] == "done" else no_update


def _key(run: Run, wanted: dict[str, Any]) -> str:
    return f"marks {run.ask.lens} {run.ask.track} {wanted}"


def connect(app: Dash, desk: Desk) -> None:
    """Say which events call which function."""
    asked = (Input(f"map-{name}", "checked") for name in WORDS)
    where = (Input("rest", "data"), Input("position", "data"), Input("layout", "data"), Input("map-dims", "value"))
    out = (Output("marks", "data"), Output("marks-job", "data"), Output("marks-note", "children"))
    wires = (*out, *asked, *where, State("marks-job", "data"))
    app.callback(*wires, prevent_initial_call=True)(partial(choose_marks, desk))
    again = Output("marks", "data", allow_duplicate=True)
    app.callback(again, Input("marks-status", "data"), State("marks", "data"), prevent_initial_call=True)(finished)
