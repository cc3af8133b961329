"""Work beside a run: what is made of its states when a reader asks for it, with its own progress and Cancel.

In: a desk, a run and a function. Out: a job that a page can ask about. The same thread does it as the runs, so a new
run stops it. Knows nothing about what is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update

from latentlens_app.desk import Desk
from latentlens_app.jobs import Report
from latentlens_app.runs import Run
from latentlens_app.style import aria

SIDES = ("layout", "marks", "motion")
IDLE = {"id": None, "state": "idle", "share": 0, "what": "", "message": ""}
Told = dict[str, Any] | None


def begin(desk: Desk, run: Run, make: Callable[[Report], None], wanted: Any, previous: Told) -> dict[str, Any]:
    """Begin some work, let go of what this side did before, and say how to ask about it."""
    let_go(desk, previous)
    job = desk.jobs.submit(make)
    return {"id": job.id, "states": run.ask.states_key, "wanted": wanted}


def let_go(desk: Desk, told: Told) -> None:
    """Stop what a side does."""
    if told:
        desk.jobs.cancel(told["id"])


def busy_with(desk: Desk, run: Run, wanted: Any, told: Told) -> bool:
    """Whether this side is at this very work already."""
    if not told or (told["states"], told["wanted"]) != (run.ask.states_key, wanted):
        return False
    job = desk.job(told)
    return job is not None and not job.finished and not job.stop.is_set()


def status_of(desk: Desk, told: Told) -> dict[str, Any]:
    """How far a side is. A page need not wait until work that was cancelled has noticed."""
    if not told:
        return IDLE
    job = desk.job(told)
    if job is None or (job.stop.is_set() and not job.finished):
        return {**IDLE, "id": told["id"], "state": "cancelled"}
    return {"id": job.id, "state": job.state, "share": job.share, "what": job.what, "message": job.message}


def poll_side(desk: Desk, _ticks: int | None, told: Told) -> tuple:
    """How far a side is; its clock stops with its job."""
    status = status_of(desk, told)
    return status, status["state"] not in ("queued", "running")


def press_cancel(desk: Desk, clicks: int | None, told: Told) -> Any:
    """Stop a side, and say so at once."""
    if not clicks or not told:
        return no_update
    let_go(desk, told)
    return status_of(desk, told)


def make_way(desk: Desk, _job: Told, *sides: Told) -> None:
    """A new run goes first: there is one thread for all work."""
    for told in sides:
        let_go(desk, told)


def stores(side: str) -> list[Any]:
    """What a page remembers of a side, and its clock."""
    return [
        dcc.Store(id=f"{side}-job"),
        dcc.Store(id=f"{side}-status"),
        dcc.Interval(id=f"{side}-poll", interval=250, disabled=True),
    ]


def progress(side: str, title: str) -> html.Div:
    """How far a side is, and what stops it; nothing while it rests."""
    return html.Div(
        [
            dmc.ProgressRoot(
                dmc.ProgressSection(id=f"{side}-progress", value=0, **aria(label=f"Progress of {title}")), size="sm"
            ),
            html.P(id=f"{side}-text", className="hint", role="status"),
            html.Button("Cancel", id=f"{side}-cancel", className="pill", **aria(label=f"Cancel {title}")),
        ],
        id=f"{side}-side",
        className="side idle",
    )


def connect(app: Dash, desk: Desk) -> None:
    """Say which events call which function."""
    for side in SIDES:
        told, status = f"{side}-job", Output(f"{side}-status", "data")
        app.callback(
            status,
            Output(f"{side}-poll", "disabled"),
            Input(f"{side}-poll", "n_intervals"),
            Input(told, "data"),
        )(lambda ticks, job: poll_side(desk, ticks, job))
        app.callback(
            Output(f"{side}-status", "data", allow_duplicate=True),
            Input(f"{side}-cancel", "n_clicks"),
            State(told, "data"),
            prevent_initial_call=True,
        )(lambda clicks, job: press_cancel(desk, clicks, job))
    jobs = (State(f"{side}-job", "data") for side in SIDES)
    app.callback(Input("job", "data"), *jobs, prevent_initial_call=True)(lambda job, *told: make_way(desk, job, *told))
