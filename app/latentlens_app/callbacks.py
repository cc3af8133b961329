"""What happens on the server when something happens on a page.

Each callback is a plain function of a `Desk` and of what the page sends; `connect` says which events call it. What
the page does by itself (the playhead, clicks, keys) is in `assets/page.js` and connected in `playhead.py`.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import partial
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, no_update

from latentlens import LatentLensError
from latentlens.names import LENSES
from latentlens_app.asking import Ask
from latentlens_app.controls import LENS_IN_FILE
from latentlens_app.desk import Desk
from latentlens_app.examples import FOR_WALKS, another_walk
from latentlens_app.layouts import Layout
from latentlens_app.marking import code as code_of_marks
from latentlens_app.movement import Wanted
from latentlens_app.tokens import strip
from latentlens_app.views import about, followed_at, live
from latentlens_app.writing import python_of

CONTROLS = ("model", "prompt", "iterations", "seed", "lens", "lens-file")
STATES = ("model", "prompt", "iterations", "seed")
"""What the states of an ask depend on."""
Told = dict[str, Any] | None


def open_page(desk: Desk, saved: Told) -> tuple:
    """Show again what this tab showed before a reload, or the worked example; a job that still runs is kept."""
    saved = saved or {}
    ask = _kept_ask(saved) or desk.opening
    job = desk.job(saved.get("job"))
    told = saved["job"] if job is not None and not job.finished else desk.start(ask)
    wanted = told["ask"]
    named = wanted["lens"] in LENSES
    shown = {
        **wanted,
        "iterations": "" if wanted["iterations"] is None else wanted["iterations"],
        "lens": wanted["lens"] if named else LENS_IN_FILE,
        "lens-file": "" if named else wanted["lens"],
    }
    return (*(shown[name] for name in CONTROLS), told)


def _kept_ask(saved: dict[str, Any]) -> Ask | None:
    """What a tab kept, or None where it kept nothing that this version understands."""
    try:
        return Ask.from_page(saved.get("ask"))
    except LatentLensError:
        return None


def press_run(desk: Desk, clicks: int | None, previous: Told, *values: Any) -> Any:
    """Run what the controls say."""
    if not clicks:
        return no_update
    ask = ask_of(*values)
    before = (previous or {}).get("ask") or {}
    if before.get("model") == ask.model:  # what was chosen to be followed stays chosen
        ask = replace(ask, track=tuple(before["track"]))
    return desk.start(ask, previous)


def ask_of(model: str, prompt: str, iterations: Any, seed: Any, lens: str, file: str = "") -> Ask:
    """What the controls say; no iterations are the model's own number."""
    count = None if iterations in ("", None) else iterations
    reader = (file or "").strip() if lens == LENS_IN_FILE else lens
    return Ask(model or "", prompt or "", count, "" if seed is None else seed, reader)


def change_lens(desk: Desk, lens: str, file: str, shown: Told, previous: Told) -> Any:
    """Read the run that is shown with another lens, at once: its states are there already."""
    reader = (file or "").strip() if lens == LENS_IN_FILE else lens
    if not shown or not reader or reader == _latest(shown, previous)["lens"]:
        return no_update
    return _again(desk, shown, previous, lens=reader)


def edit_track(desk: Desk, entries: list[str], shown: Told, position: int | None, previous: Told) -> Any:
    """Follow other candidates through the run that is shown; the list that is there already changes nothing."""
    if not shown:
        return no_update
    if entries == followed_at(desk.run(shown), position or 0):
        entries = shown["ask"]["track"]  # no entries where the leaders are followed
    if entries == _latest(shown, previous)["track"]:
        return no_update
    return _again(desk, shown, previous, track=entries)


def press_leaders(desk: Desk, clicks: int | None, shown: Told, previous: Told) -> Any:
    """Follow the leaders again."""
    if not clicks or not shown:
        return no_update
    return _again(desk, shown, previous, track=[])


def show_track(desk: Desk, position: int | None, shown: Told, entries: list[str] | None, previous: Told) -> tuple:
    """The candidates that are followed at this token, and whether the leaders can be gone back to.

    A list that a reader is editing is left alone: what was added since would be lost.
    """
    if not shown or position is None:
        return no_update, no_update
    run = desk.run(shown)
    edited = bool(run.ask.track and entries) or _latest(shown, previous)["track"] != list(run.ask.track)
    return no_update if edited else followed_at(run, position), not run.ask.track


def _latest(shown: dict[str, Any], previous: Told) -> dict[str, Any]:
    """What the page asked last about the states that it shows; after an ask about others, what it shows."""
    asked = (previous or {}).get("ask") or shown["ask"]
    same = all(asked[name] == shown["ask"][name] for name in STATES)
    return asked if same else shown["ask"]


def _again(desk: Desk, shown: dict[str, Any], previous: Told, **changed: Any) -> dict[str, Any]:
    """Read the states that are shown in another way."""
    return desk.start(Ask.from_page({**_latest(shown, previous), **changed}), previous)


def pick_example(desk: Desk, clicks: list[int | None], previous: Told, *values: Any) -> tuple:
    """Put an example, or another random walk, into the prompt and run it."""
    if not any(clicks) or not ctx.triggered_id:
        return no_update, no_update
    return take_example(desk, ctx.triggered_id["index"], previous, *values)


def take_example(desk: Desk, index: int, previous: Told, *values: Any) -> tuple:
    """The prompt of an example (-1: another random walk), and its run."""
    prompt = another_walk(secrets.randbelow(10**6)) if index < 0 else FOR_WALKS[index].prompt
    return prompt, desk.start(replace(ask_of(*values), prompt=prompt), previous)


