"""The figures on a page: drawn when a run, a token or a choice changes, and saved to files.

Each callback is a plain function of a `Desk` and of what the page sends. The playhead is not drawn here: the page
moves it by itself.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, no_update

from latentlens.figures.base import Drawing
from latentlens_app.cards import OPTIONS, STATISTICS, TITLES, blank, statistics
from latentlens_app.desk import Desk
from latentlens_app.mapping import map_of
from latentlens_app.movement import Wanted
from latentlens_app.tokens import bar_rows
from latentlens_app.views import bars, drawing, figure_of, has_numbers, offered

Told = dict[str, Any] | None


def show_stream(desk: Desk, position: int | None, look: Told, mode: str, shown: Told) -> tuple:
    """The stream of the chosen token."""
    if not shown or not look or position is None:
        return (no_update,) * 2
    run = desk.run(shown)
    drawn = drawing(run, "stream", position, {"mode": mode})
    return figure_of(run, drawn, look), alternative("stream", drawn)


def show_bars(desk: Desk, position: int | None, shown: Told) -> tuple:
    """The bars of the chosen token."""
    if not shown or position is None:
        return (no_update,) * 3
    run = desk.run(shown)
    data = bars(run, position)
    return bar_rows(data), data, {"--rows": data["height"]}


def show_grid(desk: Desk, shown: Told, look: Told, color: str) -> tuple:
    """Every token at every iteration, in a frame as high as its rows."""
    if not shown or not look:
        return (no_update,) * 3
    run = desk.run(shown)
    if color not in offered(run)["grid"]:  # of the run before: `offer` is about to choose another
        return (no_update,) * 3
    drawn = drawing(run, "grid", -1, {"color": color})
    figure = figure_of(run, drawn, look)
    return figure, alternative("grid", drawn), {"height": f"{figure.layout.height}px"}


def show_line(desk: Desk, position: int | None, look: Told, name: str, shown: Told) -> tuple:
    """One statistic of the chosen token over the iterations."""
    if not shown or not look or position is None:
        return (no_update,) * 2
    run = desk.run(shown)
    if name not in offered(run)["line"]:
        return (no_update,) * 2
    if not has_numbers(run, name, position):
        return blank(), f"{TITLES['line']}: {STATISTICS[name]} has no number at this token"
    drawn = drawing(run, "line", position, {"y": name})
    return figure_of(run, drawn, look), alternative("line", drawn)


def offer(desk: Desk, shown: Told, color: str, name: str) -> tuple:
    """The statistics that a run can be drawn by; entropy where it has not what was chosen."""
    if not shown:
        return (no_update,) * 4
    known = offered(desk.run(shown))
    chosen = ("entropy" if value not in known[kind] else no_update for kind, value in (("grid", color), ("line", name)))
    return statistics(known["grid"]), statistics(known["line"]), *chosen


def save(
    desk: Desk,
    clicks: list[int | None],
    shown: Told,
    position: int | None,
    laid: Told,
    marks: Told,
    moved: Told,
    *choices: str,
) -> Any:
    """Send the figure, or its numbers, that the menu was asked for."""
    if not any(clicks) or not ctx.triggered_id or not shown:
        return no_update
    kind, suffix = ctx.triggered_id["kind"], ctx.triggered_id["suffix"]
    if kind == "map" and laid:
        return sent(map_of(desk.run(laid), laid, position or 0, choices[0], choices[2], marks), suffix)
    if kind == "motion":
        return save_motion(desk, moved, suffix)
    return file_of(desk, shown, kind, suffix, position or 0, options_of(kind, *choices))


def save_motion(desk: Desk, moved: Told, suffix: str) -> Any:
    """Send what the motion panel shows; nothing while it shows nothing."""
    if not moved or moved["why"]:
        return no_update
    run, wanted = desk.run(moved), Wanted(**moved["wanted"])
    return sent(wanted.draw(run), suffix) if wanted.there(run) else no_update


def options_of(kind: str, dims: str, mode: str, map_color: str, grid_color: str, line_y: str) -> dict[str, Any]:
    """The options of one figure, from the choices of all."""
    options: dict[str, dict[str, Any]] = {
        "stream": {"mode": mode},
        "map": {"dims": int(dims), "color": map_color},
        "grid": {"color": grid_color},
        "line": {"y": line_y},
    }
    return options[kind]


def file_of(desk: Desk, shown: dict[str, Any], kind: str, suffix: str, position: int, options: dict[str, Any]) -> Any:
    """A figure as PDF or SVG, or its table as CSV, ready to download."""
    return sent(drawing(desk.run(shown), kind, position, options), suffix)


def sent(drawn: Drawing, suffix: str) -> Any:
    """What was drawn, as a file to download."""
    name = f"latentlens-{drawn.figure.kind}.{suffix}"
    if suffix == "csv":
        return dcc.send_data_frame(drawn.table().to_csv, name, index=False)
    with tempfile.TemporaryDirectory() as folder:
        return dcc.send_file(str(drawn.save(Path(folder) / name)))


def alternative(kind: str, drawn: Any) -> str:
    """What a picture says, for those who do not see it."""
    return f"{TITLES[kind]}: {drawn.describe()}"


def connect(app: Dash, desk: Desk) -> None:
    """Say which events call which function."""

    def on(function: Any, *wires: Any, **options: Any) -> None:
        app.callback(*wires, **options)(partial(function, desk))

    assert OPTIONS == {"stream": ("mode",), "map": ("dims", "color"), "grid": ("color",), "line": ("y",)}
    position, look, shown = Input("position", "data"), Input("look", "data"), Input("shown", "data")
    mode, dims = Input("stream-mode", "value"), Input("map-dims", "value")
    map_color, grid_color = Input("map-color", "value"), Input("grid-color", "value")
    line_y = Input("line-y", "value")

    def frame(kind: str) -> tuple[Output, Output]:
        return Output(kind, "figure"), Output(f"{kind}-frame", "aria-label")

    on(show_stream, *frame("stream"), position, look, mode, shown)
    on(show_grid, *frame("grid"), Output("grid-frame", "style"), shown, look, grid_color)
    on(show_line, *frame("line"), position, look, line_y, shown)
    data = (Output("grid-color", "data"), Output("line-y", "data"))
    value = (Output("grid-color", "value"), Output("line-y", "value"))
    chosen = (State("grid-color", "value"), State("line-y", "value"))
    on(offer, *data, *value, shown, *chosen, prevent_initial_call=True)
    rows = (Output("bars", "children"), Output("bars-data", "data"), Output("bars", "style"))
    on(show_bars, *rows, position, shown)
    on(
        save,
        Output("file", "data"),
        Input({"type": "save", "kind": ALL, "suffix": ALL}, "n_clicks"),
        State("shown", "data"),
        State("position", "data"),
        State("layout", "data"),
        State("marks", "data"),
        State("moved", "data"),
        *(State(wire.component_id, "value") for wire in (dims, mode, map_color, grid_color, line_y)),
        prevent_initial_call=True,
    )
