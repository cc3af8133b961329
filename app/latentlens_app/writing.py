"""The Python that makes what is on the page, to take away.

In: a run, a position, and what the page shows of them. Out: text. Knows nothing about pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latentlens.models.describing import free_count
from latentlens_app.following import track_of
from latentlens_app.layouts import Layout
from latentlens_app.movement import Wanted, named
from latentlens_app.runs import Run

PLAIN = Layout()


def python_of(
    run: Run,
    position: int,
    layout: Layout = PLAIN,
    moved: Wanted | None = None,
    marks: Sequence[str] = (),
    **drawn: Any,
) -> str:
    """The Python that makes this view: `moved` is its motion panel, `marks` make the marks of its map.

    `drawn` are the options of the map.
    """
    ask = run.ask
    track = track_of(ask.track, run.traj.needs_model())
    also = f", track={track!r}" if track else f", also={list(run.also)!r}" if run.also else ""
    fixed = ask.iterations is None or not free_count(run.traj.needs_model())
    count = "" if fixed else f", iterations={ask.iterations!r}"  # left out, it is the model's own
    beside = ", landmarks=marks" if marks else ""
    given, passed = (f"prompt = {ask.prompt!r}", "prompt")
    if run.ids is not None:
        given, passed = f"tokens = {[list(run.ids)]!r}", "tokens=tokens"
    return "\n".join(
        [
            "import latentlens as ll",
            "",
            f"model = ll.load({ask.model!r})",
            given,
            f"traj = ll.capture(model, {passed}{count}, seed={ask.seed!r})",
            f"out = ll.decode(traj, lens={ask.lens!r}{also}, statistics='all')",
            f"emb = ll.embed(traj{named(layout.options(run.traj.iterations))})",
            *marks,
            "",
            f'll.figures.stream(out, position={position}).save("stream.pdf")',
            f'll.figures.map(emb, readout=out{beside}, strong={position}{named(drawn)}).save("map.pdf")',
            'll.figures.grid(out).save("grid.pdf")',
            f'll.figures.line(out, prompt=0, position={position}).save("line.pdf")',
            *([] if moved is None else ["", *moved.code(run)]),
        ]
    )