def press_cancel(desk: Desk, clicks: int | None, told: Told) -> None:
    """Ask the page's job to stop."""
    if clicks and told:
        desk.jobs.cancel(told["id"])


def poll(desk: Desk, _ticks: int | None, told: Told, known: Told = None) -> tuple:
    """How far the job is, what its model is and, when it is done, the run to show; the clock stops with the job."""
    if not told:
        return no_update, no_update, True, no_update
    job = desk.job(told)
    if job is None:
        return {"state": "cancelled", "share": 0, "what": "", "message": ""}, no_update, True, no_update
    stopped = job.finished  # read before the rest, so that the last look sees everything
    what = "cancel" if job.stop.is_set() else job.what  # work that says nothing for long cannot be stopped at once
    status = {"state": job.state, "share": job.share, "what": what, "message": job.message}
    shown = {"key": told["key"], "ask": told["ask"]} if job.state == "done" else no_update
    model = about(desk.runs, told["ask"]["model"])
    return status, shown, stopped, no_update if model is None or model == known else model


def show_run(desk: Desk, shown: Told, saved: Told, before: Told) -> tuple:
    """The tokens of a run and what its playhead needs; where this tab was before a reload, or at the end.

    The first run of a fresh tab plays once, if the reader has nothing against motion.
    """
    if not shown:
        return (no_update,) * 7
    run = desk.run(shown)
    saved, last, end = saved or {}, len(run.tokens) - 1, run.traj.iterations
    again = before is None and saved.get("key") == run.ask.key
    position = min(saved.get("position") or 0, last) if again else last
    introduce = before is None and bool(saved.get("play"))
    at = min(saved.get("at") or 0, end) if again else 0 if introduce else end
    return strip(run, position), live(run), position, at, end, introduce, marks(end)


def marks(last: int) -> list[dict[str, Any]]:
    """Where the slider has a number: the ends, and a few between."""
    step = next(step for step in (1, 2, 4, 5, 8, 10, 20, 25, 50, 100, 200, 500) if last / step <= 8)
    return [{"value": value, "label": str(value)} for value in range(0, last + 1, step)]


def write_python(
    desk: Desk,
    position: int | None,
    shown: Told,
    laid: Told = None,
    dims: str = "2",
    color: str = "iteration",
    moved: Told = None,
    marks: Told = None,
) -> tuple[str, str]:
    """The Python that makes what is on the page, to read and to copy."""
    if not shown:
        return "", ""
    layout = Layout(**laid["layout"]) if laid and laid["key"] == shown["key"] else Layout()
    drawn: dict[str, Any] = {"dims": int(dims)} if dims != "2" and layout.dims != 2 else {}
    drawn |= {"color": color} if color == "top" else {}
    panel = Wanted(**moved["wanted"]) if moved and moved["key"] == shown["key"] and not moved["why"] else None
    run, place = desk.run(shown), position or 0
    code = python_of(run, place, layout, panel, code_of_marks(run, marks, laid, place), **drawn)
    return code, code


def connect(app: Dash, desk: Desk) -> None:
    """Say which events call which function."""

    def on(function: Any, *wires: Any, **options: Any) -> None:
        app.callback(*wires, **options)(partial(function, desk))

    job = Output("job", "data", allow_duplicate=True)
    values = [State(name, "value") for name in CONTROLS]
    on(open_page, *(Output(name, "value") for name in CONTROLS), Output("job", "data"), Input("saved", "data"))
    on(press_run, job, Input("run", "n_clicks"), State("job", "data"), *values, prevent_initial_call=True)
    seen = (State("shown", "data"), State("job", "data"))
    on(change_lens, job, Input("lens", "value"), Input("lens-file", "value"), *seen, prevent_initial_call=True)
    edited = (Input("track", "value"), State("shown", "data"), State("position", "data"), State("job", "data"))
    on(edit_track, job, *edited, prevent_initial_call=True)
    on(press_leaders, job, Input("leaders", "n_clicks"), *seen, prevent_initial_call=True)
    followed = (Output("track", "value"), Output("leaders", "disabled"))
    here = (Input("position", "data"), Input("shown", "data"), State("track", "value"), State("job", "data"))
    on(show_track, *followed, *here, prevent_initial_call=True)
    example = Input({"type": "example", "index": ALL}, "n_clicks")
    prompt = Output("prompt", "value", allow_duplicate=True)
    on(pick_example, prompt, job, example, State("job", "data"), *values, prevent_initial_call=True)
    on(press_cancel, Input("cancel", "n_clicks"), State("job", "data"), prevent_initial_call=True)
    ticks = (Input("poll", "n_intervals"), Input("job", "data"))
    told = (Output("status", "data"), Output("shown", "data"), Output("poll", "disabled"), Output("model-data", "data"))
    on(poll, *told, *ticks, State("model-data", "data"))
    on(
        show_run,
        Output("strip", "children"),
        Output("live", "data"),
        Output("position", "data"),
        Output("at", "value"),
        Output("at", "max"),
        Output("playing", "data"),
        Output("at", "marks"),
        Input("shown", "data"),
        State("saved", "data"),
        State("live", "data"),
        prevent_initial_call=True,
    )
    code = (Output("python", "children"), Output("copy", "value"))
    chosen = (Input("layout", "data"), Input("map-dims", "value"), Input("map-color", "value"), Input("moved", "data"))
    on(write_python, *code, Input("position", "data"), Input("shown", "data"), *chosen, Input("marks", "data"))
